"""The classes of training labels: which spellings are one class, and the index of each label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.data.label_notes import any_decimal_comma, note_classes
from tunebench.data.visible import alike, shown
from tunebench.errors import DataError
from tunebench.formatting import listed

#: A whole number as it is usually written; "01" is not one, or it would be the same class as "1".
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.0*)?")

Label = str | int


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        values: Integers ascending, or strings: sorted, or in the order in which the source declares them.
        index: By every known spelling, the position in ``values``.
        by_likeness: Whether labels that look alike are one class.
        notes: What is worth a remark, one sentence each.
    """

    values: tuple[Label, ...]
    index: Mapping[tuple[str, Any], int]
    by_likeness: bool = False
    notes: tuple[str, ...] = ()

    def position(self, label: Label) -> int | None:
        """Return the class of a label, or ``None`` where it is of none."""
        keys = [("spelling", label), ("number", whole_number(label)), ("truth", truth(label))]
        if self.by_likeness and isinstance(label, str):
            keys.append(("likeness", alike(label)))
        return next((self.index[key] for key in keys if key[1] is not None and key in self.index), None)


def whole_number(label: Label) -> int | None:
    """Return the integer that a label is or spells (``1``, ``"1"``, ``"1.0"``), or ``None``."""
    if isinstance(label, int):
        return label
    return int(label.partition(".")[0]) if _WHOLE.fullmatch(label) else None


def truth(label: Label) -> str | None:
    """Return ``True`` or ``False``, as a word, of a label that is one of them in any case, else ``None``."""
    word = label.capitalize() if isinstance(label, str) else None
    return word if word in ("True", "False") else None


def find_classes(
    labels: Sequence[Label], *, where: str, declared: Sequence[str] | None = None, by_likeness: bool = False
) -> Classes:
    """Return the classes of the training labels.

    They are integers exactly when each label is or spells one, and True and False exactly when each label is one of
    these words, in any case.

    Args:
        labels: Of the training rows.
        where: The split's name, for messages.
        declared: Names of the classes in the order of the source, if it declares them.
        by_likeness: Make one class of labels that look alike.

    Raises:
        DataError: Strings are mixed with integers, there is a single class, or hardly two texts share one.
    """
    counts = Counter(labels)
    groups, by_truth = _spellings(counts, where)
    notes = [
        f"{where}: {' and '.join(spelled)} are one class, {shown(name)}."
        for name, same in groups.items()
        # 1 and "1" look the same, and are one spelling.
        if len(spelled := sorted({shown(label) for label in same})) > 1
    ]
    both = [name for name, same in groups.items() if {type(label) for label in same} == {int, str}]
    if both:
        notes.append(
            f"{where}: numbers and texts that spell them are the same labels: "
            f"{listed(map(_number_and_text, both), 4)}."
        )
    if by_likeness:
        groups, merged = _by_likeness(groups, counts, where)
        notes += merged
    _check_number(groups, labels, where)
    values = tuple(sorted(groups)) if declared is None else _in_order(groups, declared)
    index: dict[tuple[str, Any], int] = {}
    for position, value in enumerate(values):
        for label in groups[value]:
            index["spelling", label] = position
            index["number", whole_number(label)] = position
            if by_likeness:
                index["likeness", alike(str(label))] = position
            if by_truth:
                index["truth", truth(label)] = position
    per_class = {value: sum(counts[label] for label in groups[value]) for value in values}
    notes += note_classes(per_class, where)
    return Classes(values, index, by_likeness, tuple(notes))


def encode_labels(labels: Sequence[Label], classes: Classes, *, where: str) -> np.ndarray:
    """Return labels as int64 indices of their classes, of shape ``(labels,)``.

    Raises:
        DataError: Labels that training does not know.
    """
    positions = {label: classes.position(label) for label in set(labels)}
    unknown = sorted((label for label, position in positions.items() if position is None), key=str)
    if unknown:
        looks = {alike(str(value)) for value in classes.values}
        similar = [label for label in unknown if alike(str(label)) in looks]
        fix = "repair these labels (-1 often marks a test split without labels), or add them to train"
        if similar:
            fix = (
                f"{listed(map(shown, similar))} only look different from labels of train: write them alike, "
                "or set data.labels.merge: alike"
            )
        count = sum(positions[label] is None for label in labels)
        raise DataError(
            f"{where}: {count} of {len(labels)} labels do not occur in train ({len(unknown)} distinct).",
            value=listed(map(str, unknown)),
            allowed=listed(map(str, classes.values), 20),
            fix=fix,
        )
    return np.array([positions[label] for label in labels], dtype=np.int64)


