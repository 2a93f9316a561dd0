"""What labels mean: which spellings are one class, which rows have none, and what is worth a remark."""

from __future__ import annotations

import math
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tunebench.data.label_notes import note_classes
from tunebench.data.reading import PassedOver, named_rows
from tunebench.data.reference import LabelChoices
from tunebench.data.visible import alike, is_blank, shown
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.formatting import listed

if TYPE_CHECKING:
    from typing_extensions import Self

#: A whole number as it is usually written; "01" is not one, or it would be the same class as "1".
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.0*)?")
#: Longer values are texts, and no labels.
LONGEST_LABEL = 200

Label = str | int
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class KeptLabels(ABC, Generic[_Value]):
    """The labels of one split, in the form of its task.

    Attributes:
        values: What each row that is kept has.
        rows: Which rows these are, from 0, ascending.
        found: Every distinct label of the split, those of rows left out included.
        left_out: Rows that are left out, by reason.
        notes: What else was done, one sentence each.
    """

    values: list[_Value]
    rows: list[int]
    found: frozenset[Label]
    left_out: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    def less(self, rows: Collection[int]) -> Self:
        """Return the labels without those of some rows, which are left out for another reason."""
        kept = [(row, value) for row, value in zip(self.rows, self.values, strict=True) if row not in rows]
        return replace(self, values=[value for _, value in kept], rows=[row for row, _ in kept])

    @property
    @abstractmethod
    def flat(self) -> list[Label]:
        """All labels of all rows, one after the other."""

    def classes(self, *, where: str, name: str, declared: Sequence[str] | None, by_likeness: bool) -> Classes:
        """Return what a model of these labels, those of training, gives; see :func:`find_classes`.

        Args:
            where: The split's name, for messages.
            name: The column's name, for what has no names of its own.
            declared: Names of the classes in the order of the source, if it declares them.
            by_likeness: Make one class of labels that look alike.

        Raises:
            DataError: There is nothing to learn.
        """
        return find_classes(self.flat, where=where, declared=declared, by_likeness=by_likeness)

    @abstractmethod
    def encoded(self, classes: Classes, *, where: str) -> np.ndarray:
        """Return the labels as the task has them.

        Raises:
            DataError: Labels that training does not know.
        """


class Labels(KeptLabels[Label]):
    """One label a row: integers, or strings without surrounding blanks."""

    @property
    def flat(self) -> list[Label]:
        """The labels themselves."""
        return self.values

    def encoded(self, classes: Classes, *, where: str) -> np.ndarray:
        """Return int64 indices of the classes, of shape ``(rows,)``; see :meth:`KeptLabels.encoded`."""
        return encode_labels(self.values, classes, where=where)


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


def clean_labels(
    values: Sequence[Any],
    *,
    where: str,
    choices: LabelChoices | None = None,
    numbers: Sequence[int] | None = None,
) -> Labels:
    """Return the labels of a split, less the rows that are left out.

    Whole floats and decimals count as integers, and truth values as the words True and False. A column of strings
    stays one; whether "1" means the integer is decided by :func:`find_classes`, over all of training.

    Args:
        values: A value a row.
        where: The split's name, for messages.
        choices: Labels to drop, to merge, and what becomes of rows without one.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.

    Raises:
        DataError: Labels are missing (``None``, NaN, blank), are lists or other values that name no class.
        ErrorGroup: Several of these.
    """
    choices = choices or LabelChoices()
    labels: dict[int, Label] = {}
    missing: list[int] = []
    lists: list[int] = []
    odd: list[int] = []
    for row, value in enumerate(values):
        label = _plain(value)
        if label is None:
            missing.append(row)
        elif isinstance(label, (str, int)):
            labels[row] = label
        else:
            (lists if is_list(value) else odd).append(row)
    found = frozenset(labels.values())
    wrong = {"missing": missing, "lists": lists, "odd": odd}
    raise_all(_complaints(values, found, wrong, where, choices, numbers))
    left_out = []
    if missing:
        left_out.append(
            rows_left_out(missing, len(values), where, "the label is missing", "data.labels.missing: drop")
        )
    for name in choices.drop:
        dropped = [row for row, label in labels.items() if is_called(label, name)]
        for row in dropped:
            del labels[row]
        if dropped:
            reason = f"the label is {shown(name)}"
            left_out.append(rows_left_out(dropped, len(values), where, reason, "data.labels.drop"))
    if not labels:
        raise DataError(
            f"{where}: every row is left out by data.labels.",
            value="; ".join(map(str, left_out)),
            fix="change data.labels, or name another label column: data.label_column",
        )
    kept, notes = _merged(list(labels.values()), choices, where)
    truths = {str(bool(value)) for value in values if isinstance(value, (bool, np.bool_))}
    words = sorted(truths & {value.strip() for value in values if isinstance(value, str)})
    if words:
        notes.append(f"{where}: truth values and the words for them are the same labels: {listed(words)}.")
    return Labels(kept, list(labels), found, tuple(left_out), tuple(notes))


def check_choices(choices: LabelChoices, found: Collection[Label]) -> None:
    """Refuse labels to drop or to merge that the data does not hold.

    Args:
        choices: What the user chose.
        found: Every distinct label of all splits.

    Raises:
        DataError: Some are not there.
    """
    names = [*choices.drop, *(choices.merge if isinstance(choices.merge, dict) else ())]
    unknown = [name for name in names if not any(is_called(label, name) for label in found)]
    if not unknown:
        return
    looks = {alike(name) for name in unknown}
    close = sorted((label for label in found if alike(str(label)) in looks), key=str)
    raise DataError(
        "data.labels names labels that the data does not hold.",
        value=listed(map(shown, unknown)),
        allowed=listed(map(shown, sorted(found, key=str)), 20),
        fix=f"did you mean {' or '.join(map(shown, close))}?" if close else "correct data.labels",
    )


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


