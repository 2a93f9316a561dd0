"""CSV and TSV as people write them: which separator, whether quotes quote, and whether a header names the columns.

Every reading that fits the whole file is compared, and the one that loses no rows is taken. Where none is safe, the
file is refused with the lines in question.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tunebench.data.columns import LABEL_NAMES, TEXT_NAMES
from tunebench.data.encodings import Decoded, decode
from tunebench.data.reading import PassedOver
from tunebench.data.reference import ReadOptions, Separator
from tunebench.data.table import Table
from tunebench.errors import DataError
from tunebench.formatting import listed

#: The sign of each separator.
SIGNS: dict[Separator, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
#: Larger than any text; the csv module's own limit is 128 kB.
_FIELD_LIMIT = 2**31 - 1
#: A column with at most so many distinct values, or that share of the rows, may hold labels.
_FEW_VALUES, _FEW_SHARE = 20, 0.1
_QUOTING_FIX = (
    'put " around texts that hold separators or line ends, and write " in them twice; or, if " is an ordinary '
    "character: --set data.quotes=false"
)


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
    header, rows, passed_over = _split_header(found.parsed, options.header)
    headless = header is None
    names = _column_names(header, found.parsed.width)
    kept = [position for position, name in enumerate(names) if name]
    passed_over += [*_unnamed(names, rows), *_blank_lines(found.parsed.blank)]
    columns = {names[position]: position for position in reversed(kept)}
    return Table(
        tuple(names[position] for position in kept),
        len(rows),
        lambda name: [row[columns[name]] for row in rows],
        how=(decoded.encoding, *found.how, *(["no header"] if headless else [])),
        passed_over=tuple(passed_over),
        notes=(*([decoded.note] if decoded.note else []), *found.notes, *(_header_note(rows) if headless else [])),
        headless=headless,
    )


@dataclass(frozen=True)
class _Parsed:
    """One reading of a text.

    Attributes:
        rows: The rows, blank lines left out.
        long: First and last line, from 1, of the rows that span several lines, by their positions.
        problem: Why the text does not fit this reading; None where it does.
        blank: Lines without anything on them; they are no rows.
    """

    rows: list[list[str]]
    long: dict[int, tuple[int, int]]
    problem: DataError | None = None
    blank: list[int] = field(default_factory=list)

    @property
    def width(self) -> int:
        return len(self.rows[0]) if self.rows else 0

    @property
    def fits(self) -> bool:
        return self.problem is None


@dataclass(frozen=True)
class _Found:
    """The reading that was chosen, and what to say of it."""

    parsed: _Parsed
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
        quoted = _parse(content, place, sign, csv.QUOTE_MINIMAL)
        if options.quotes or b'"' not in content.raw:
            return quoted.problem or _Found(quoted, how + _long_rows(quoted))
        swallowed = _swallowed(quoted, content, sign) if quoted.fits else []
        if quoted.fits and not swallowed:
            return _Found(quoted, how + _long_rows(quoted))
    bare = _parse(content, place, sign, csv.QUOTE_NONE)
    if options.quotes is False:
        return bare.problem or _Found(bare, how)
    if bare.fits and bare.width > 1:
        return _Found(bare, how, [_bare_note(quoted, swallowed)])
    if quoted.problem:
        return quoted.problem
    return _refusal(quoted, swallowed, place)


def _bare_note(quoted: _Parsed, swallowed: Sequence[int]) -> str:
    if swallowed:
        why = f"as a quotation mark, it would join separate rows ({_where(quoted, swallowed)})"
    else:
        why = "as a quotation mark, it would make the file malformed"
    return (
        f'The character " was read as part of the texts: {why}. --set data.quotes=true reads it as a '
        "quotation mark."
    )


def _refusal(quoted: _Parsed, swallowed: Sequence[int], place: str) -> DataError:
    lost = sum(quoted.long[i][1] - quoted.long[i][0] for i in swallowed)
    return DataError(
        f"A quotation mark seems to open in one row and close in a later one, which would lose about {lost} rows.",
        value=f"{place}: {_where(quoted, swallowed)}",
        allowed="rows of one line; or texts of several lines whose lines do not look like rows",
        fix='close the quotation marks there, or write " in texts twice; if each line is a row: --set '
        "data.quotes=false; if these texts do hold several lines: --set data.quotes=true",
    )


def _where(parsed: _Parsed, rows: Sequence[int]) -> str:
    places = [f"{first} to {last}" for first, last in (parsed.long[i] for i in rows)]
    return f"lines {listed(places, 5)}"


def _long_rows(parsed: _Parsed) -> list[str]:
    if not parsed.long:
        return []
    return [f"{len(parsed.long)} rows of several lines ({_where(parsed, list(parsed.long))})"]


def _parse(content: Decoded, place: str, sign: str, quoting: Any) -> _Parsed:
    rows: list[list[str]] = []
    long: dict[int, tuple[int, int]] = {}
    uneven: list[tuple[int, int]] = []
    blank: list[int] = []
    with long_fields():
        reader = csv.reader(content.lines(""), delimiter=sign, quoting=quoting, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                problem = f"The row that starts on line {line} is malformed: {error}."
                return _Parsed(rows, long, DataError(problem, value=place, fix=_QUOTING_FIX))
            if not row:
                blank.append(line)
                continue
            if reader.line_num > line:
                long[len(rows)] = (line, reader.line_num)
            rows.append(row)
            if len(row) != len(rows[0]):
                uneven.append((line, len(row)))
    return _Parsed(rows, long, _uneven(uneven, place, len(rows[0])) if uneven else None, blank)


def _uneven(uneven: Sequence[tuple[int, int]], place: str, width: int) -> DataError:
    line, fields = uneven[0]
    more = f" The same is true of {len(uneven) - 1} more lines." if len(uneven) > 1 else ""
    others = listed((str(other) for other, _ in uneven), 5)
    return DataError(
        f"The row that starts on line {line} has {fields} fields.{more}",
        value=f"{place}: lines {others}" if more else place,
        allowed=f"{width} fields, as in the first line",
        fix='put " around texts that hold separators or line ends',
    )


def _swallowed(parsed: _Parsed, content: Decoded, sign: str) -> list[int]:
    """Return the rows of several lines whose lines look like rows of their own.

    A line looks like a row where it has as many fields as the file has columns, and holds a value that is usual
    in a column of few values, as labels are. The first or the last line of a sound row may look so too, since they
    hold its other fields. So a row is taken for several where one of these holds:

    - its first and its last line both look like rows;
    - a line between them does, and the first or the last has as many fields as there are columns;
    - it has three lines or more, and all of them have as many fields as there are columns.
    """
    if parsed.width < 2 or not parsed.long:
        return []
    wanted = {line for first, last in parsed.long.values() for line in range(first, last + 1)}
    lines = {number: line for number, line in enumerate(content.lines(""), start=1) if number in wanted}
    usual = _usual_values(parsed)
    found = []
    for position, (first, last) in parsed.long.items():
        fields = [_fields(lines[number], sign, parsed.width) for number in range(first, last + 1)]
        like_rows = [any(values & usual[i] for i, values in enumerate(each)) for each in fields]
        whole = len(fields) > 2 and all(map(bool, fields))
        # A quotation mark that was never closed stands in a whole row, and so does the one that ends it.
        between = any(like_rows[1:-1]) and bool(fields[0] or fields[-1])
        if whole or between or (like_rows[0] and like_rows[-1]):
            found.append(position)
    return found


def _usual_values(parsed: _Parsed) -> list[set[str]]:
    """Return, for each column, its values where they are few and repeat; nothing for the others.

    Which columns are such is judged by the rows of one line, since the others are in doubt.
    """
    certain = [row for i, row in enumerate(parsed.rows) if i not in parsed.long] or parsed.rows
    most = max(_FEW_VALUES, round(_FEW_SHARE * len(certain)))
    usual = []
    for column in range(parsed.width):
        distinct = len({row[column].strip() for row in certain})
        few = distinct <= most and distinct < len(certain)
        usual.append({row[column].strip() for row in parsed.rows} - {""} if few else set())
    return usual


def _fields(line: str, sign: str, width: int) -> list[set[str]]:
    """Return the fields of a line read alone, with and without quotation; nothing where their number differs."""
    readings = [line.rstrip("\r\n").split(sign)]
    try:
        readings += list(csv.reader([line], delimiter=sign, strict=True))
    except csv.Error:
        pass
    fitting = [reading for reading in readings if len(reading) == width]
    return [{value.strip().strip('"') for value in values} for values in zip(*fitting, strict=True)]


def _split_header(
    parsed: _Parsed, stated: bool | None
) -> tuple[list[str] | None, list[list[str]], list[PassedOver]]:
    """Return the header (None where there is none), the rows, and rows that only repeat the header."""
    rows = parsed.rows
    if not (_has_header(rows) if stated is None else stated):
        return None, rows, []
    header = [name.strip() for name in rows[0]]
    kept = [row for row in rows[1:] if row != rows[0]]
    repeats = len(rows) - 1 - len(kept)
    passed_over = [PassedOver(f"{repeats} rows", "they repeat the header")] if repeats else []
    return header, kept, passed_over


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row names the columns.

    It does not where none of it is a usual name and one of its values stands again, below, in a column of few
    values, as a label does.
    """
    first = rows[0]
    if _lowered(first) & {*TEXT_NAMES, *LABEL_NAMES} or len(first) < 2 or len(rows) < 3:
        return True
    below = [row for row in rows[1:] if row != first]
    for value, values in zip(first, zip(*below, strict=True), strict=True):
        distinct = set(values)
        if value.strip() and value in distinct and len(distinct) <= max(_FEW_VALUES, len(values) // 2):
            return False
    return True


def _header_note(rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"The first line was read as data, not as a header: {listed(rows[0], 5)}. "
        "--set data.header=true reads it as a header."
    ]


def _column_names(header: Sequence[str] | None, width: int) -> list[str]:
    return [f"column_{i}" for i in range(1, width + 1)] if header is None else list(header)


def _unnamed(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[PassedOver]:
    """Account for columns whose header is empty; those without any content together."""
    unnamed = [position for position, name in enumerate(names) if not name]
    filled = {position: sum(bool(row[position].strip()) for row in rows) for position in unnamed}
    found = [
        PassedOver(f"column {position + 1}", f"it has no name; {count:,} of its {len(rows):,} cells are filled")
        for position, count in filled.items()
        if count
    ]
    empty = [str(position + 1) for position, count in filled.items() if not count]
    if empty:
        what = f"column {empty[0]}" if len(empty) == 1 else f"columns {listed(empty)}"
        found.append(PassedOver(what, "no name and no content"))
    return found


def _blank_lines(blank: Sequence[int]) -> list[PassedOver]:
    if not blank:
        return []
    where = f"line {blank[0]}" if len(blank) == 1 else f"{len(blank):,} lines: {listed(map(str, blank), 5)}"
    return [PassedOver(where, "blank, so no row")]


def _lowered(names: Sequence[str]) -> set[str]:
    return {name.strip().lower() for name in names}


@contextmanager
def long_fields() -> Iterator[None]:
    """Lift the csv module's limit, which is one for the whole process, for as long as it is needed."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
