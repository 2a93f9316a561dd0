"""Which examples train, select and are scored: pure functions of labels, sizes and seeds.

Every size draws from one shuffled order: a subset is its first n examples, so 5k lies inside 10k
inside 25k; with seed 42 it is what ``datasets.Dataset.shuffle(seed=42)`` would give. Validation
examples are picked along that order by a rule that only looks back, so the validation part of a
smaller size lies inside that of a larger one, and no example changes sides.

Where copies of a text are kept together, texts are drawn instead of rows, by the same rules, and the
copies of a text go where its first one goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from tunebench.errors import DataError

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
        left_out: Into the training split: copies of test texts for which the test part had no room. They
            neither train nor select.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_from: Literal["train", "test"]
    left_out: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

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


def available_train(train_examples: int, *, has_test: bool, test_size: int | None, left_out: int = 0) -> int:
    """Return how many training examples ``all`` means: those neither held out for testing nor left out."""
    return train_examples if has_test else train_examples - held_out_count(train_examples, test_size) - left_out


def hold_out(
    labels: np.ndarray, *, seed: int, count: int, copies_of: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the test part out of the training split, from the end of the shuffled order.

    Args:
        labels: Labels of the training split.
        seed: Seed of the order.
        count: How many rows to hold out; smaller parts lie inside larger ones.
        copies_of: For each row, the first row that holds the same text. Texts are drawn then, each with all its
            copies; only those of the last text may be too many.

    Returns:
        The rows held out, and the copies of their texts for which there was no room; both ascending.

    Raises:
        DataError: The count leaves nothing to train on, or is too small to hold every class.
    """
    _check_held_out(count, len(labels))
    drawn = shuffled(len(labels), seed)[::-1]
    if copies_of is None:
        return np.sort(_stratified_first(labels, drawn, count)), np.empty(0, dtype=np.int64)
    firsts = _interleaved(labels, drawn[copies_of[drawn] == drawn])
    place = np.empty(len(labels), dtype=np.int64)
    place[firsts] = np.arange(len(firsts))
    # Each text with all its copies, in the order of the texts.
    rows = np.argsort(place[copies_of], kind="stable")
    _check_every_class(labels[rows], count)
    test, rest = rows[:count], rows[count:]
    return np.sort(test), np.sort(rest[np.isin(copies_of[rest], copies_of[test])])


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
    copies_of: np.ndarray | None = None,
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
        copies_of: For each training row, the first row that holds the same text. Copies are then kept in one
            part, and texts take the place of examples in the rules above. None looks at no texts.

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
    draw, left_out = subset_seed if test_seed is None else test_seed, np.empty(0, dtype=np.int64)
    if test_labels is None:
        count = held_out_count(len(order), test_size)
        _check_held_out(count, len(order))
        _check_classes(train_labels, fraction, names, held_out=True, copies_of=copies_of)
        test_from = "train"
        test, left_out = hold_out(train_labels, seed=draw, count=count, copies_of=copies_of)
        order = order[~np.isin(order, np.concatenate([test, left_out]))]
    else:
        _check_classes(train_labels, fraction, names, held_out=False, copies_of=copies_of)
        test_from, test = "test", _draw_test(test_labels, draw, test_size)
    if train_size > len(order):
        held = f" ({len(test)} of {len(train_labels)} are held out for testing" if test_labels is None else ""
        held += f", {len(left_out)} copies of their texts are left out" if len(left_out) else ""
        held += ")" if held else ""
        raise DataError(
            "The training size is larger than the data.",
            value=train_size,
            allowed=f"at most {len(order)}{held}",
            fix="lower train_sizes, or write 'all'",
        )
    chosen = _validation_of(train_labels, order, fraction, copies_of)
    present = {int(label): names[label] for label in np.unique(train_labels)}
    _check_train_size(train_labels[order], chosen, train_size, fraction, present, together=copies_of is not None)
    subset, chosen = order[:train_size], chosen[:train_size]
    return Parts(subset[~chosen], subset[chosen], np.sort(test), test_from, left_out)


