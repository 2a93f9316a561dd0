"""Class names that a source declares for its numbers (``ClassLabel`` of datasets); parts are matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.data.reading import listed
from tunebench.data.sources import RawData
from tunebench.data.table import Table, use_names


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


def label_values(raw: RawData, column: str) -> LabelValues:
    """Read the labels of all parts.

    Each part's numbers are replaced by the names that this part declares. A part that declares none, and holds
    numbers, is read with the names of another; one that holds names is left alone.

    Raises:
        DataError: A number lies outside the declared names.
    """
    names = {part: table.class_names.get(column, ()) for part, table in raw.parts.items()}
    declared = next((names[part] for part in ("train", "test", "validation") if names.get(part)), ())
    notes: list[str] = []
    found: dict[str, list[Any]] = {}
    for part, table in raw.parts.items():
        found[part], note = _read(table, column, part, names[part], declared)
        notes += note
    for part in ("validation", "test"):
        if names.get(part) and names["train"] and names[part] != names["train"]:
            notes.append(f"train and {part} number their classes differently; each was read by name.")
    return LabelValues(found, declared, tuple(notes))


def _read(
    table: Table, column: str, part: str, own: Sequence[str], declared: Sequence[str]
) -> tuple[list[Any], list[str]]:
    values = table.values(column)
    notes: list[str] = []
    if not declared:
        return values, notes
    values = [_as_number(value, declared) for value in values]
    if not own:
        if not any(isinstance(value, int) for value in values):
            return values, notes
        meaning = listed(f"{number} = {name}" for number, name in enumerate(declared))
        notes.append(f"{part}: the labels are numbers, read with the names that another part declares: {meaning}.")
    missing = sum(value == -1 for value in values if not isinstance(value, bool))
    if missing:
        notes.append(f"{part}: {missing} labels are -1, which means no label where class names are declared.")
    return use_names(values, own or declared, table.numbers), notes


def _as_number(value: Any, declared: Sequence[str]) -> Any:
    """Return the number a value is or spells, unless it is a declared name itself."""
    if isinstance(value, str) and value.strip() not in declared:
        text = value.strip()
        return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else value
    return value
