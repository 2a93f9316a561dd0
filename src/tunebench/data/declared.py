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
        train: Values of train.
        test: Values of test, where there is one.
        declared: The names in the order of their numbers; empty where none are declared.
        notes: What was concluded, one sentence each.
    """

    train: list[Any]
    test: list[Any] | None
    declared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def label_values(raw: RawData, column: str) -> LabelValues:
    """Read the labels of both parts.

    Each part's numbers are replaced by the names that this part declares. A part that declares none, and holds
    numbers, is read with the names of the other; one that holds names is left alone.

    Raises:
        DataError: A number lies outside the declared names.
    """
    names = {part: table.class_names.get(column, ()) for part, table in raw.parts.items()}
    declared = names["train"] or names.get("test", ())
    notes: list[str] = []
    found: dict[str, list[Any]] = {}
    for part, table in raw.parts.items():
        found[part], note = _read(table, column, part, names[part], declared)
        notes += note
    if names.get("test") and names["train"] and names["test"] != names["train"]:
        notes.append("train and test number their classes differently; they were matched by name.")
    return LabelValues(found["train"], found.get("test"), declared, tuple(notes))


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
        notes.append(
            f"{part}: the labels are numbers, read with the names that the other part declares: {meaning}."
        )
    missing = sum(value == -1 for value in values if not isinstance(value, bool))
    if missing:
        notes.append(f"{part}: {missing} labels are -1, which means no label where class names are declared.")
    return use_names(values, own or declared), notes


def _as_number(value: Any, declared: Sequence[str]) -> Any:
    """Return the number a value is or spells, unless it is a declared name itself."""
    if isinstance(value, str) and value.strip() not in declared:
        text = value.strip()
        return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else value
    return value
