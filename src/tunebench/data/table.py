"""A table as read from a file: named columns, and an account of how it was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunebench.data.reading import FileReading, PassedOver, named_rows
from tunebench.errors import DataError
from tunebench.formatting import listed


@dataclass(frozen=True)
class Table:
    """Named columns; values are read when asked for.

    Attributes:
        columns: Their names, in order.
        rows: How many rows there are.
        values: Returns the values of a column; ``None`` where a row has none.
        class_names: By column, the names of labels 0, 1, ... where the source declares them.
        how: What was recognised of the file, each a few words.
        notes: What the user should know of how it was read, one sentence each.
        passed_over: What of the file is not in the columns and rows.
        headless: Whether the file names no columns, so that their names are ours.
        files: The files the rows come from.
        numbers: Where the rows stand in the file, from 0, if only some of its rows are here.
    """

    columns: tuple[str, ...]
    rows: int
    values: Callable[[str], list[Any]]
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    how: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    headless: bool = False
    files: tuple[FileReading, ...] = ()
    numbers: tuple[int, ...] | None = None

    def only(self, rows: Sequence[int], how: str) -> Table:
        """Return the table with some of its rows.

        Args:
            rows: Which ones, from 0.
            how: What they are, for the account, in a few words.
        """
        chosen = tuple(rows)
        more = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        files = tuple(FileReading(f"{file.name}{more}", len(chosen), (*file.how, how)) for file in self.files[:1])

        def values(column: str) -> list[Any]:
            every = self.values(column)
            return [every[row] for row in chosen]

        return replace(self, rows=len(chosen), values=values, files=files, numbers=chosen)

    def named(self, name: str) -> Table:
        """Return the table with the name of its file in its account."""
        return replace(
            self,
            files=(FileReading(name, self.rows, self.how),),
            notes=tuple(f"{name}: {note}" for note in self.notes),
            passed_over=tuple(replace(item, what=f"{name}: {item.what}") for item in self.passed_over),
        )


def concatenate(tables: Sequence[Table]) -> Table:
    """Put tables with the same columns one after the other.

    Where they declare different class names for a column, each one's numbers are read with its own names: the
    column then holds names.

    Raises:
        DataError: Their columns differ, or only some of them declare the names of their numbers.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    for table in tables:
        if set(table.columns) != set(first.columns):
            raise DataError(
                "The parts of a split have different columns.",
                value=listed(table.columns, 20),
                allowed=listed(first.columns, 20),
            )
    class_names, renamed = _merge_class_names(tables)

    def values(column: str) -> list[Any]:
        parts = (table.values(column) for table in tables)
        if column in renamed:
            parts = (use_names(part, table.class_names[column]) for part, table in zip(parts, tables, strict=True))
        return [value for part in parts for value in part]

    return Table(
        first.columns,
        sum(table.rows for table in tables),
        values,
        class_names,
        notes=tuple(note for table in tables for note in table.notes)
        + tuple(
            f"The shards number the classes of {column!r} differently; they were matched by name."
            for column in renamed
        ),
        passed_over=tuple(item for table in tables for item in table.passed_over),
        headless=all(table.headless for table in tables),
        files=tuple(file for table in tables for file in table.files),
    )


def use_names(values: Sequence[Any], names: Sequence[str], numbers: Sequence[int] | None = None) -> list[Any]:
    """Replace numbers by the class names they index; -1 means no label, and becomes ``None``.

    Args:
        values: A value a row.
        names: The class names.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.

    Raises:
        DataError: A number lies outside the names.
    """
    found: list[Any] = []
    for row, value in enumerate(values):
        if isinstance(value, int) and not isinstance(value, bool):
            if not -1 <= value < len(names):
                raise DataError(
                    f"The label in {named_rows([row], numbers)} is none of the classes that the file declares.",
                    value=value,
                    allowed=f"0 to {len(names) - 1} ({listed(names)}), or -1 for no label",
                )
            found.append(None if value == -1 else names[value])
        else:
            found.append(value)
    return found


def _merge_class_names(tables: Sequence[Table]) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Return the class names of all tables by column, and the columns whose numbers mean different names."""
    class_names: dict[str, tuple[str, ...]] = {}
    renamed: set[str] = set()
    for column in tables[0].columns:
        declared = [table.class_names.get(column) for table in tables]
        distinct = set(declared)
        if distinct == {None}:
            continue
        known = [names for names in declared if names is not None]
        class_names[column] = tuple(dict.fromkeys(name for names in known for name in names))
        if len(distinct) == 1:
            continue
        if None in distinct:
            raise DataError(
                f"Some shards declare the names of the classes in {column!r}, and others do not.",
                value=f"{declared.count(None)} of {len(tables)} shards declare none",
                allowed="names in every shard, or in none",
                fix="write all shards the same way",
            )
        renamed.add(column)
    return class_names, renamed
