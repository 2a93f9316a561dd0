"""Class names that a source declares for its numbers (``ClassLabel`` of datasets); parts are matched by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.data.labels import is_list
from tunebench.data.sources import RawData
from tunebench.data.table import use_names
from tunebench.formatting import counted, listed


@dataclass(frozen=True)
class LabelValues:
    """The label column of each part, numbers replaced by declared names.

    Attributes:
        values: Values by part.
        declared: The names in the order of their numbers; empty where none are declared.
        notes: What was concluded, one sentence each.
    """

    values: dict[str, list[Any]]
    declared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def label_values(
    raw: RawData, column: str, *, split: Callable[[Sequence[Any]], list[Any]] | None = None
) -> LabelValues:
    """Read the labels of all parts. Of lists, their members are read.

    Each part's numbers are replaced by the names that this part declares. A part that declares none, and holds
    numbers, is read with the names of another; one that holds names is left alone.

    Args:
        raw: The source.
        column: The label column.
        split: Makes lists of the column's values.

    Raises:
        DataError: A number lies outside the declared names.
    """
    names = {part: table.class_names.get(column, ()) for part, table in raw.parts.items()}
    declared = next((names[part] for part in ("train", "test", "validation") if names.get(part)), ())
    notes: list[str] = []
    found: dict[str, list[Any]] = {}
    for part, table in raw.parts.items():
        values = table.values(column) if split is None else split(table.values(column))
        found[part], note = _read(values, table.numbers, part, names[part], declared)
        notes += note
    for part in ("validation", "test"):
        if names.get(part) and names["train"] and names[part] != names["train"]:
            notes.append(f"train and {part} number their classes differently; each was read by name.")
    return LabelValues(found, declared, tuple(notes))


def _read(
    values: list[Any], numbers: Sequence[int] | None, part: str, own: Sequence[str], declared: Sequence[str]
) -> tuple[list[Any], list[str]]:
    notes: list[str] = []
    if not declared:
        return values, notes
    if any(map(is_list, values)):
        return _read_lists(values, numbers, part, own, declared)
    values = [_as_number(value, declared) for value in values]
    if not own:
        if not any(isinstance(value, int) for value in values):
            return values, notes
        meaning = listed(f"{number} = {name}" for number, name in enumerate(declared))
        notes.append(f"{part}: the labels are numbers, read with the names that another part declares: {meaning}.")
    missing = sum(value == -1 for value in values if not isinstance(value, bool))
    if missing:
        labels = counted(missing, "label is", "labels are")
        notes.append(f"{part}: {labels} -1, which means no label where class names are declared.")
    return use_names(values, own or declared, numbers), notes


def _read_lists(
    values: list[Any], numbers: Sequence[int] | None, part: str, own: Sequence[str], declared: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """Read the members of lists as single labels are read; other values are left alone."""
    rows = [row for row, value in enumerate(values) if is_list(value)]
    lists = [list(values[row]) for row in rows]
    places = [
        row if numbers is None else numbers[row]
        for row, own_list in zip(rows, lists, strict=True)
        for _ in own_list
    ]
    flat, notes = _read([label for labels in lists for label in labels], places, part, own, declared)
    found, named = list(values), iter(flat)
    for row, labels in zip(rows, lists, strict=True):
        found[row] = [next(named) for _ in labels]
    return found, notes


def _as_number(value: Any, declared: Sequence[str]) -> Any:
    """Return the number a value is or spells, unless it is a declared name itself."""
    if isinstance(value, str) and value.strip() not in declared:
        text = value.strip()
        return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else value
    return value
