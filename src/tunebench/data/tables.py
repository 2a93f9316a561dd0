"""Reading one table: CSV, TSV, JSONL or Parquet, strictly, with the place of whatever is wrong."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebench.errors import DataError, first_line

#: Larger than any text; the csv module's own limit is 128 kB.
_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Table:
    """Named columns; values are read when asked for.

    Attributes:
        columns: Their names, in order.
        rows: How many rows there are.
        values: Returns the values of a column; ``None`` where a row has none.
        class_names: By column, the names of labels 0, 1, ... where the source declares them.
    """

    columns: tuple[str, ...]
    rows: int
    values: Callable[[str], list[Any]]
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_table(path: Path) -> Table:
    """Read one file, by its ending.

    Nothing is guessed about values: every cell of a CSV or TSV file is a string ("NA" and the empty
    one too), and those of JSONL and Parquet keep their types.

    Raises:
        DataError: It cannot be opened, has an unknown ending, is not UTF-8, is malformed or is empty.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError("This kind of file cannot be read.", value=path.name, allowed=", ".join(READERS))
    table = reader(read_bytes(path), str(path))
    if table.rows == 0:
        raise DataError("The file holds no rows.", value=str(path))
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise DataError("Several columns of the file have the same name.", value=f"{path}: {_listed(repeated)}")
    return table


def concatenate(tables: Sequence[Table]) -> Table:
    """Put tables with the same columns one after the other."""
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables:
        if set(table.columns) != set(first.columns):
            raise DataError(
                "The parts of a split have different columns.",
                value=_listed(table.columns),
                allowed=_listed(first.columns),
            )
    return Table(
        first.columns,
        sum(table.rows for table in tables),
        lambda name: [value for table in tables for value in table.values(name)],
        first.class_names,
    )


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        DataError: It cannot be opened, or is empty.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror or error}.", value=str(path)) from error
    return raw


def decode(raw: bytes, place: str) -> str:
    """Return UTF-8 text, without the mark some editors put in front.

    Raises:
        DataError: Not UTF-8; says the line, from 1, and the byte, from 0.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a byte-order mark the codec counts from behind it.
        start = error.start + (len(raw) - len(error.object))
        line = raw.count(b"\n", 0, start) + 1
        raise DataError(
            f"The file is not UTF-8 (line {line}, byte offset {start}).",
            value=place,
            allowed="UTF-8",
            fix=f"convert it, for example: iconv -f latin1 -t utf-8 {Path(place).name}",
        ) from None


def read_csv(raw: bytes, place: str) -> Table:
    """Read comma-separated values, quoted with ``"`` where needed; the first row names the columns."""
    return _delimited(decode(raw, place), place, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def read_tsv(raw: bytes, place: str) -> Table:
    """Read tab-separated values.

    Both habits are understood: quoted as in CSV (spreadsheets, pandas), and bare (where ``"`` is a
    character like any other). The second is tried where the first does not fit the file.
    """
    text = decode(raw, place)
    try:
        return _delimited(text, place, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    except DataError as error:
        try:
            return _delimited(text, place, delimiter="\t", quoting=csv.QUOTE_NONE)
        except DataError:
            raise error from None


def read_jsonl(raw: bytes, place: str) -> Table:
    """Read one JSON object a line; a key that a row lacks is ``None`` there."""
    text = decode(raw, place)
    rows: list[dict[str, Any]] = []
    # Not splitlines: JSON strings may hold U+2028 and its kin unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"Line {number} of the file is no JSON: {first_line(error)}", value=place) from None
        if not isinstance(row, dict):
            raise DataError(
                f"Line {number} of the file is no JSON object.",
                value=f"{place}: {line[:80]}",
                allowed='one object a line, such as {"text": "...", "label": 1}',
            )
        rows.append(row)
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(columns, len(rows), lambda name: [row.get(name) for row in rows])


def read_parquet(raw: bytes, place: str) -> Table:
    """Read a Parquet file; class names that ``datasets`` wrote into it are used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not raw:
        raise DataError("The file is empty.", value=place)
    try:
        table = pq.read_table(pa.BufferReader(raw))
        # Else a text that is no UTF-8 is only met when it is read.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"The file is no readable Parquet: {first_line(error)}", value=place) from None
    return Table(
        tuple(table.column_names),
        table.num_rows,
        lambda name: list(table.column(name).to_pylist()),
        _declared_classes(table.schema.metadata or {}),
    )


#: Readers of a file's bytes, by its ending; the second argument names the place in messages.
READERS: dict[str, Callable[[bytes, str], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def _delimited(text: str, place: str, *, delimiter: str, quoting: Any) -> Table:
    if not text.strip():
        raise DataError("The file is empty.", value=place)
    rows: list[list[str]] = []
    header: list[str] = []
    # newline="": line ends inside quoted texts stay as they are.
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                raise DataError(
                    f"The row that starts on line {line} is malformed: {error}.",
                    value=place,
                    fix='put " around texts that hold separators or line ends, and write " in them twice',
                ) from None
            if not row:
                continue
            if not header:
                header = [name.strip() for name in row]
            elif len(row) != len(header):
                raise DataError(
                    f"The row that starts on line {line} has {len(row)} fields.",
                    value=place,
                    allowed=f"{len(header)} fields, as in the first line",
                    fix='put " around texts that hold separators or line ends',
                )
            else:
                rows.append(row)
    return Table(tuple(header), len(rows), lambda name: [row[header.index(name)] for row in rows])


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the csv module's limit, which is one for the whole process, for as long as it is needed."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _declared_classes(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the class names in the note that ``datasets`` leaves in its Parquet files."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
