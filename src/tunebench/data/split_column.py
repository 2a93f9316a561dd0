"""One table whose column says which part each row belongs to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunebench.data.part_names import DRAWN, PARTS, part_named
from tunebench.data.reading import PassedOver
from tunebench.data.reference import DataConfig
from tunebench.data.sources import RawData
from tunebench.data.table import use_names
from tunebench.data.visible import is_blank, shown
from tunebench.errors import DataError
from tunebench.formatting import listed

_ALLOWED = "; ".join(f"{part} ({', '.join(names[1:])})" for part, names in PARTS.items())


def split_by_column(raw: RawData, config: DataConfig) -> RawData:
    """Put each row of a table into the part that ``data.split_column`` names; without that key nothing changes.

    Args:
        raw: The source, of training rows only.
        config: The data's settings.

    Returns:
        Train, and validation and test where the column has them.

    Raises:
        DataError: The source has other parts already, there is no such column, it holds other values than the names
            of parts, or it leaves nothing to train on, or nothing but that.
    """
    name = config.split_column
    if name is None:
        return raw
    if len(raw.parts) > 1:
        raise DataError(
            "data.split_column is for a single table; this source has its parts already.",
            value=", ".join(raw.parts),
            fix="drop data.split_column, or give one table",
        )
    table = raw.train
    if name not in table.columns:
        raise DataError(
            "There is no such column of splits.",
            value=name,
            allowed=listed(table.columns, 30),
            fix="name one that is there: data.split_column",
        )
    values = table.values(name)
    if name in table.class_names:
        values = use_names(values, table.class_names[name])
    rows = _rows_of_parts(values, name)
    spelled = {part: sorted({values[row] for row in found}) for part, found in rows.items()}
    tables = {
        part: table.only(found, f"{name!r} is {' or '.join(spelled[part])}")
        for part, found in rows.items()
        if found
    }
    # What is said of the file is said once.
    tables = {
        part: each if part == "train" else replace(each, notes=(), passed_over=()) for part, each in tables.items()
    }
    passed_over = raw.passed_over
    if config.validation == "drawn" and "validation" in tables:
        del tables["validation"]
        what = f"{len(rows['validation'])} rows of validation ({name!r})"
        passed_over = (*passed_over, PassedOver(what, DRAWN))
    return replace(
        raw,
        train=tables["train"],
        test=tables.get("test"),
        validation=tables.get("validation"),
        passed_over=passed_over,
    )


def _rows_of_parts(values: Sequence[Any], column: str) -> dict[str, list[int]]:
    """Return the positions of each part's rows; every part has an entry."""
    rows: dict[str, list[int]] = {part: [] for part in PARTS}
    unknown: Counter[str] = Counter()
    for row, value in enumerate(values):
        part = part_named(value) if isinstance(value, str) else None
        if part is None:
            unknown[_called(value)] += 1
        else:
            rows[part].append(row)
    if unknown:
        raise DataError(
            f"{sum(unknown.values())} of {len(values)} rows have a value in {column!r} that names no part.",
            value=listed((f"{value}: {count}" for value, count in unknown.most_common()), 10),
            allowed=_ALLOWED,
            fix="rename or remove these values, or drop data.split_column",
        )
    if rows["train"] and len(rows["train"]) < len(values):
        return rows
    only = bool(rows["train"])
    raise DataError(
        f"The column {column!r} says train of every row, so it splits nothing."
        if only
        else f"The column {column!r} leaves nothing to train on.",
        value=", ".join(f"{part}: {len(found)}" for part, found in rows.items()),
        allowed="rows of train, and of validation, test or both",
        fix="drop data.split_column: a test part is then held out" if only else "name another data.split_column",
    )


def _called(value: Any) -> str:
    """Return a value as a message shows it."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if missing or (isinstance(value, str) and is_blank(value)):
        return "no value"
    return shown(value) if isinstance(value, str) else repr(value)
