"""Several labels a text: read from a column of lists, from a column with a delimiter, or from 0/1 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunebench.data.classes import Classes, Label, encode_labels
from tunebench.data.labels import KeptLabels, Labels, clean_labels, is_called, is_list, is_missing, rows_left_out
from tunebench.data.reading import named_rows
from tunebench.data.reference import DataConfig, LabelChoices
from tunebench.data.table import Table
from tunebench.data.visible import shown
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.formatting import counted

#: How a 0/1 column says yes and no.
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


class LabelSets(KeptLabels[tuple[Label, ...]]):
    """Several labels a row, each once."""

    @property
    def flat(self) -> list[Label]:
        """All labels of all rows, one after the other."""
        return [label for labels in self.values for label in labels]

    def encoded(self, classes: Classes, *, where: str) -> np.ndarray:
        """Return a 0/1 matrix ``(rows, classes)`` of int8; see :meth:`KeptLabels.encoded`."""
        found = np.zeros((len(self.rows), len(classes.values)), dtype=np.int8)
        row = np.repeat(np.arange(len(self.rows)), [len(labels) for labels in self.values])
        found[row, encode_labels(self.flat, classes, where=where)] = 1
        return found


def split_values(values: Sequence[Any], delimiter: str) -> list[Any]:
    """Return the parts of each value of a column; a blank value has none, and values that are no texts are left."""
    found: list[Any] = []
    for value in values:
        if is_missing(value):
            found.append([])
        elif isinstance(value, str):
            found.append([part.strip() for part in value.split(delimiter) if part.strip()])
        else:
            found.append(value if is_list(value) else [value])
    return found


def column_values(table: Table, config: DataConfig, part: str) -> list[Any]:
    """Return for each row the names of the 0/1 columns that say yes.

    Raises:
        DataError: A value is neither yes nor no.
    """
    columns = config.label_columns or ()
    found: list[list[str]] = [[] for _ in range(table.rows)]
    errors: list[TunebenchError] = []
    for name in columns:
        odd = []
        values = table.values(name)
        for row, value in enumerate(values):
            word = _word(value)
            if word in _YES:
                found[row].append(name)
            elif word not in _NO:
                odd.append(row)
        if odd:
            errors.append(
                DataError(
                    f"{part}: {len(odd)} of {len(values)} values of the label column {name!r} are neither 0 nor 1 "
                    f"({named_rows(odd, table.numbers)}).",
                    value=values[odd[0]],
                    allowed="0 and 1, or true and false",
                    fix="repair these rows, or take the column out of data.label_columns",
                )
            )
    raise_all(errors)
    return list(found)


def says_yes_or_no(values: Sequence[Any]) -> bool:
    """Tell whether each value says that a text has a label, or that it has not, and both occur."""
    words = {_word(value) for value in values}
    return words <= {*_YES, *_NO} and not words.isdisjoint(_YES) and not words.isdisjoint(_NO)


def _word(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def clean_sets(
    values: Sequence[Any], *, where: str, choices: LabelChoices, numbers: Sequence[int] | None = None
) -> LabelSets:
    """Return the labels of a split, less the rows that are left out.

    Args:
        values: A list of labels a row; None where the row has none to read.
        where: The split's name, for messages.
        choices: Labels to drop and to merge, and what becomes of rows without one.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.

    Raises:
        DataError: Rows hold no list, or labels that name no class; or rows without a label are refused.
        ErrorGroup: Several of these.
    """
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    lists = {row: list(value) for row, value in enumerate(values) if is_list(value)}
    _refuse(values, missing, lists, where, choices, numbers)
    rows = np.repeat(list(lists), [len(own) for own in lists.values()]).astype(int)
    flat = [label for own in lists.values() for label in own]
    if not flat:
        raise DataError(f"{where}: no text has a label.", fix="name another label column: data.label_column")
    # What is dropped here is a label of a text, not a row.
    places = [int(row if numbers is None else numbers[row]) for row in rows]
    cleaned = clean_labels(flat, where=where, choices=choices.model_copy(update={"drop": ()}), numbers=places)
    by_row, notes = _by_row(lists, rows, cleaned, choices, where)
    without = [row for row, own in by_row.items() if not own]
    if without and choices.none == "refuse":
        raise DataError(
            f"{where}: {len(without)} of {len(values)} texts have no label ({named_rows(without, numbers)}).",
            allowed="one label or more for each text, unless texts without any are asked for",
            fix="--set data.labels.none=keep keeps them as texts without any label, and "
            "--set data.labels.none=drop leaves them out",
        )
    left_out = []
    if missing:
        reason, choice = "the labels are missing", "data.labels.missing: drop"
        left_out.append(rows_left_out(missing, len(values), where, reason, choice))
    if without and choices.none == "drop":
        reason, choice = "the text has no label", "data.labels.none: drop"
        left_out.append(rows_left_out(without, len(values), where, reason, choice))
        by_row = {row: own for row, own in by_row.items() if own}
    elif without:
        texts = counted(len(without), "text has no label; it is", "texts have no label; they are")
        notes.append(f"{where}: {texts} kept (data.labels.none: keep).")
    if not any(by_row.values()):
        raise DataError(
            f"{where}: no text is left with a label.",
            value="; ".join(map(str, left_out)),
            fix="change data.labels, or name another label column: data.label_column",
        )
    return LabelSets(list(by_row.values()), list(by_row), cleaned.found, tuple(left_out), tuple(notes))


def _by_row(
    lists: Mapping[int, list[Any]], rows: np.ndarray, cleaned: Labels, choices: LabelChoices, where: str
) -> tuple[dict[int, tuple[Label, ...]], list[str]]:
    """Return the labels of each row, each once and without those that are dropped; and what was done."""
    notes, found = list(cleaned.notes), {row: dict[Label, None]() for row in lists}
    repeated: set[int] = set()
    dropped = dict.fromkeys(choices.drop, 0)
    for position, label in zip(cleaned.rows, cleaned.values, strict=True):
        row = int(rows[position])
        name = next((name for name in choices.drop if is_called(label, name)), None)
        if name is not None:
            dropped[name] += 1
            continue
        if label in found[row]:
            repeated.add(row)
        found[row][label] = None
    absent = len(rows) - len(cleaned.rows)
    if absent:
        labels = counted(absent, "label in a list is missing; it is", "labels in lists are missing; they are")
        notes.append(f"{where}: {labels} left out (data.labels.missing: drop).")
    if repeated:
        texts = counted(len(repeated), "text has", "texts have")
        notes.append(f"{where}: {texts} a label more than once; it counts once.")
    notes += [
        f"{where}: the label {shown(name)} is taken off {counted(n, 'text')} (data.labels.drop)."
        for name, n in dropped.items()
        if n
    ]
    return {row: tuple(labels) for row, labels in found.items()}, notes


def _refuse(
    values: Sequence[Any],
    missing: Sequence[int],
    lists: Mapping[int, Any],
    where: str,
    choices: LabelChoices,
    numbers: Sequence[int] | None,
) -> None:
    errors: list[TunebenchError] = []
    if missing and choices.missing == "refuse":
        errors.append(
            DataError(
                f"{where}: the labels of {len(missing)} of {len(values)} texts are missing "
                f"({named_rows(missing, numbers)}): null or NaN, where a text without labels has an empty list.",
                fix="repair these rows, or leave them out: --set data.labels.missing=drop",
            )
        )
    odd = [row for row, value in enumerate(values) if row not in lists and not is_missing(value)]
    if odd:
        errors.append(
            DataError(
                f"{where}: {len(odd)} of {len(values)} rows hold no list of labels ({named_rows(odd, numbers)}).",
                value=values[odd[0]],
                allowed="a list in every row",
                fix="repair these rows, or name another label column: data.label_column",
            )
        )
    raise_all(errors)
