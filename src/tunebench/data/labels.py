"""The labels of a split: what each row has, which rows have none or are left out, and which labels are merged."""

from __future__ import annotations

import math
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tunebench.data.classes import Classes, Label, encode_labels, find_classes, whole_number
from tunebench.data.reading import PassedOver, named_rows
from tunebench.data.reference import LabelChoices
from tunebench.data.visible import alike, is_blank, shown
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.formatting import listed

if TYPE_CHECKING:
    from typing_extensions import Self

#: Longer values are texts, and no labels.
LONGEST_LABEL = 200

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
                fix="write the label in a column of its own, or name another label column: "
                "--set data.label_column=NAME",
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
