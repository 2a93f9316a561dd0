"""The names of a CSV file's columns: whether its first row holds them, and what is said where they lack."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.data.columns import LABEL_NAMES, TEXT_NAMES
from tunebench.data.csv_rows import FEW_VALUES, Parsed
from tunebench.data.reading import PassedOver
from tunebench.formatting import listed


def split_header(parsed: Parsed, stated: bool | None) -> tuple[list[str] | None, list[list[str]], list[PassedOver]]:
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
    named = {name.strip().lower() for name in first} & {*TEXT_NAMES, *LABEL_NAMES}
    if named or len(first) < 2 or len(rows) < 3:
        return True
    below = [row for row in rows[1:] if row != first]
    for value, values in zip(first, zip(*below, strict=True), strict=True):
        distinct = set(values)
        if value.strip() and value in distinct and len(distinct) <= max(FEW_VALUES, len(values) // 2):
            return False
    return True


def header_note(rows: Sequence[Sequence[str]]) -> str:
    """Say that the first row was read as data."""
    return (
        f"The first line was read as data, not as a header: {listed(rows[0], 5)}. "
        "--set data.header=true reads it as a header."
    )


def column_names(header: Sequence[str] | None, width: int) -> list[str]:
    """Return the header's names, or ``column_1`` and so on without a header."""
    return [f"column_{i}" for i in range(1, width + 1)] if header is None else list(header)


def unnamed_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[PassedOver]:
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
