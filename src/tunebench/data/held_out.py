"""The test part that is held out of training where the data brings none."""

from __future__ import annotations

import numpy as np

from tunebench.data.grouping import Groups
from tunebench.data.label_splits import spread_places
from tunebench.data.rules import SplitRules
from tunebench.data.split_checks import Names, check_every_class, check_held_out

#: Share of the data that is held out where there is no test split and no size is asked for.
HELD_OUT = 0.2


def shuffled(count: int, seed: int) -> np.ndarray:
    """Return the permutation that ``datasets.Dataset.shuffle(seed=seed)`` uses, of shape ``(count,)``."""
    return np.random.default_rng(seed).permutation(count)


def held_out_count(
    labels: np.ndarray, test_size: int | None, *, seed: int = 0, rules: SplitRules | None = None
) -> int:
    """Return how many rows are held out for testing where there is no test split.

    Args:
        labels: Labels of the training split.
        test_size: What the user asks for. By default it is a fifth. Of data with groups it is as many whole groups
            as come nearest to a fifth, hold every class, and leave some groups.
        seed: Seed of the draw.
        rules: What the draw respects.
    """
    if test_size is not None:
        return test_size
    fifth = round(len(labels) * HELD_OUT)
    rules = rules or SplitRules()
    if rules.group_of is None or rules.times is not None or not len(labels):
        return fifth
    order, ends = _whole_groups(labels, _drawn(len(labels), seed, rules), rules.group_of)
    firsts = np.unique(labels[order], return_index=True)[1] if labels.ndim == 1 else np.zeros(1, dtype=np.int64)
    fit = ends[(ends > firsts.max(initial=-1)) & (ends < len(labels))] if len(order) else ends
    return int(fit[np.abs(fit - len(labels) * HELD_OUT).argmin()]) if len(fit) else fifth


def hold_out(
    labels: np.ndarray,
    *,
    seed: int,
    count: int,
    rules: SplitRules | None = None,
    names: Names | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the test part out of the training split, from the end of the shuffled order.

    Texts with their copies, or groups, are drawn as a whole. Only the last one may not fit: its rows that have no
    room are left out.

    Args:
        labels: Labels of the training split.
        seed: Seed of the order.
        count: How many rows to hold out; smaller parts lie inside larger ones.
        rules: What the draw respects. With times the part is the latest rows, whatever their classes.
        names: What errors call the classes; by default their numbers.

    Returns:
        The rows held out, and the rows that neither train nor test: they hold a text or are of a group of the test
        part, and stand outside it. Both ascending.

    Raises:
        DataError: The count leaves nothing to train on, or is too small to hold every class.
    """
    rules = rules or SplitRules()
    drawn = _drawn(len(labels), seed, rules)
    check_held_out(count, len(labels), drawable=len(drawn))
    if rules.times is not None:
        order = drawn[np.argsort(-rules.times[drawn], kind="stable")]
    elif rules.group_of is not None:
        order, _ = _whole_groups(labels, drawn, rules.group_of)
    elif rules.copies_of is not None:
        order = _whole_texts(labels, drawn, rules.copies_of)
    else:
        order = interleaved(labels, drawn)
    if rules.times is None and labels.ndim == 1:
        check_every_class(labels[order], count, names)
    test = np.sort(order[:count])
    return test, _apart(test, rules)


def interleaved(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return an order with its classes evenly interleaved.

    The k-th of a class's n examples (from 0) is placed at ``(k + 1/2) / n``. Cuts of such an order are
    nested, which shares made by rounding each count alone are not: under largest remainders a class
    may lose a seat when the total grows. It is the divisor method of Webster and Sainte-Laguë; a
    class is off its exact share by at most ``(1 + classes * its share) / 2`` examples.

    Of texts with several labels, every label is spread evenly; see :mod:`tunebench.data.label_splits`.
    """
    if labels.ndim == 2:
        return order[np.argsort(spread_places(labels[order]), kind="stable")]
    ordered = labels[order]
    place = np.empty(len(order))
    for label in np.unique(ordered):
        members = np.flatnonzero(ordered == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]


def _drawn(count: int, seed: int, rules: SplitRules) -> np.ndarray:
    """Return the rows that may be held out, in the order they are drawn in."""
    drawn = shuffled(count, seed)[::-1]
    return drawn if rules.stays is None else drawn[~rules.stays[drawn]]


def _whole_texts(labels: np.ndarray, drawn: np.ndarray, copies_of: np.ndarray) -> np.ndarray:
    """Return rows text by text, each with all its copies."""
    firsts = interleaved(labels, drawn[copies_of[drawn] == drawn])
    place = np.empty(len(labels), dtype=np.int64)
    place[firsts] = np.arange(len(firsts))
    rows = np.sort(drawn)
    return rows[np.argsort(place[copies_of[rows]], kind="stable")]


def _whole_groups(labels: np.ndarray, drawn: np.ndarray, group_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows group by group, and how many rows there are up to the end of each group."""
    if not len(drawn):
        return drawn, drawn
    groups = Groups.along(drawn, labels, group_of)
    ranked = groups.interleaved()
    rank = np.empty(len(ranked), dtype=np.int64)
    rank[ranked] = np.arange(len(ranked))
    return drawn[np.argsort(rank[groups.number], kind="stable")], np.cumsum(groups.rows[ranked])


def _apart(test: np.ndarray, rules: SplitRules) -> np.ndarray:
    """Return the rows outside a test part that may not train beside it."""
    found: list[np.ndarray] = []
    for unit_of in (rules.copies_of, rules.group_of):
        if unit_of is not None:
            found.append(np.flatnonzero(np.isin(unit_of, unit_of[test])))
    if rules.times is not None and rules.stays is not None:
        # What could not be held out and is later than the test part would be knowledge of the future.
        found.append(np.flatnonzero(rules.stays & (rules.times > rules.times[test].min())))
    if not found:
        return np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.concatenate(found), test)
