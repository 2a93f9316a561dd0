"""The rows of a CSV file under one reading, and which of them a quotation mark seems to have joined."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tunebench.data.encodings import Decoded
from tunebench.errors import DataError
from tunebench.formatting import listed

#: Larger than any text; the csv module's own limit is 128 kB.
_FIELD_LIMIT = 2**31 - 1
#: A column with at most so many distinct values, or that share of the rows, may hold labels.
FEW_VALUES, _FEW_SHARE = 20, 0.1
_QUOTING_FIX = (
    'put " around texts that hold separators or line ends, and write " in them twice; or, if " is an ordinary '
    "character: --set data.quotes=false"
)


@dataclass(frozen=True)
class Parsed:
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
        """Number of columns: the fields of the first row."""
        return len(self.rows[0]) if self.rows else 0

    @property
    def fits(self) -> bool:
        """Whether the text fits this reading."""
        return self.problem is None


def parse(content: Decoded, place: str, sign: str, quoting: Any) -> Parsed:
    """Read a text with one separator and one meaning of quotation marks.

    Args:
        content: The text.
        place: Where it stands, for errors.
        sign: The separator.
        quoting: ``csv.QUOTE_MINIMAL`` or ``csv.QUOTE_NONE``.
    """
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
                return Parsed(rows, long, DataError(problem, value=place, fix=_QUOTING_FIX))
            if not row:
                blank.append(line)
                continue
            if reader.line_num > line:
                long[len(rows)] = (line, reader.line_num)
            rows.append(row)
            if len(row) != len(rows[0]):
                uneven.append((line, len(row)))
    return Parsed(rows, long, _uneven(uneven, place, len(rows[0])) if uneven else None, blank)


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


def swallowed_by(parsed: Parsed, content: Decoded, sign: str) -> list[int]:
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


def _usual_values(parsed: Parsed) -> list[set[str]]:
    """Return, for each column, its values where they are few and repeat; nothing for the others.

    Which columns are such is judged by the rows of one line, since the others are in doubt.
    """
    certain = [row for i, row in enumerate(parsed.rows) if i not in parsed.long] or parsed.rows
    most = max(FEW_VALUES, round(_FEW_SHARE * len(certain)))
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


@contextmanager
def long_fields() -> Iterator[None]:
    """Lift the csv module's limit, which is one for the whole process, for as long as it is needed."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