def _spellings(labels: Collection[Label], where: str) -> tuple[dict[Label, list[Label]], bool]:
    """Gather the labels that spell one number or truth value, by class; tell whether all are truth values."""
    groups: dict[Label, list[Label]] = {}
    by_truth = all(truth(label) is not None for label in labels)
    numbers = {label: whole_number(label) for label in labels}
    by_number = all(number is not None for number in numbers.values())
    if not by_truth and not by_number and any(isinstance(label, int) for label in labels):
        raise DataError(
            f"{where}: labels mix strings and integers.",
            value=listed(sorted(map(repr, labels))),
            allowed="all of one kind",
            fix="write all labels the same way",
        )
    often = Counter(number for number in numbers.values() if number is not None)
    for label in sorted(labels, key=str):
        number, word = numbers[label], truth(label)
        name: Label = label
        if by_truth and word is not None:
            name = word
        elif number is not None and (by_number or often[number] > 1):
            name = number if by_number else str(number)
        groups.setdefault(name, []).append(label)
    return groups, by_truth


def _by_likeness(
    groups: Mapping[Label, list[Label]], counts: Mapping[Label, int], where: str
) -> tuple[dict[Label, list[Label]], list[str]]:
    """Make one class of those that look alike; it is called as most of its labels are written."""
    looks: dict[str, list[Label]] = {}
    for name in groups:
        looks.setdefault(alike(str(name)), []).append(name)
    merged: dict[Label, list[Label]] = {}
    notes = []
    for names in looks.values():
        often = {name: sum(counts[label] for label in groups[name]) for name in names}
        best = max(sorted(names, key=str), key=lambda name: often[name])
        merged[best] = [label for name in names for label in groups[name]]
        if len(names) > 1:
            others = ", ".join(f"{shown(name)} ({often[name]})" for name in names if name != best)
            notes.append(f"{where}: {others} count as {shown(best)} (data.labels.merge: alike).")
    return merged, notes


def _number_and_text(name: Label) -> str:
    return f'{name} and "{name}"'


def _check_number(groups: Mapping[Label, Any], labels: Sequence[Label], where: str) -> None:
    """Refuse one class, and so many that the column holds something else."""
    if len(groups) < 2:
        raise DataError(
            f"{where}: there is a single class, so there is nothing to learn.",
            value=next(iter(groups), None),
            allowed="two or more classes",
            fix="add examples of another class, or name another column: data.label_column",
        )
    if len(groups) > max(10, len(labels) // 2):
        raise DataError(
            f"{where}: {len(groups)} classes among {len(labels)} texts; this does not look like labels.",
            value=listed(map(str, groups)),
            fix=_instead(groups),
        )


def _instead(classes: Iterable[Label]) -> str:
    """Say what to do about too many classes: they may be meant as numbers."""
    name = "name the label column: --set data.label_column=NAME"
    if all(isinstance(label, int) for label in classes):
        return f"if they are numbers to predict, --set data.task=regression; else {name}"
    if any_decimal_comma(map(str, classes)):
        return f"if they are numbers to predict, write them with a decimal point, as in 3.5; else {name}"
    return name


def _in_order(groups: Iterable[Label], declared: Sequence[str]) -> tuple[Label, ...]:
    """Return classes in the order of their declaration, or sorted where they are not all declared."""
    place = {name: position for position, name in enumerate(declared)}
    names = list(groups)
    known = all(str(name) in place for name in names)
    return tuple(sorted(names, key=lambda name: place[str(name)])) if known else tuple(sorted(names))
