"""JSON as people write it: an object per line, an array of objects, or columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tunebench.data.encodings import Decoded, decode
from tunebench.data.reading import PassedOver
from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table
from tunebench.errors import DataError, first_line

_ALLOWED = 'one object per line, such as {"text": "...", "label": 1}; or one array of such objects'


def read_json(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read rows from JSON; a key that a row lacks is ``None`` there.

    Known shapes: one object a line; an array of objects, alone or as a value of one object; an object of columns,
    each an array or an object by row, as pandas writes it.

    Raises:
        DataError: It is not JSON, or none of these.
    """
    decoded = decode(raw, place, (options or ReadOptions()).encoding)
    passed_over: tuple[PassedOver, ...] = ()
    if _is_document(decoded):
        shape, rows, passed_over = _document(decoded.text, place)
        table = _Columns(rows)
    else:
        shape, table = "an object per line", _Columns(_lines(decoded, place))
    return Table(
        tuple(table.values),
        table.rows,
        lambda name: list(table.values[name]),
        how=(decoded.encoding, shape),
        notes=(decoded.note,) if decoded.note else (),
        passed_over=passed_over,
    )


class _Columns:
    """Rows put into columns as they come: an object for each row would take more room than a short text.

    Args:
        rows: A value by column; a column that a row lacks is ``None`` there.
    """

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.values: dict[str, list[Any]] = {}
        self.rows = 0
        for row in rows:
            for name, value in row.items():
                column = self.values.setdefault(name, [])
                column += [None] * (self.rows - len(column))
                column.append(value)
            self.rows += 1
        for column in self.values.values():
            column += [None] * (self.rows - len(column))


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, and refuse a key that occurs twice: JSON readers keep one of the two silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


def _is_document(decoded: Decoded) -> bool:
    """Tell whether a text is one JSON value rather than one per line."""
    lines = (line for line in decoded.lines("\n") if line.strip())
    first = next(lines, "").strip()
    if not first.startswith("{"):
        return first.startswith("[")
    try:
        value = _parse(first)
    except (ValueError, RecursionError):
        # An indented document opens something on its first line. Else it is a malformed row, whose line is named.
        return first.endswith(("{", "[", ","))
    return next(lines, None) is None and _find_rows(value) is not None


def _lines(decoded: Decoded, place: str) -> Iterator[dict[str, Any]]:
    # JSON strings may hold U+2028 and its kin unescaped: only "\n" ends a line.
    for number, line in enumerate(decoded.lines("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _parse(line.removesuffix("\n"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"Line {number} of the file is not JSON: {first_line(error)}", value=place) from None
        if not isinstance(row, dict):
            raise DataError(
                f"Line {number} of the file is not a JSON object.", value=f"{place}: {line[:80]}", allowed=_ALLOWED
            )
        yield row


_Rows = list[dict[str, Any]]


def _document(text: str, place: str) -> tuple[str, _Rows, tuple[PassedOver, ...]]:
    """Return the shape of a document, its rows, and what of it holds none."""
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"Line {line} of the file is not JSON: {first_line(error)}", value=place) from None
    if isinstance(value, dict):
        found = _find_rows(value)
        if found is None:
            raise DataError("The file is one JSON object that holds no rows.", value=place, allowed=_ALLOWED)
        return found
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"Item {number} of the file's array is not a JSON object.",
                value=f"{place}: {json.dumps(row)[:80]}",
                allowed=_ALLOWED,
            )
    return "an array of objects", value, ()


def _find_rows(value: dict[str, Any]) -> tuple[str, _Rows, tuple[PassedOver, ...]] | None:
    """Return the rows of an object that holds columns, or an array of rows besides other things."""
    columns = _columns(value)
    if columns is not None:
        return "an object of columns", columns, ()
    arrays = [
        key
        for key, item in value.items()
        if isinstance(item, list) and item and all(isinstance(row, dict) for row in item)
    ]
    if len(arrays) != 1:
        return None
    others = [PassedOver(f"key {key!r}", "it is outside the rows") for key in value if key != arrays[0]]
    return f"the array {arrays[0]!r}", value[arrays[0]], tuple(others)


def _columns(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the rows of an object of columns: arrays of one length, or objects with the same keys."""
    columns = list(value.values())
    if len(columns) < 2:
        return None
    if all(isinstance(column, list) for column in columns) and len({len(column) for column in columns}) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if all(isinstance(column, dict) for column in columns) and len({tuple(column) for column in columns}) == 1:
        return [{name: column[key] for name, column in value.items()} for key in columns[0]]
    return None
