"""Classes that may not be what they seem: placeholders, combinations, and spellings of one name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import yaml

from tunebench.data.visible import alike, is_quoted, shown
from tunebench.formatting import listed

#: What programs write where a value is missing.
_PLACEHOLDERS = frozenset(("nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil"))
_SEPARATORS = ("#", "|", ";", ",")
_BRACKETED = re.compile(r"\[.*\]|\(.*\)|\{.*\}")
#: A number, perhaps with a comma for the decimal point.
_COMMA_NUMBER = re.compile(r"[+-]?\d+(?:,\d+)?", re.ASCII)


def note_classes(counts: Mapping[str | int, int], where: str) -> list[str]:
    """Return what deserves a remark about the classes of a split.

    Args:
        counts: Examples by class.
        where: The split's name.

    Returns:
        One remark each, with counts and what can be done.
    """
    names = [str(name) for name in counts]
    by_name = {str(name): count for name, count in counts.items()}
    total = sum(counts.values())

    def share(found: list[str]) -> str:
        return f"{sum(by_name[name] for name in found)} of {total} labels"

    notes = []
    for name in _placeholders(names):
        notes.append(
            f"{where}: {share([name])} are {shown(name)}, which often stands for a missing label. Here it is a "
            f"class. To leave these rows out, set data.labels.drop: {_yaml([name])}."
        )
    for found, how, sign in _combinations(names):
        remedy = (
            "To read several labels per text, write them with a sign between them and name it as "
            "data.label_delimiter, or give lists in JSON Lines or Parquet."
        )
        if sign is not None:
            remedy = f"To read several labels per text, set data.label_delimiter: {sign!r}."
        if sign == "," and any_decimal_comma(names):
            remedy += " If they are numbers to predict, write them with a decimal point, as in 3.5."
        notes.append(
            f"{where}: {len(found)} of {len(names)} classes ({share(found)}) look like several labels {how}: "
            f"{listed(map(shown, found), 4)}. Each combination is a class of its own. {remedy}"
        )
    for same in _lookalikes(names):
        each = ", ".join(f"{shown(name)} ({by_name[name]})" for name in same)
        notes.append(
            f"{where}: these classes look alike: {each}. They differ only in case, blanks, invisible characters, "
            "quotation marks or Unicode normal form. To make them one class, set data.labels.merge: alike."
        )
    quoted = [name for name in names if is_quoted(name)]
    if quoted:
        notes.append(
            f"{where}: {share(quoted)} keep their quotation marks: {listed(map(shown, quoted), 4)}. In a CSV file, "
            "a blank before the quotation mark does this. Remove it there, or rename the classes: "
            f"data.labels.merge: {_yaml({name: name[1:-1] for name in quoted[:4]})}."
        )
    return notes


def any_decimal_comma(names: Iterable[str]) -> bool:
    """Tell whether all names spell numbers, at least one of them with a comma for the decimal point."""
    written = list(names)
    return any("," in name for name in written) and all(_COMMA_NUMBER.fullmatch(name) for name in written)


def _placeholders(names: list[str]) -> Iterator[str]:
    yield from (name for name in names if name.casefold() in _PLACEHOLDERS)
    # -1 beside 1 alone is the other side; beside 0 it may be a side or no label.
    if "-1" in names and "0" in names:
        yield "-1"


def _combinations(names: list[str]) -> Iterator[tuple[list[str], str, str | None]]:
    """Yield classes that look like lists, how they are written, and the sign between their parts."""
    bracketed = [name for name in names if _BRACKETED.fullmatch(name)]
    if bracketed:
        yield bracketed, "written as a list", None
    rest = [name for name in names if not _BRACKETED.fullmatch(name)]
    for sign in _SEPARATORS:
        # Nothing before the first sign or after the last is no label: "joy; fear;" has two.
        parts = {name: [part.strip() for part in name.split(sign) if part.strip()] for name in rest}
        often = Counter(part for found in parts.values() for part in set(found))
        # A single name may hold the sign ("Food, drinks"); parts that occur elsewhere too are labels themselves.
        joined = [
            name for name, found in parts.items() if len(found) > 1 and any(often[part] > 1 for part in found)
        ]
        if joined:
            yield joined, f"joined by {sign!r}", sign


def _lookalikes(names: list[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(alike(name), []).append(name)
    return [same for same in groups.values() if len(same) > 1]


def _yaml(value: list[str] | dict[str, str]) -> str:
    """Return a value as it may be written in a study: what YAML would take for something else is quoted."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()
