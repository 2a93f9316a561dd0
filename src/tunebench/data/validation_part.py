"""The validation part that is set aside from training where the data brings none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tunebench.data.grouping import Groups
from tunebench.data.label_splits import choose_labelled
from tunebench.data.rules import SplitRules


def exact(fraction: float) -> Fraction:
    """Return the decimal the user wrote, exactly: in floating point 0.1 * 3 is no longer 3 / 10."""
    return Fraction(fraction).limit_denominator(1_000_000)


def choose_validation(labels: np.ndarray, order: np.ndarray, fraction: Fraction, rules: SplitRules) -> np.ndarray:
    """Mark the validation examples along an order, of shape ``(order,)``.

    Of a class's first k examples ``floor(k * fraction)`` validate. Where copies are kept together, texts take the
    place of examples, and a copy goes where the first one of its text went. For groups, see :func:`_by_group`.
    """
    if rules.group_of is not None:
        return _by_group(labels, order, fraction, rules.group_of)
    if rules.copies_of is None:
        return _mask(labels[order], fraction)
    _, firsts, text = np.unique(rules.copies_of[order], return_index=True, return_inverse=True)
    along = np.sort(firsts)
    mask = np.zeros(len(order), dtype=bool)
    mask[along] = _mask(labels[order[along]], fraction)
    return mask[firsts[text]]


def _mask(labels: np.ndarray, fraction: Fraction) -> np.ndarray:
    """Mark, within each class, the k-th examples at which ``floor(k * fraction)`` grows.

    That depends on k alone and never on what comes later, which is what nests the parts. Of texts with several
    labels, see :func:`~tunebench.data.label_splits.choose_labelled`.
    """
    if labels.ndim == 2:
        return choose_labelled(labels, fraction)
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        reached = np.arange(len(members) + 1) * fraction.numerator // fraction.denominator
        mask[members] = np.diff(reached) > 0
    return mask


def _by_group(labels: np.ndarray, order: np.ndarray, fraction: Fraction, group_of: np.ndarray) -> np.ndarray:
    """Mark the rows of the groups that validate.

    Groups are walked through as they appear in the order, each in the stratum of its rarest class. One validates if
    that brings validation nearer to its share of that class's rows so far. Where validation, or training, would
    then lack a class, the smallest group that mends it moves. This looks at the whole order, not at a size, so
    a group is on the same side of every subset. For groups of one row it is the rule for examples.
    """
    if not fraction or not len(order):
        return np.zeros(len(order), dtype=bool)
    groups = Groups.along(order, labels, group_of)
    chosen = np.zeros(len(groups.rows), dtype=bool)
    for label in np.unique(groups.stratum):
        members = np.flatnonzero(groups.stratum == label)
        weights = groups.weight[members]
        shares = np.cumsum(weights) * fraction.numerator // fraction.denominator
        reached = 0
        for member, weight, share in zip(members, weights, shares, strict=True):
            if 2 * (share - reached) > weight:
                chosen[member] = True
                reached += weight
    _cover(groups, chosen)
    mask: np.ndarray = chosen[groups.number]
    return mask


def _cover(groups: Groups, chosen: np.ndarray) -> None:
    """Move groups, in place, so that each side has every class where that is possible."""
    rarest_first = np.argsort(groups.present.sum(axis=0), kind="stable")
    for side in (True, False):
        for label in rarest_first:
            having = groups.present[:, label]
            if not having.any() or having[chosen == side].any():
                continue
            left = groups.present[chosen != side].sum(axis=0)
            # A group may go if the side it leaves keeps all of its classes.
            spare = (left >= 2) | ~groups.present
            able = np.flatnonzero(having & (chosen != side) & spare.all(axis=1))
            if len(able):
                chosen[able[groups.rows[able].argmin()]] = side