def _plain(value: Any) -> Any:
    """Return a string without surrounding blanks, an integer, ``None`` where a label is missing, or the value."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return None if is_blank(value) else value.strip()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float | Decimal):
        if math.isnan(value):
            return None
        return int(value) if math.isfinite(value) and value == int(value) else value
    return value


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for no label: null, NaN, or blank."""
    return not is_list(value) and _plain(value) is None


def is_list(value: Any) -> bool:
    """Tell whether a value holds several."""
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))


def _complaints(
    values: Sequence[Any],
    found: Collection[Label],
    rows: Mapping[str, Sequence[int]],
    where: str,
    choices: LabelChoices,
    numbers: Sequence[int] | None,
) -> list[TunebenchError]:
    """Return what is wrong with the values of a label column."""
    errors: list[TunebenchError] = []
    missing, lists, odd = rows["missing"], rows["lists"], rows["odd"]
    if missing and choices.missing == "refuse":
        errors.append(
            DataError(
                f"{where}: {len(missing)} of {len(values)} labels are missing ({named_rows(missing, numbers)}): "
                "null, NaN, blank, or -1 where the source names its classes.",
                fix="remove this split, or add its labels"
                if len(missing) == len(values)
                else "repair these rows, or leave them out: data.labels.missing: drop in the study, or "
                "--set data.labels.missing=drop",
            )
        )
    if lists:
        errors.append(
            DataError(
                f"{where}: {len(lists)} of {len(values)} labels are lists ({named_rows(lists, numbers)}), "
                "and the task has one label per text.",
                value=values[lists[0]],
                allowed="one label per text: a string, a whole number, or true and false",
                fix=(
                    "--set data.task=multi_label lets a text have several"
                    if where == "train"
                    else "write one label per text, as train has them; or lists in train, too"
                )
                + "; or name another label column: --set data.label_column=NAME",
            )
        )
    if odd:
        errors.append(
            DataError(
                f"{where}: {len(odd)} of {len(values)} labels are neither strings nor integers "
                f"({named_rows(odd, numbers)}).",
                value=values[odd[0]],
                allowed="strings or integers",
                fix="name the label column: data.label_column",
            )
        )
    texts = [label for label in found if isinstance(label, str)]
    unfit = sorted((label for label in texts if not _is_name(label)), key=len)
    if unfit:
        errors.append(
            DataError(
                f"{where}: {len(unfit)} of {len(texts)} labels cannot be class names.",
                value=unfit[0],
                allowed=f"up to {LONGEST_LABEL} characters on one line, without control characters",
                fix="repair these labels, or name the label column: data.label_column",
            )
        )
    return errors


def _is_name(label: str) -> bool:
    """Tell whether a label can be shown in a table, a figure and a file: one line of valid, printable text."""
    if len(label) > LONGEST_LABEL:
        return False
    return not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in label)


def is_called(label: Label, name: str) -> bool:
    """Tell whether a label is the one that a study calls ``name``."""
    same = whole_number(name)
    return str(label) == name or (same is not None and whole_number(label) == same)


def rows_left_out(rows: Sequence[int], count: int, where: str, reason: str, choice: str) -> PassedOver:
    """Account for rows of a split that are left out, for a reason, by what the user chose."""
    return PassedOver(f"{len(rows)} of {count} rows of {where}", f"{reason}; left out by {choice}")


def _merged(labels: list[Label], choices: LabelChoices, where: str) -> tuple[list[Label], list[str]]:
    """Give labels the names they are merged into, and say how many got one."""
    if not isinstance(choices.merge, dict):
        return labels, []
    counts: Counter[tuple[str, str]] = Counter()
    targets: dict[Label, Label] = {}
    for label in set(labels):
        name = next((name for name in choices.merge if is_called(label, name)), None)
        targets[label] = label if name is None else choices.merge[name]
    for label in labels:
        if targets[label] != label:
            counts[str(label), str(targets[label])] += 1
    merged = [targets[label] for label in labels]
    # Integers beside words: once some have names, the others are names as well.
    if any(isinstance(target, str) and whole_number(target) is None for target in targets.values()):
        merged = [str(label if (number := whole_number(label)) is None else number) for label in merged]
    return merged, [
        f"{where}: {n} labels {shown(old)} count as {shown(new)} (data.labels.merge)."
        for (old, new), n in sorted(counts.items())
    ]


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
            value=listed(map(str, labels)),
            fix=_instead(groups),
        )


def _instead(classes: Iterable[Label]) -> str:
    """Say what to do about too many classes: whole numbers may be meant as numbers."""
    name = "name the label column: --set data.label_column=NAME"
    if all(isinstance(label, int) for label in classes):
        return f"if they are numbers to predict, --set data.task=regression; else {name}"
    return name


def _in_order(groups: Iterable[Label], declared: Sequence[str]) -> tuple[Label, ...]:
    """Return classes in the order of their declaration, or sorted where they are not all declared."""
    place = {name: position for position, name in enumerate(declared)}
    names = list(groups)
    known = all(str(name) in place for name in names)
    return tuple(sorted(names, key=lambda name: place[str(name)])) if known else tuple(sorted(names))
