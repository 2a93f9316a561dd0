"""CSV and TSV as people write them: which separator, whether quotes quote, and whether a header names the columns.

Every reading that fits the whole file is compared, and the one that loses no rows is taken. Where none is safe, the
file is refused with the lines in question.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field

from tunebench.data.columns import LABEL_NAMES, TEXT_NAMES
from tunebench.data.csv_header import column_names, header_note, split_header, unnamed_columns
from tunebench.data.csv_rows import Parsed, parse, swallowed_by
from tunebench.data.encodings import Decoded, decode
from tunebench.data.reading import PassedOver
from tunebench.data.reference import ReadOptions, Separator
from tunebench.data.table import Table
from tunebench.errors import DataError
from tunebench.formatting import listed

#: The sign of each separator.
SIGNS: dict[Separator, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


def read_csv(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read comma-separated values; other separators are recognised."""
    return _read(raw, place, options or ReadOptions(), own="comma")


def read_tsv(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read tab-separated values; other separators are recognised."""
    return _read(raw, place, options or ReadOptions(), own="tab")


def _read(raw: bytes, place: str, options: ReadOptions, *, own: Separator) -> Table:
    decoded = decode(raw, place, options.encoding)
    if not any(line.strip() for line in decoded.lines("")):
        raise DataError("The file is empty.", value=place)
    found = _choose_separator(decoded, place, options, own)
    header, rows, passed_over = split_header(found.parsed, options.header)
    headless = header is None
    names = column_names(header, found.parsed.width)
    kept = [position for position, name in enumerate(names) if name]
    passed_over += [*unnamed_columns(names, rows), *_blank_lines(found.parsed.blank)]
    columns = {names[position]: position for position in reversed(kept)}
    return Table(
        tuple(names[position] for position in kept),
        len(rows),
        lambda name: [row[columns[name]] for row in rows],
        how=(decoded.encoding, *found.how, *(["no header"] if headless else [])),
        passed_over=tuple(passed_over),
        notes=(*([decoded.note] if decoded.note else []), *found.notes, *([header_note(rows)] if headless else [])),
        headless=headless,
    )


@dataclass(frozen=True)
class _Found:
    """The reading that was chosen, and what to say of it."""

    parsed: Parsed
    how: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _choose_separator(content: Decoded, place: str, options: ReadOptions, own: Separator) -> _Found:
    """Read with the separator the user states, the one that splits the first line into usual names, or what fits.

    The file's own separator comes first, and another one is taken only where it is the only one.
    """
    if options.separator is not None:
        return _settled(_choose_quoting(content, place, options, options.separator))
    start = next(line for line in content.lines("") if line.strip("\r\n"))
    order: list[Separator] = [own, *(name for name in SIGNS if name != own and SIGNS[name] in start)]
    named = [name for name in order if _names_columns(start, SIGNS[name])]
    if len(named) == 1 or own in named:
        name = own if own in named else named[0]
        return _recognised(_settled(_choose_quoting(content, place, options, name)), name, own)
    readings = {name: _choose_quoting(content, place, options, name) for name in order}
    if _is_table(readings[own]):
        return _settled(readings[own])
    fitting = [name for name in order if _is_table(readings[name])]
    if len(fitting) > 1:
        raise DataError(
            "The file can be read with more than one separator.",
            value=place,
            allowed=", ".join(fitting),
            fix=f"say which: --set data.separator={fitting[0]}",
        )
    name = fitting[0] if fitting else own
    return _recognised(_settled(readings[name]), name, own)


def _recognised(found: _Found, name: Separator, own: Separator) -> _Found:
    note = f"The separator was recognised as {SIGNS[name]!r} ({name})."
    return found if name == own else _Found(found.parsed, found.how, [note, *found.notes])


def _is_table(found: _Found | DataError) -> bool:
    return isinstance(found, _Found) and found.parsed.width > 1


def _names_columns(line: str, sign: str) -> bool:
    """Tell whether a separator splits a line into names with those of a text and a label column among them."""
    names = {name.strip().strip('"').strip().lower() for name in line.split(sign)}
    return bool(names & set(TEXT_NAMES)) and bool(names & set(LABEL_NAMES))


def _settled(found: _Found | DataError) -> _Found:
    if isinstance(found, DataError):
        raise found
    return found


def _choose_quoting(content: Decoded, place: str, options: ReadOptions, separator: Separator) -> _Found | DataError:
    """Read with quotes as signs of the format, or as characters where that loses rows; an error if neither fits."""
    sign = SIGNS[separator]
    how = [f"separator {sign!r}"]
    if options.quotes is not False:
        quoted = parse(content, place, sign, csv.QUOTE_MINIMAL)
        if options.quotes or b'"' not in content.raw:
            return quoted.problem or _Found(quoted, how + _long_rows(quoted))
        swallowed = swallowed_by(quoted, content, sign) if quoted.fits else []
        if quoted.fits and not swallowed:
            return _Found(quoted, how + _long_rows(quoted))
    bare = parse(content, place, sign, csv.QUOTE_NONE)
    if options.quotes is False:
        return bare.problem or _Found(bare, how)
    if bare.fits and bare.width > 1:
        return _Found(bare, how, [_bare_note(quoted, swallowed)])
    if quoted.problem:
        return quoted.problem
    return _refusal(quoted, swallowed, place)


def _bare_note(quoted: Parsed, swallowed: Sequence[int]) -> str:
    if swallowed:
        why = f"as a quotation mark, it would join separate rows ({_where(quoted, swallowed)})"
    else:
        why = "as a quotation mark, it would make the file malformed"
    return (
        f'The character " was read as part of the texts: {why}. --set data.quotes=true reads it as a '
        "quotation mark."
    )


def _refusal(quoted: Parsed, swallowed: Sequence[int], place: str) -> DataError:
    lost = sum(quoted.long[i][1] - quoted.long[i][0] for i in swallowed)
    return DataError(
        f"A quotation mark seems to open in one row and close in a later one, which would lose about {lost} rows.",
        value=f"{place}: {_where(quoted, swallowed)}",
        allowed="rows of one line; or texts of several lines whose lines do not look like rows",
        fix='close the quotation marks there, or write " in texts twice; if each line is a row: --set '
        "data.quotes=false; if these texts do hold several lines: --set data.quotes=true",
    )


def _where(parsed: Parsed, rows: Sequence[int]) -> str:
    places = [f"{first} to {last}" for first, last in (parsed.long[i] for i in rows)]
    return f"lines {listed(places, 5)}"


def _long_rows(parsed: Parsed) -> list[str]:
    if not parsed.long:
        return []
    return [f"{len(parsed.long)} rows of several lines ({_where(parsed, list(parsed.long))})"]


def _blank_lines(blank: Sequence[int]) -> list[PassedOver]:
    if not blank:
        return []
    where = f"line {blank[0]}" if len(blank) == 1 else f"{len(blank):,} lines: {listed(map(str, blank), 5)}"
    return [PassedOver(where, "blank, so no row")]
