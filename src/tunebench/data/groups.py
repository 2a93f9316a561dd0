"""Groups of texts: authors, patients, conversations."""

from __future__ import annotations

import numpy as np

from tunebench.data.columns import is_empty
from tunebench.data.used_rows import UsedRows
from tunebench.errors import DataError


def read_groups(used: UsedRows) -> list[str]:
    """Return the names of the groups of rows; 1, 1.0 and "1" are one group.

    Raises:
        DataError: Some rows have no group, or something that names none.
    """
    missing, odd, found = list[int](), list[int](), list[str]()
    for row, value in used:
        if is_empty(value):
            missing.append(row)
        elif isinstance(value, (list, tuple, dict, set, np.ndarray)):
            odd.append(row)
        else:
            whole = isinstance(value, float) and value.is_integer()
            found.append(str(int(value) if whole else value).strip())
    if missing:
        raise DataError(
            f"{used.where}: {len(missing)} of {len(used.rows)} rows have no group in {used.column!r} "
            f"({used.named(missing)}).",
            fix="name their groups; rows that belong to nobody else get a group of their own each",
        )
    if odd:
        raise DataError(
            f"{used.where}: {len(odd)} of {len(used.rows)} groups in {used.column!r} are lists "
            f"({used.named(odd)}).",
            value=used.values[odd[0]],
            allowed="one group a row: text or a number",
            fix="name another data.group_column, or drop it",
        )
    return found
