"""Which examples train, select and are scored: pure functions of labels, sizes and seeds.

Every size draws from one shuffled order: a subset is its first n examples, so 5k lies inside 10k
inside 25k; with seed 42 it is what ``datasets.Dataset.shuffle(seed=42)`` would give. Validation
examples are picked along that order by a rule that only looks back, so the validation part of a
smaller size lies inside that of a larger one, and no example changes sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tunebench.errors import DataError

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.spec import RunSpec

#: Share of the data that is held out where there is no test split and no size is asked for.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Parts:
    """Indices of the three parts of one run.

    Attributes:
        train: Into the training split, in shuffled order.
        validation: Into the training split, in shuffled order; empty when nothing is set aside.
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
    """Return the permutation that ``datasets.Dataset.shuffle(seed=seed)`` uses, of shape ``(count,)``."""
    return np.random.default_rng(seed).permutation(count)


def held_out_count(count: int, test_size: int | None) -> int:
    """Return how many of ``count`` examples are held out for testing where there is no test split."""
    return test_size if test_size is not None else round(count * HELD_OUT)


def available_train(train_examples: int, *, has_test: bool, test_size: int | None) -> int:
    """Return how many training examples ``all`` stands for: those that are not held out for testing."""
    return train_examples if has_test else train_examples - held_out_count(train_examples, test_size)


def run_parts(spec: RunSpec, dataset: TextDataset) -> Parts:
    """Cut the parts of a run, whatever trains it; see :func:`make_parts`."""
    return make_parts(
        train_labels=dataset.train.labels,
        test_labels=None if dataset.test is None else dataset.test.labels,
        train_size=spec.train_size,
        subset_seed=spec.subset_seed,
        test_seed=spec.test_seed,
        validation_fraction=spec.validation_fraction,
        test_size=spec.test_size,
        label_names=dataset.label_names,
    )


def scored_texts(
    spec: RunSpec, dataset: TextDataset, parts: Parts
) -> tuple[tuple[Sequence[str], np.ndarray] | None, tuple[Sequence[str], np.ndarray]]:
    """Return texts and labels of what selects, if anything does, and of what is scored."""
    source = dataset.train if parts.test_from == "train" or dataset.test is None else dataset.test
    test = ([source.texts[i] for i in parts.test], source.labels[parts.test])
    if spec.selection == "test":
        return test, test
    if spec.selection == "last" or not len(parts.validation):
        return None, test
    validation = [dataset.train.texts[i] for i in parts.validation]
    return (validation, dataset.train.labels[parts.validation]), test


def make_parts(
    *,
    train_labels: np.ndarray,
    test_labels: np.ndarray | None,
    train_size: int,
    subset_seed: int,
    validation_fraction: float,
    test_size: int | None,
    test_seed: int | None = None,
    label_names: Sequence[str] | None = None,
) -> Parts:
    """Cut one run's parts.

    Where there is no test split, the test part is taken from the end of the shuffled order. A subset
    that does not reach it is exactly the first n of that order; one that does passes over the held-out
    examples, so that all the others can be used.

    Args:
        train_labels: Labels of the training split.
        test_labels: Labels of the test split, or ``None``.
        train_size: Labels the run may use, those for validation included.
        subset_seed: Seed of the shuffled order.
        validation_fraction: Share of each class that is set aside: of a class's first k examples in the
            subset, ``floor(k * validation_fraction)``.
        test_size: Test examples to score; ``None`` means all (or 20 % of the data where held out).
            Smaller ones lie inside larger ones, and classes have the shares they have in the split.
        test_seed: Seed of the draw of the test part; None for that of the subset. Subsets that are drawn
            with different seeds share a test part through it.
        label_names: What errors call the classes; by default their numbers.

    Returns:
        Disjoint parts.

    Raises:
        DataError: A size is larger than the data, or too small to hold every class in every part.
    """
    order = shuffled(len(train_labels), subset_seed)
    # The decimal the user wrote, exactly: in floating point 0.1 * 3 is no longer 3 / 10.
    fraction = Fraction(validation_fraction).limit_denominator(1_000_000)
    names = label_names or range(int(train_labels.max(initial=0)) + 1)
    test_from: Literal["train", "test"]
    if test_labels is None:
        count = held_out_count(len(order), test_size)
        _check_held_out(count, len(order))
        _check_classes(train_labels, fraction, names, held_out=True)
        test_order = order if test_seed is None else shuffled(len(train_labels), test_seed)
        # From the end of the order.
        test_from, test = "train", _stratified_first(train_labels, test_order[::-1], count)
        order = order[~np.isin(order, test)]
    else:
        _check_classes(train_labels, fraction, names, held_out=False)
        seed = subset_seed if test_seed is None else test_seed
        test_from, test = "test", _draw_test(test_labels, seed, test_size)
    if train_size > len(order):
        held = f" ({len(test)} of {len(train_labels)} are held out for testing)" if test_labels is None else ""
        raise DataError(
            "The training size is larger than the data.",
            value=train_size,
            allowed=f"at most {len(order)}{held}",
            fix="lower train_sizes, or write 'all'",
        )
    _check_train_size(train_labels, order, train_size, fraction, names)
    subset = order[:train_size]
    chosen = _validation_mask(train_labels[subset], fraction)
    return Parts(train=subset[~chosen], validation=subset[chosen], test=np.sort(test), test_from=test_from)


