"""Which examples train, select and are scored: pure functions of labels and seeds.

Every size draws from one shuffled order: a subset is its first n examples, so 5k lies inside 10k
inside 25k; with seed 42 it is what ``datasets.Dataset.shuffle(seed=42)`` would give. Validation
examples are picked along that order by a rule that only looks back, so the validation part of a
smaller size lies inside that of a larger one, and no example changes sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunebench.errors import DataError

#: Share of the data that is held out where there is no test split and no size is asked for.
HELD_OUT = 0.2


@dataclass(frozen=True)
class Parts:
    """Indices of the three parts of one run.

    Attributes:
        train: Into the training split, in shuffled order.
        validation: Into the training split; empty when nothing is set aside.
        test: Into the split that ``test_from`` names, ascending.
        test_from: Where ``test`` points.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_from: Literal["train", "test"]

    @property
    def test_held_out(self) -> bool:
        """Whether the test part was held out of the training split, for want of a test split."""
        return self.test_from == "train"


def shuffled(count: int, seed: int) -> np.ndarray:
    """Return the permutation that ``datasets.Dataset.shuffle(seed=seed)`` uses."""
    return np.random.default_rng(seed).permutation(count)


def held_out_count(count: int, test_size: int | None) -> int:
    """Return how many examples are held out for testing where there is no test split."""
    return test_size if test_size is not None else round(count * HELD_OUT)


def make_parts(
    *,
    train_labels: np.ndarray,
    test_labels: np.ndarray | None,
    train_size: int,
    subset_seed: int,
    validation_fraction: float,
    test_size: int | None,
) -> Parts:
    """Cut one run's parts.

    Args:
        train_labels: Labels of the training split.
        test_labels: Labels of the test split, or None.
        train_size: Labels the run may use, those for validation included.
        subset_seed: Seed of the shuffled order.
        validation_fraction: Share of each class that is set aside.
        test_size: Test examples to score; None means all (or 20 % of the data where held out).

    Returns:
        Disjoint parts.

    Raises:
        DataError: A size is larger than the data, or too small to hold every class in every part.
    """
    order = shuffled(len(train_labels), subset_seed)
    if test_labels is None:
        test = _hold_out(train_labels, order, held_out_count(len(order), test_size))
        test_from: Literal["train", "test"] = "train"
        order = order[~np.isin(order, test)]
    else:
        test = _stratified_test(test_labels, test_size, subset_seed)
        test_from = "test"
    if train_size > len(order):
        raise DataError(
            "The training size is larger than the data.",
            value=train_size,
            allowed=f"at most {len(order)}" + (" (a test part is held out)" if test_labels is None else ""),
            fix="lower train_sizes, or write 'all'",
        )
    subset = order[:train_size]
    classes = int(train_labels.max()) + 1
    chosen = _validation_mask(train_labels[subset], validation_fraction)
    _check_classes(train_labels, order, subset, chosen, classes, validation_fraction)
    return Parts(train=subset[~chosen], validation=subset[chosen], test=np.sort(test), test_from=test_from)


def available_train(train_examples: int, *, has_test: bool, test_size: int | None) -> int:
    """Return how many training examples ``all`` stands for."""
    return train_examples if has_test else train_examples - held_out_count(train_examples, test_size)


def _validation_mask(labels: np.ndarray, fraction: float) -> np.ndarray:
    """Mark, within each class, the examples at which ``floor(count * fraction)`` grows.

    The k-th example of a class is chosen by k alone, so the mark never depends on what comes later.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if fraction == 0:
        return mask
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # The nudge keeps 0.1 * 10 from falling below 1.
        reached = np.floor(np.arange(len(members) + 1) * fraction + 1e-9)
        mask[members[np.diff(reached) > 0]] = True
    return mask


def _check_classes(
    labels: np.ndarray,
    order: np.ndarray,
    subset: np.ndarray,
    chosen: np.ndarray,
    classes: int,
    fraction: float,
) -> None:
    trained = np.bincount(labels[subset[~chosen]], minlength=classes)
    validated = np.bincount(labels[subset[chosen]], minlength=classes)
    if trained.min() > 0 and (fraction == 0 or validated.min() > 0):
        return
    # A class has both parts from its math.ceil(1 / fraction)-th example on (and at least two).
    needed = max(2, math.ceil(1 / fraction - 1e-9)) if fraction else 1
    positions = [np.flatnonzero(labels[order] == label) for label in range(classes)]
    if any(len(p) < needed for p in positions):
        smallest = "none: some class has too few examples at all"
    else:
        smallest = f"at least {max(int(p[needed - 1]) for p in positions) + 1}"
    raise DataError(
        "The training size is too small to stratify: some class would be missing from training or validation.",
        value=len(subset),
        allowed=smallest,
        fix="raise train_sizes or validation_fraction",
    )


def _hold_out(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Take a stratified test part from the end of the shuffled order, leaving its beginning alone."""
    if not 0 < count < len(order):
        raise DataError(
            "The test part that would be held out is larger than the data.",
            value=count,
            allowed=f"1 to {len(order) - 1}",
            fix="lower test_size",
        )
    quota = _proportional(np.bincount(labels), count)
    backwards = order[::-1]
    return np.concatenate([backwards[labels[backwards] == c][:n] for c, n in enumerate(quota)])


def _stratified_test(labels: np.ndarray, size: int | None, seed: int) -> np.ndarray:
    """Return all test examples, or a stratified draw of ``size`` of them."""
    if size is None or size == len(labels):
        return np.arange(len(labels))
    if size > len(labels):
        raise DataError(
            "The test size is larger than the test split.", value=size, allowed=f"at most {len(labels)}"
        )
    order = shuffled(len(labels), seed)
    quota = _proportional(np.bincount(labels), size)
    return np.concatenate([order[labels[order] == c][:n] for c, n in enumerate(quota)])


def _proportional(counts: np.ndarray, total: int) -> list[int]:
    """Share ``total`` out by class counts: largest remainders get the rest."""
    exact = counts * (total / counts.sum())
    quota = np.floor(exact).astype(int)
    for label in np.argsort(-(exact - quota), kind="stable")[: total - quota.sum()]:
        quota[label] += 1
    return [int(n) for n in quota]
