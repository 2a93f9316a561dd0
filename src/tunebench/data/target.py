"""Which task the labels of a source set, and their values as that task reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from tunebench.data.declared import LabelValues, label_values
from tunebench.data.label_sets import clean_sets, column_values, split_values
from tunebench.data.labels import KeptLabels, clean_labels, is_list, is_missing
from tunebench.data.numbers import as_number, clean_numbers
from tunebench.data.reference import DataConfig
from tunebench.data.sources import RawData
from tunebench.errors import DataError
from tunebench.formatting import listed
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

#: Up to so many different numbers with fractions, written as text, may be names of classes.
_FEW = 10
#: Two different numbers are two classes, or one of them is a mistake.
_TWO = 2
#: Usual names of a column of ratings.
_RATINGS = ("rating", "ratings", "stars", "score", "grade", "points")


class Cleaner(Protocol):
    """Checks the label values of one split."""

    def __call__(self, values: Sequence[Any], /, *, where: str, numbers: Sequence[int] | None) -> KeptLabels[Any]:
        """Return the labels, less the rows that are left out."""


@dataclass(frozen=True)
class Target:
    """What is learned from a source, and how its labels are read.

    Attributes:
        task: The task.
        values: The label values of each part.
        clean: Checks those of one part.
        notes: How the task was found, a sentence.
    """

    task: Task
    values: LabelValues
    clean: Cleaner
    notes: tuple[str, ...] = ()


def find_target(raw: RawData, column: str, config: DataConfig) -> Target:
    """Say what is learned: what the user names, or else what the values of the training labels are.

    Raises:
        DataError: What the user names does not fit the data.
    """
    if config.label_columns:
        values = LabelValues({part: column_values(table, config, part) for part, table in raw.parts.items()})
        declared = _with_examples(values.values["train"], config.label_columns)
        absent = [name for name in config.label_columns if name not in declared]
        notes = [f"A text may have several labels: {len(declared)} columns say which (task: multi_label)."]
        if absent:
            notes.append(f"train has no text with the label {listed(absent)}; it is not learned.")
        return _several(LabelValues(values.values, declared), config, notes)
    train = raw.train.values(column)
    if config.task == REGRESSION.name:
        return _numbers(raw, column, config, "")
    several = config.label_delimiter is not None or any(is_list(value) for value in train)
    if config.task == MULTI_LABEL.name and not several:
        raise DataError(
            "data.task: multi_label needs several labels a text, and the label column holds single ones.",
            value=f"{column}: {next((value for value in train if not is_missing(value)), None)!r}",
            allowed="a column of lists; data.label_delimiter, such as '|'; or data.label_columns, of 0 and 1",
            fix="say how the labels are written, or drop data.task",
        )
    if config.task == CLASSIFICATION.name or not several:
        values, notes = label_values(raw, column), list[str]()
        if config.task is None and not values.declared and not config.labels.drop and not config.labels.merge:
            written = _as_numbers(train)
            if _are_measured(written, train):
                back = " To take each as a class: --set data.task=single_label." if _are_texts(train) else ""
                return _numbers(raw, column, config, back)
            notes = _rating_notes(written, column)
        return Target(CLASSIFICATION, values, partial(clean_labels, choices=config.labels), tuple(notes))
    delimiter = config.label_delimiter
    how = "are lists" if delimiter is None else f"are split at {delimiter!r}"
    note = f"A text may have several labels: the values of {column!r} {how} (task: multi_label)."
    return _several(
        label_values(raw, column, split=None if delimiter is None else partial(split_values, delimiter=delimiter)),
        config,
        [note],
    )


def _numbers(raw: RawData, column: str, config: DataConfig, back: str) -> Target:
    values = LabelValues({part: list(table.values(column)) for part, table in raw.parts.items()})
    note = f"A number is predicted for each text: the values of {column!r} (task: regression).{back}"
    return Target(REGRESSION, values, partial(clean_numbers, choices=config.labels), (note,))


def _as_numbers(values: Sequence[Any]) -> list[float]:
    """Return the numbers that values are or spell; none where some are something else."""
    found = [as_number(value) for value in values if not is_missing(value)]
    known = [number for number in found if number is not None]
    return known if len(known) == len(found) else []


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values if not is_missing(value))


def _are_measured(numbers: Sequence[float], values: Sequence[Any]) -> bool:
    """Tell whether numbers have fractions as no names of classes have."""
    if all(number.is_integer() for number in numbers):
        return False
    return len(set(numbers)) > (_FEW if _are_texts(values) else _TWO)


def _rating_notes(numbers: Sequence[float], column: str) -> list[str]:
    """Say that numbers are taken as classes, where they may be meant as numbers."""
    distinct = sorted(set(numbers))
    if len(distinct) < 3 or not (distinct[0] == 1 or column.lower() in _RATINGS or distinct[0] % 1):
        return []
    return [
        f"The labels are numbers from {distinct[0]:g} to {distinct[-1]:g}, taken as {len(distinct)} classes (task: "
        "single_label). To predict a number: --set data.task=regression."
    ]


def _several(values: LabelValues, config: DataConfig, notes: Sequence[str]) -> Target:
    return Target(MULTI_LABEL, values, partial(clean_sets, choices=config.labels), tuple(notes))


def _with_examples(values: Sequence[Sequence[str]], columns: Sequence[str]) -> tuple[str, ...]:
    found = {name for names in values for name in names}
    return tuple(name for name in columns if name in found)
