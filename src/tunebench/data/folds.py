"""The folds of a cross-validation: the texts of a training size, cut into parts each of which validates once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tunebench.data.label_splits import spread_places
from tunebench.data.rules import SplitRules
from tunebench.errors import DataError
from tunebench.formatting import counted


def cut_folds(
    rows: np.ndarray, labels: np.ndarray, *, folds: int, seed: int, rules: SplitRules, names: Mapping[int, Any]
) -> np.ndarray:
    """Return the fold in which each row validates, from 1; int64 of shape ``(rows,)``.

    Classes have their shares in every fold. Labels of which a text may have several, and quantiles of numbers, are
    dealt out as in :mod:`tunebench.data.label_splits`. Groups validate as a whole, and so do copies of a text.

    Args:
        rows: The training subset, as rows of the training split.
        labels: Of all rows of the training split: classes, or a 0/1 matrix.
        folds: How many.
        seed: Shuffles.
        rules: What is kept together.
        names: Of the classes, each of which every fold needs; empty for a matrix.

    Raises:
        DataError: There are fewer groups or texts than folds, or a class that not every fold can hold.
    """
    own, group_of, copies_of = labels[rows], rules.group_of, rules.copies_of
    if group_of is not None:
        found = _by_group(own, group_of[rows], folds, seed)
    elif copies_of is not None:
        _, firsts, text = np.unique(copies_of[rows], return_index=True, return_inverse=True)
        found = _deal(own[firsts], folds, seed)[text]
    else:
        found = _deal(own, folds, seed)
    if labels.ndim == 1:
        _check_every_class(own, found, folds, rules, names)
        _check_training(rows, own, found, folds, rules, names)
    filled = len(np.unique(found))
    if filled < folds:
        raise DataError(
            "Not every fold can hold a text.",
            value=f"{len(rows)} labels, {filled} of {folds} folds",
            allowed=f"at least {folds} {rules.unit}",
            fix=(f"set validation: {{folds: {filled}}}; or " if filled > 1 else "") + "raise train_sizes",
        )
    return found


def _deal(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the folds of texts that nothing holds together."""
    from sklearn.model_selection import StratifiedKFold

    if labels.ndim == 2:
        shuffled = np.random.default_rng(seed).permutation(len(labels))
        order = shuffled[np.argsort(spread_places(labels[shuffled]), kind="stable")]
        found = np.empty(len(labels), dtype=np.int64)
        # Labels are spread evenly along the order, so each stretch of it has its share. Dealt out in turn, labels
        # that come back every few texts would all be in one fold.
        found[order] = np.arange(len(labels)) * folds // len(labels) + 1
        return found
    if len(labels) < folds or np.bincount(labels).max() < folds:
        return np.ones(len(labels), dtype=np.int64)  # refused below
    return _numbered(StratifiedKFold(folds, shuffle=True, random_state=seed), labels, None)


def _by_group(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the folds of texts of which groups validate as a whole."""
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups))
    if count < folds:
        raise DataError(
            "There are fewer groups than folds, and each group validates as a whole.",
            value=f"{counted(count, 'group')} in {len(groups)} labels, {folds} folds",
            allowed=f"at least {folds} groups",
            fix=(f"set validation: {{folds: {count}}}; or " if count > 1 else "")
            + "raise train_sizes, or name another data.group_column",
        )
    if labels.ndim == 2:
        # A text counts as the rarest of its labels, as in every draw of groups.
        labels = np.where(labels, labels.sum(axis=0), len(labels) + 1).argmin(axis=1)
    if np.bincount(labels).max() < folds:
        labels = np.zeros_like(labels)
    return _numbered(StratifiedGroupKFold(folds, shuffle=True, random_state=seed), labels, groups)


def _numbered(splitter: Any, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    found = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        # Of classes with fewer texts than folds: they are refused, in our words.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups), start=1):
            found[held_out] = number
    return found


def copies_apart(rows: np.ndarray, chosen: np.ndarray, rules: SplitRules) -> np.ndarray:
    """Mark the rows that do not validate and hold a text that does; only groups can part copies of a text."""
    if rules.group_of is None or rules.copies_of is None:
        return np.zeros(len(rows), dtype=bool)
    text = rules.copies_of[rows]
    return ~chosen & np.isin(text, text[chosen])


def _check_training(
    rows: np.ndarray, labels: np.ndarray, found: np.ndarray, folds: int, rules: SplitRules, names: Mapping[int, Any]
) -> None:
    """Refuse folds beside which copies of their texts are left out, and with them all texts of a class."""
    for fold in range(1, folds + 1):
        chosen = found == fold
        trained = set(labels[~chosen & ~copies_apart(rows, chosen, rules)].tolist())
        lacking = [str(names[label]) for label in names if label not in trained]
        if lacking:
            raise DataError(
                "A fold leaves training without a class, since copies of its texts in other groups are left out.",
                value=f"fold {fold} of {folds}: class {', '.join(lacking[:3])}",
                fix="raise train_sizes, set copies: anywhere, or drop data.group_column",
            )


def _check_every_class(
    labels: np.ndarray, found: np.ndarray, folds: int, rules: SplitRules, names: Mapping[int, Any]
) -> None:
    """Refuse folds of which some lack a class."""
    lacking = {
        label: folds - len(np.unique(found[labels == label]))
        for label in names
        if len(np.unique(found[labels == label])) < folds
    }
    if not lacking:
        return
    counts = {label: int((labels == label).sum()) for label in lacking}
    fewest = sorted(lacking, key=lambda label: counts[label])[:3]
    more = f"; and {len(lacking) - 3} more classes" if len(lacking) > 3 else ""
    unit = rules.unit
    possible = folds - max(lacking.values())
    fixes = ["raise train_sizes", "leave the class out (data.labels.drop), or merge it (data.labels.merge)"]
    if possible > 1 and rules.group_of is None:
        fixes.insert(0, f"set validation: {{folds: {possible}}}")
    if rules.group_of is not None:
        fixes.append("drop data.group_column")
    raise DataError(
        "Not every fold can hold every class.",
        value="; ".join(
            f"class {names[label]}: {counts[label]} of {len(labels)} labels, in {folds - lacking[label]} of "
            f"{folds} folds"
            for label in fewest
        )
        + more,
        allowed=f"at least {folds} {unit} {'with' if unit == 'groups' else 'of'} each class",
        fix="; or ".join(fixes),
    )