def _validation_mask(labels: np.ndarray, fraction: Fraction) -> np.ndarray:
    """Mark, within each class, the k-th examples at which ``floor(k * fraction)`` grows.

    That depends on k alone and never on what comes later, which is what nests the parts.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        reached = np.arange(len(members) + 1) * fraction.numerator // fraction.denominator
        mask[members] = np.diff(reached) > 0
    return mask


def _needed(fraction: Fraction) -> int:
    """Return the examples of a class from which on it is in training and in validation.

    ``floor(k * fraction)`` is 1 first at ``k = ceil(1 / fraction)``. Before that all examples train, and below a
    fraction of 1 that is one at least.
    """
    return -(-fraction.denominator // fraction.numerator) if fraction else 1


def _check_classes(labels: np.ndarray, fraction: Fraction, names: Sequence[Any], *, held_out: bool) -> None:
    """Refuse data with a class that no sizes could bring into every part."""
    needed, (classes, counts) = _needed(fraction), np.unique(labels, return_counts=True)
    rare = {names[label]: int(n) for label, n in zip(classes, counts, strict=True) if n < needed + held_out}
    if not rare:
        return
    fixes = ["add examples, or leave the class out"]
    if fraction and min(rare.values()) > held_out:
        fixes.append("use selection: last (no validation part)")
        if min(rare.values()) > 1 + held_out:
            fixes.append("raise validation_fraction")
    raise DataError(
        "The data cannot be stratified: a class has too few examples for every part.",
        value="; ".join(f"class {name}: {n} of {len(labels)} examples" for name, n in rare.items()),
        allowed=f"at least {needed + held_out} examples of each class: {'1 to test, ' if held_out else ''}"
        f"{needed} to train{' and select' if fraction else ''} on",
        fix="; or ".join(fixes),
    )


def _check_train_size(
    labels: np.ndarray, order: np.ndarray, size: int, fraction: Fraction, names: Sequence[Any]
) -> None:
    """Refuse a size whose subset lacks a class, in training or in validation."""
    needed, smallest = _needed(fraction), 0
    for label in np.unique(labels):
        places = np.flatnonzero(labels[order] == label)
        if len(places) < needed:
            raise DataError(
                "No training size can be stratified: what is held out for testing leaves a class too few examples.",
                value=f"class {names[label]}: {len(places)} examples are left",
                allowed=f"at least {needed} examples of each class",
                fix="set a smaller test_size" + (", or raise validation_fraction" if fraction else ""),
            )
        smallest = max(smallest, int(places[needed - 1]) + 1)
    if size < smallest:
        raise DataError(
            "The training size is too small to stratify: training or validation would lack a class.",
            value=size,
            allowed=f"at least {smallest}",
            fix="raise train_sizes or validation_fraction",
        )


def _check_held_out(count: int, examples: int) -> None:
    """Refuse a test part that is nothing, or all there is."""
    if not 0 < count < examples:
        raise DataError(
            "The test part to hold out leaves nothing to train on."
            if count
            else "There is too little data to hold a test part out.",
            value=count,
            allowed=f"1 to {examples - 1}" if examples > 1 else None,
            fix="lower test_size" if count else "add examples, or a test split",
        )


def _draw_test(labels: np.ndarray, seed: int, size: int | None) -> np.ndarray:
    """Return all test examples, or a stratified draw of ``size`` of them."""
    if size is None or size == len(labels):
        return np.arange(len(labels))
    if size > len(labels):
        raise DataError(
            "The test size is larger than the test split.",
            value=size,
            allowed=f"at most {len(labels)}",
            fix="lower test_size, or leave it out to score all",
        )
    return _stratified_first(labels, shuffled(len(labels), seed), size)


def _stratified_first(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Return the first ``count`` of an order in which the classes are evenly interleaved.

    The k-th of a class's n examples (from 0) is placed at ``(k + 1/2) / n``. Cuts of such an order are
    nested, which shares made by rounding each count alone are not: under largest remainders a class
    may lose a seat when the total grows. It is the divisor method of Webster and Sainte-Laguë; a
    class is off its exact share by at most ``(1 + classes * its share) / 2`` examples.
    """
    ordered = labels[order]
    place = np.empty(len(order))
    for label in np.unique(labels):
        members = np.flatnonzero(ordered == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    interleaved = np.argsort(place, kind="stable")
    _, firsts = np.unique(ordered[interleaved], return_index=True)
    if count <= firsts.max():
        raise DataError(
            "The test size is too small to stratify: the test part would lack a class.",
            value=count,
            allowed=f"at least {firsts.max() + 1}",
            fix="raise test_size",
        )
    return order[interleaved[:count]]
