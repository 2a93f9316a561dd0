"""Numbers, durations and sizes as text, and back; rows as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tunebench.errors import ConfigError

#: What makes a spreadsheet read a text as a formula; some skip a tab or line end before it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9][0-9,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def duration(seconds: float) -> str:
    """Write seconds the way people say them: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def ends(low: float, high: float, show: Callable[[float], str]) -> str:
    """Return the ends of an interval in brackets: ``[0.8741, 0.8880]``, or ``[0.1, no end]`` where one is infinite.

    Args:
        low: The lower end.
        high: The upper end.
        show: Turns an end that is there into text.
    """
    first, second = (show(end) if math.isfinite(end) else "no end" for end in (low, high))
    return f"[{first}, {second}]"


def for_json(value: Any) -> Any:
    """Return plain values with None for numbers that JSON has no word for: what has no end, or is not defined."""
    if isinstance(value, dict):
        return {key: for_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_duration(text: str) -> float:
    """Return the seconds of ``3h``, ``90m``, ``1h30m`` or ``45s``.

    Raises:
        ConfigError: It is none of these.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    seconds = (
        sum(float(n) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True) if n) if match else 0
    )
    if not 0 < seconds < math.inf:
        raise ConfigError("This is not a duration.", value=text, allowed="for example 3h, 90m, 1h30m, 45s")
    return seconds


def parse_size(text: str) -> int | None:
    """Return the bytes of ``2GB``, ``500MB`` or ``1.5 TB`` (powers of ten), or None of ``off``.

    Raises:
        ConfigError: It is none of these.
    """
    plain = text.strip().lower()
    if plain == "off":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(mb|gb|tb)", plain)
    exact = float(match[1]) * {"mb": 10**6, "gb": 10**9, "tb": 10**12}[match[2]] if match else 0.0
    size = round(exact) if exact < math.inf else 0
    if size <= 0:
        raise ConfigError("This is not a size.", value=text, allowed="for example 2GB, 500MB, or off")
    return size


def file_size(count: float) -> str:
    """Return bytes for people: ``91.0 MB``, ``9.4 kB``."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


#: Sizes of units, ascending, with their names: of times in seconds, of counts, of bytes, of operations.
Units = tuple[tuple[float, str], ...]
TIMES: Units = ((1, "s"), (60, "min"), (3600, "h"))
SHORT_TIMES: Units = ((1e-3, "ms"), *TIMES)
COUNTS: Units = ((1, ""), (1e3, "k"), (1e6, "M"))
BYTES: Units = ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))
OPERATIONS: Units = ((1e6, "MFLOP"), (1e9, "GFLOP"), (1e12, "TFLOP"), (1e15, "PFLOP"), (1e18, "EFLOP"))


def unit_of(value: float, units: Units) -> tuple[float, str]:
    """Return size and name of the largest unit that a value holds once; of the smallest for less than that."""
    return max((unit for unit in units if unit[0] <= abs(value)), default=units[0])


def quantity(value: float, units: Units) -> str:
    """Return a value with two significant digits in the unit that suits it: ``0.55 s``, ``3.2 min``, ``91 MB``."""
    size, name = unit_of(value, units)
    return f"{significant(2)(value / size)} {name}".rstrip()


def common_unit(values: Iterable[float], units: Units) -> tuple[float, str]:
    """Return size and name of the one unit for many values: that of their geometric middle, zeros aside."""
    above = [value for value in values if value > 0]
    return unit_of(math.sqrt(min(above)) * math.sqrt(max(above)), units) if above else units[0]


def listed(names: Iterable[str], limit: int = 10) -> str:
    """Return names separated by commas; of many, the first, and how many more there are."""
    every = list(names)
    shown = ", ".join(name if len(name) <= 40 else name[:37] + "..." for name in every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 run``, ``3,000 runs``; ``plural`` where an ``s`` does not make it."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def in_words(values: Iterable[object]) -> str:
    """Return names or numbers as a sentence has them: ``a, b and c``."""
    every = [str(value) for value in values]
    return " and ".join(filter(None, [", ".join(every[:-1]), *every[-1:]]))


def command(*words: object) -> str:
    """Return a tunebench command as it may be typed into a shell: words with blanks or signs are quoted."""
    return shlex.join(["tunebench", *map(str, words)])


def integer(value: float) -> str:
    """Return an integer with thousands separators."""
    return f"{value:,.0f}"


def fixed(digits: int) -> Callable[[float], str]:
    """Return a function that shows a number with so many digits after the point."""
    return lambda value: f"{value:,.{digits}f}"


def signed(digits: int) -> Callable[[float], str]:
    """Return a function that shows a difference with its sign."""
    return lambda value: f"{value:+,.{digits}f}"


def significant(digits: int) -> Callable[[float], str]:
    """Return a function that shows so many significant digits, without an exponent."""

    def show(value: float) -> str:
        rounded = float(f"{value:.{digits - 1}e}")
        exponent = int(f"{rounded:e}".split("e")[1]) if rounded else 0
        return f"{rounded:,.{max(0, digits - 1 - exponent)}f}"

    return show


def p_value(value: float) -> str:
    """Return a p with two significant digits; one below 0.0001 as no more than that."""
    return "< 0.0001" if value < 1e-4 else significant(2)(value)


def learning_rate(value: float | None) -> str:
    """Return a learning rate as people write it: 5e-5, 1.5e-4, 0.01; ``not known`` of some imported runs."""
    if value is None:
        return "not known"
    if value >= 0.01:
        return f"{value:g}"
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")

_LINE_START = re.compile(r"^(?:(#|=|[+-](?=[\s-]|$))|(\d+)([.)])(?=\s|$))")


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line.

    Escapes what CommonMark and GitHub's tables and formulas give a meaning (CommonMark, section 2.4).
    """
    text = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    return _LINE_START.sub(lambda found: rf"\{found[1]}" if found[1] else rf"{found[2]}\{found[3]}", text)


def csv_cell(value: Any) -> Any:
    """Return a value as it goes into CSV: before a text that spreadsheets would run as a formula stands a ``'``.

    Class names, labels and error messages come from outside. Numbers are left as they are, and so is a text that
    is nothing but one, such as a class called ``-1``.
    """
    risky = isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"'{value}" if risky else value


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a header and rows as CSV; see :func:`csv_cell`."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *(map(csv_cell, row) for row in rows)])
    return out.getvalue()
