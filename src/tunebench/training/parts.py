"""The parts of a data set that one run learns from, selects on, and is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunebench.data import Split, TextDataset
from tunebench.data.cut import Cut
from tunebench.data.sealed import seal_half
from tunebench.data.splits import Parts
from tunebench.data.text import Text
from tunebench.store.record import Examples

if TYPE_CHECKING:
    from tunebench.study.spec import RunSpec


def run_parts(spec: RunSpec, dataset: TextDataset) -> Parts:
    """Cut the parts of a run, whatever trains it; see :mod:`tunebench.data.splits`."""
    cut = Cut(
        splits=spec.splits,
        copies=spec.copies,
        subset_seed=spec.subset_seed,
        test_seed=spec.test_seed,
        validation_fraction=spec.validation_fraction,
        test_size=spec.test_size,
        folds=spec.folds,
        fold=spec.fold,
    )
    parts = cut.parts(dataset, spec.train_size)
    return seal_half(parts, dataset, spec.test_draw) if spec.sealed else parts


def validation_count(spec: RunSpec, dataset: TextDataset) -> int:
    """Return how many texts validate, or about how many where they are a share of the training subset."""
    if spec.own_validation and dataset.validation is not None:
        return len(dataset.validation)
    return round(spec.train_size * _held_out(spec))


def trained_count(spec: RunSpec) -> int:
    """Return about how many texts train: those of the subset that do not validate."""
    return spec.train_size - round(spec.train_size * _held_out(spec))


def _held_out(spec: RunSpec) -> float:
    """Return the share of the training subset that validates."""
    return 1 / spec.folds if spec.fold else spec.validation_fraction


def split_of_validation(dataset: TextDataset, parts: Parts) -> Split:
    """Return the split that the validation part is taken from."""
    own = dataset.validation if parts.validation_from == "validation" else None
    return dataset.train if own is None else own


def split_of_test(dataset: TextDataset, parts: Parts) -> Split:
    """Return the split that the test part is taken from."""
    return dataset.train if parts.test_from == "train" or dataset.test is None else dataset.test


def scored_texts(
    spec: RunSpec, dataset: TextDataset, parts: Parts
) -> tuple[tuple[Sequence[Text], np.ndarray] | None, tuple[Sequence[Text], np.ndarray]]:
    """Return texts and labels of what selects, if anything does, and of what is scored."""
    source = split_of_test(dataset, parts)
    test = ([source.texts[i] for i in parts.test], source.labels[parts.test])
    if spec.selection == "test":
        return test, test
    if spec.selection == "last" or not len(parts.validation):
        return None, test
    split = split_of_validation(dataset, parts)
    return ([split.texts[i] for i in parts.validation], split.labels[parts.validation]), test


def describe_parts(dataset: TextDataset, parts: Parts) -> Examples:
    """Return how many examples every part holds, and of which classes or numbers."""
    classes = len(dataset.label_names)
    test = split_of_test(dataset, parts)

    labels = {
        "train": dataset.train.labels[parts.train],
        "validation": split_of_validation(dataset, parts).labels[parts.validation],
        "test": test.labels[parts.test],
    }
    counts = {part: dataset.task.counts(own, classes) for part, own in labels.items()}
    numbers = {part: found for part, own in labels.items() if (found := dataset.task.summary(own))}
    trained = {dataset.train.texts[row] for row in parts.train}
    own = split_of_validation(dataset, parts)
    used = trained | {own.texts[row] for row in parts.validation}
    return Examples(
        train=len(parts.train),
        validation=len(parts.validation),
        test=len(parts.test),
        train_per_class=counts["train"],
        validation_per_class=counts["validation"],
        test_per_class=counts["test"],
        numbers=numbers,
        test_held_out=parts.test_held_out,
        validation_in_train=sum(own.texts[row] in trained for row in parts.validation),
        test_in_train=sum(test.texts[row] in used for row in parts.test),
        copies_left_out=len(parts.left_out),
    )
