"""Groups of texts: authors, patients, conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunebench.data.columns import is_empty
from tunebench.data.reading import named_rows
from tunebench.errors import DataError


def read_groups(
    values: Sequence[Any], rows: Sequence[int], *, column: str, where: str, numbers: Sequence[int] | None = None
) -> list[str]:
    """Return the names of the groups of rows; 1, 1.0 and "1" are one group.

    Args:
        values: A value a row of the column.
        rows: The rows that are used, from 0.
        column: The column's name, for messages.
        where: The split's name, for messages.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.

    Raises:
        DataError: Some rows have no group, or something that names none.
    """
    missing, odd, found = list[int](), list[int](), list[str]()
    for row in rows:
        value = values[row].item() if isinstance(values[row], np.generic) else values[row]
        if is_empty(value):
            missing.append(row)
        elif isinstance(value, (list, tuple, dict, set, np.ndarray)):
            odd.append(row)
        else:
            whole = isinstance(value, float) and value.is_integer()
            found.append(str(int(value) if whole else value).strip())
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(rows)} rows have no group in {column!r} "
            f"({named_rows(missing, numbers)}).",
            fix="name their groups; rows that belong to nobody else get a group of their own each",
        )
    if odd:
        raise DataError(
            f"{where}: {len(odd)} of {len(rows)} groups in {column!r} are lists ({named_rows(odd, numbers)}).",
            value=values[odd[0]],
            allowed="one group a row: text or a number",
            fix="name another data.group_column, or drop it",
        )
    return found
