"""The values of a column in the rows that are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.data.reading import named_rows


@dataclass(frozen=True)
class UsedRows:
    """A column of one split, and which of its rows are used.

    Attributes:
        values: A value a row.
        rows: The rows that are used, from 0.
        column: The column's name.
        where: The split's name, for messages.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.
    """

    values: Sequence[Any]
    rows: Sequence[int]
    column: str
    where: str
    numbers: Sequence[int] | None = None

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield each row that is used with its value, as one of Python's own types where NumPy has it."""
        for row in self.rows:
            value = self.values[row]
            yield row, value.item() if isinstance(value, np.generic) else value

    def named(self, rows: Sequence[int], limit: int = 5) -> str:
        """Return rows as messages name them."""
        return named_rows(rows, self.numbers, limit=limit)
