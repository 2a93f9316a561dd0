"""Which examples train, select and are scored: pure functions of labels, sizes and seeds.

Every size draws from one shuffled order: a subset is its first n examples, so 5k lies inside 10k
inside 25k; with seed 42 it is what ``datasets.Dataset.shuffle(seed=42)`` would give. Validation
examples are picked along that order by a rule that only looks back, so the validation part of a
smaller size lies inside that of a larger one, and no example changes sides.

Where copies of a text are kept together, texts are drawn instead of rows, by the same rules, and the
copies of a text go where its first one goes. Where groups are kept together, the side of each group is settled
before any size is cut, so a subset is still the first n examples, and a group is on one side in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from tunebench.data.folds import copies_apart, cut_folds
from tunebench.data.held_out import hold_out, interleaved, shuffled
from tunebench.data.rules import SplitRules
from tunebench.data.split_checks import (
    Names,
    check_classes,
    check_every_class,
    check_groups,
    check_held_out,
    check_left,
    check_train_size,
)
from tunebench.data.validation_part import choose_validation, exact
from tunebench.errors import DataError


def _nothing() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Parts:
    """Indices of the three parts of one run.

    Attributes:
        train: Into the training split, in shuffled order.
        validation: Into the split that ``validation_from`` names, in shuffled order or, where it is the data's own
            part, ascending; empty when nothing validates.
        test: Into the split that ``test_from`` names, ascending.
        test_from: Where ``test`` points.
        left_out: Into the training split: rows that hold a text or are of a group of another part, and have no
            place in that part. They neither train nor select nor test.
        validation_from: Where ``validation`` points.
        sealed: As ``test``: texts of the test part that are kept for the final confirmation.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_from: Literal["train", "test"]
    left_out: np.ndarray = field(default_factory=_nothing)
    validation_from: Literal["train", "validation"] = "train"
    sealed: np.ndarray = field(default_factory=_nothing)

    @property
    def test_held_out(self) -> bool:
        """Whether the test part was held out of the training split, for want of a test split."""
        return self.test_from == "train"


@dataclass(frozen=True, eq=False)
class Draw:
    """The parts before a training size cuts them.

    Attributes:
        labels: What the training split is stratified by: classes, of which every part needs all; or a 0/1 matrix
            of the labels of each text, which are spread as evenly as they can be.
        names: Of the classes of the training split, by number.
        fraction: Share of each class that validates.
        rules: What the draw respects.
        seed: Of the subset.
        rows: Rows that neither test nor are left out for the test part, in shuffled order.
        order: Of these, the rows that may train or validate; a subset is the first n of them.
        chosen: Which of ``order`` validate.
        test: As in :class:`Parts`.
        test_from: As in :class:`Parts`.
        left_out: As in :class:`Parts`.
    """

    labels: np.ndarray
    names: Mapping[int, Any]
    fraction: Fraction
    rules: SplitRules
    seed: int
    rows: np.ndarray
    order: np.ndarray
    chosen: np.ndarray
    test: np.ndarray
    test_from: Literal["train", "test"]
    left_out: np.ndarray

    def cut(self, train_size: int, own_validation: int | None = None, *, folds: int = 0, fold: int = 0) -> Parts:
        """Cut the parts of a training size.

        Args:
            train_size: Labels the run may use, those for validation included.
            own_validation: Texts of the validation part that the data brings, if that selects. They are no labels
                of the training subset.
            folds: Parts that the subset is cut into for a cross-validation; 0 for none.
            fold: The one that validates, from 1; 0 for none, so that all texts train.

        Raises:
            DataError: The size is larger than the data, or too small to hold every class in every part.
        """
        if train_size > len(self.order):
            raise self._too_large(train_size)
        if self.labels.ndim == 1:
            check_train_size(
                self.labels[self.order],
                self.chosen,
                train_size,
                self.fraction,
                self.names,
                rules=self.rules,
                again=self._with_fraction,
            )
        subset, chosen = self.order[:train_size], self.chosen[:train_size]
        apart = np.zeros(len(subset), dtype=bool)
        if folds:
            rules = self.rules
            number = cut_folds(subset, self.labels, folds=folds, seed=self.seed, rules=rules, names=self.names)
            chosen = number == fold
            apart = copies_apart(subset, chosen, rules)
        return Parts(
            train=subset[~chosen & ~apart],
            validation=subset[chosen] if own_validation is None else np.arange(own_validation),
            test=self.test,
            test_from=self.test_from,
            left_out=np.union1d(self.left_out, subset[apart]) if apart.any() else self.left_out,
            validation_from="train" if own_validation is None else "validation",
        )

    def _with_fraction(self, fraction: Fraction) -> tuple[np.ndarray, np.ndarray]:
        """Return labels along the order, and what validates, for another fraction."""
        side, apart = _sides(self.labels, self.rows, fraction, self.rules)
        return self.labels[self.rows[~apart]], side[~apart]

    def _too_large(self, size: int) -> DataError:
        held_out = self.test_from == "train"
        reasons = [f"{len(self.test)} of {len(self.labels)} are held out for testing"] if held_out else []
        if len(self.left_out):
            grouped = self.rules.group_of is not None
            whose = "rows that share a group or text with another part" if grouped else "copies of their texts"
            reasons.append(f"{len(self.left_out)} {whose} are left out")
        return DataError(
            "The training size is larger than the data.",
            value=size,
            allowed=f"at most {len(self.order)}" + (f" ({', '.join(reasons)})" if reasons else ""),
            fix="lower train_sizes, or write 'all'",
        )