def _validation_of(
    labels: np.ndarray, order: np.ndarray, fraction: Fraction, copies_of: np.ndarray | None
) -> np.ndarray:
    """Mark the validation examples along an order; a copy goes where the first one of its text went."""
    if copies_of is None:
        return _validation_mask(labels[order], fraction)
    _, firsts, text = np.unique(copies_of[order], return_index=True, return_inverse=True)
    along = np.sort(firsts)
    mask = np.zeros(len(order), dtype=bool)
    mask[along] = _validation_mask(labels[order[along]], fraction)
    return mask[firsts[text]]


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


def _check_classes(
    labels: np.ndarray, fraction: Fraction, names: Sequence[Any], *, held_out: bool, copies_of: np.ndarray | None
) -> None:
    """Refuse data with a class that no sizes could bring into every part."""
    what, total = "examples", len(labels)
    if copies_of is not None:
        # A text under several labels counts for each of them; whether that suffices shows when parts are cut.
        pairs = np.unique(np.stack([copies_of, labels]), axis=1)
        what, labels = ("different texts" if pairs.shape[1] < total else what), pairs[1]
    needed, (classes, counts) = _needed(fraction), np.unique(labels, return_counts=True)
    rare = {names[label]: int(n) for label, n in zip(classes, counts, strict=True) if n < needed + held_out}
    if not rare:
        return
    fixes = [f"add {what}, or leave the class out"]
    if fraction and min(rare.values()) > held_out:
        fixes.append("use selection: last (no validation part)")
        if min(rare.values()) > 1 + held_out:
            fixes.append("raise validation_fraction")
    if what != "examples":
        fixes.append("set copies: anywhere")
    raise DataError(
        "The data cannot be stratified: a class has too few examples for every part.",
        value="; ".join(f"class {name}: {n} of {len(labels)} {what}" for name, n in rare.items()),
        allowed=f"at least {needed + held_out} {what} of each class: {'1 to test, ' if held_out else ''}"
        f"{needed} to train{' and select' if fraction else ''} on",
        fix="; or ".join(fixes),
    )


def _check_train_size(
    labels: np.ndarray,
    chosen: np.ndarray,
    size: int,
    fraction: Fraction,
    names: Mapping[int, Any],
    *,
    together: bool,
) -> None:
    """Refuse a size whose subset lacks a class, in training or in validation.

    Args:
        labels: Along the order of the subsets.
        chosen: Which of these examples would validate.
        size: The size of the subset.
        fraction: Share of each class that validates.
        names: Of the classes that every part needs.
        together: Copies of a text are kept in one part.
    """
    smallest = 0
    for label, name in names.items():
        own = labels == label
        for part in (own & ~chosen, own & chosen) if fraction else (own,):
            if not part.any():
                kept = "copies of a text stay in one part, and " if together else ""
                raise DataError(
                    f"No training size can be stratified: {kept}what is held out for testing leaves a class "
                    "too few examples.",
                    value=f"class {name}: {own.sum()} examples are left",
                    allowed=f"at least {_needed(fraction)} {'different texts' if together else 'examples'} of each "
                    "class",
                    fix="set a smaller test_size"
                    + (", or raise validation_fraction" if fraction else "")
                    + (", or set copies: anywhere" if together else ""),
                )
            smallest = max(smallest, int(part.argmax()) + 1)
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
    """Return the first ``count`` of an order in which the classes are evenly interleaved."""
    interleaved = _interleaved(labels, order)
    _check_every_class(labels[interleaved], count)
    return interleaved[:count]


def _interleaved(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return an order with its classes evenly interleaved.

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
    return order[np.argsort(place, kind="stable")]


def _check_every_class(ordered: np.ndarray, count: int) -> None:
    """Refuse a test part, the first ``count`` of these labels, that lacks a class."""
    _, firsts = np.unique(ordered, return_index=True)
    if count <= firsts.max():
        raise DataError(
            "The test size is too small to stratify: the test part would lack a class.",
            value=count,
            allowed=f"at least {firsts.max() + 1}",
            fix="raise test_size",
        )