def draw_parts(
    *,
    train_labels: np.ndarray,
    test_labels: np.ndarray | None,
    subset_seed: int,
    validation_fraction: float,
    test_size: int,
    test_seed: int | None = None,
    label_names: Sequence[str] | None = None,
    rules: SplitRules | None = None,
) -> Draw:
    """Draw the test part, and the order and sides of what is left; a training size then cuts them.

    Where there is no test split, the test part is taken from the end of the shuffled order. A subset
    that does not reach it is exactly the first n of that order; one that does passes over the held-out
    examples, so that all the others can be used.

    Args:
        train_labels: What the training split is stratified by; see :class:`Draw`.
        test_labels: The same of the test split, or ``None``.
        subset_seed: Seed of the shuffled order.
        validation_fraction: Share of each class that is set aside: of a class's first k examples in the
            subset, ``floor(k * validation_fraction)``. 0 with a validation part of the data's own.
        test_size: Test examples to score. Smaller parts lie inside larger ones, and classes have the shares they
            have in the split.
        test_seed: Seed of the draw of the test part; None for that of the subset. Subsets that are drawn
            with different seeds share a test part through it.
        label_names: What errors call the classes; by default their numbers.
        rules: What is kept together, or in order; by default nothing.

    Raises:
        DataError: The data cannot bring every class into every part, or the test size does not fit.
    """
    rules, fraction = rules or SplitRules(), exact(validation_fraction)
    one_each = train_labels.ndim == 1
    names = label_names or range(int(train_labels.max(initial=0)) + 1)
    seed = subset_seed if test_seed is None else test_seed
    # The latest rows test whatever their classes.
    every_class = test_labels is None and rules.times is None
    if test_labels is None:
        check_held_out(test_size, len(train_labels))
    check_groups(rules, fraction, held_out=test_labels is None)
    if one_each:
        check_classes(train_labels, fraction, names, held_out=every_class, rules=rules)
    left_out = _nothing()
    order = shuffled(len(train_labels), subset_seed)
    if test_labels is None:
        test, left_out = hold_out(train_labels, seed=seed, count=test_size, rules=rules, names=names)
        order = order[~np.isin(order, np.concatenate([test, left_out]))]
        check_left(order, test, left_out, rules)
    else:
        test = np.sort(_draw_test(test_labels, seed, test_size, label_names))
    if not one_each:
        # Every subset is then stratified too, as far as its size goes.
        order = interleaved(train_labels, order)
    chosen, apart = _sides(train_labels, order, fraction, rules)
    return Draw(
        labels=train_labels,
        names={int(label): names[label] for label in np.unique(train_labels)} if one_each else {},
        fraction=fraction,
        rules=rules,
        seed=subset_seed,
        rows=order,
        order=order[~apart],
        chosen=chosen[~apart],
        test=test,
        test_from="train" if test_labels is None else "test",
        left_out=np.union1d(left_out, order[apart]),
    )


def _sides(
    labels: np.ndarray, order: np.ndarray, fraction: Fraction, rules: SplitRules
) -> tuple[np.ndarray, np.ndarray]:
    """Mark along an order which rows validate, and which may not train.

    A row may not if a row of another group that validates holds the same text.
    """
    chosen = choose_validation(labels, order, fraction, rules)
    return chosen, copies_apart(order, chosen, rules)


def _draw_test(labels: np.ndarray, seed: int, size: int, names: Names | None) -> np.ndarray:
    """Return all test examples, or a stratified draw of ``size`` of them."""
    if size == len(labels):
        return np.arange(len(labels))
    if size > len(labels):
        raise DataError(
            "The test size is larger than the test split.",
            value=size,
            allowed=f"at most {len(labels)}",
            fix="lower test_size, or leave it out to score all",
        )
    order = interleaved(labels, shuffled(len(labels), seed))
    if labels.ndim == 1:
        check_every_class(labels[order], size, names)
    return order[:size]
