"""Folds of a cross-validation: each text validates once, with shares, groups and copies kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from data.test_group_splits import _first_of, grouped
from tunebench.data.folds import cut_folds
from tunebench.data.rules import SplitRules
from tunebench.data.splits import Parts, draw_parts
from tunebench.errors import DataError
from tunebench.tasks.regression import REGRESSION

SETTINGS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def parts_of(labels: np.ndarray, rules: SplitRules, size: int, folds: int) -> list[Parts]:
    """Return the parts of every fold, and those of the run on all texts first."""
    draw = draw_parts(
        train_labels=labels,
        test_labels=labels[:2],
        subset_seed=5,
        validation_fraction=0.0,
        test_size=2,
        rules=rules,
    )
    return [draw.cut(size, folds=folds, fold=fold) for fold in range(folds + 1)]


@SETTINGS
@given(grouped(), st.integers(2, 4), st.booleans(), st.data())
def test_each_text_validates_once_and_groups_and_copies_stay_together(
    data_: tuple[np.ndarray, SplitRules], folds: int, by_group: bool, data: st.DataObject
) -> None:
    labels, rules = data_
    assert rules.group_of is not None
    rules = SplitRules(rules.copies_of, rules.group_of if by_group else None)
    size = data.draw(st.integers(folds, len(labels)))
    try:
        whole, *parts = parts_of(labels, rules, size, folds)
    except DataError:
        assume(False)
    assert len(whole.validation) == 0 and len(whole.train) == size
    assert sorted(np.concatenate([part.validation for part in parts])) == sorted(whole.train)
    for part in parts:
        used = np.concatenate([part.train, part.validation, part.left_out])
        assert sorted(used) == sorted(whole.train), "no text is lost, and none stands in two parts"
        assert set(labels[part.train]) == set(labels[part.validation]) == set(labels)
        for unit_of in (rules.group_of, rules.copies_of):
            assert unit_of is None or not set(unit_of[part.train]) & set(unit_of[part.validation])


@SETTINGS
@given(st.lists(st.integers(4, 30), min_size=2, max_size=4), st.integers(2, 4), st.integers(0, 99))
def test_classes_have_their_shares_in_every_fold(counts: list[int], folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows, names = np.random.default_rng(seed).permutation(len(labels)), dict(enumerate("abcd"[: len(counts)]))
    found = cut_folds(rows, labels, folds=folds, seed=seed, rules=SplitRules(), names=names)
    for label, count in enumerate(counts):
        inside = np.bincount(found[labels[rows] == label], minlength=folds + 1)[1:]
        assert set(inside) <= {count // folds, -(-count // folds)}
    again = cut_folds(rows, labels, folds=folds, seed=seed, rules=SplitRules(), names=names)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("folds", [2, 5])
def test_several_labels_and_quantiles_of_numbers_are_spread_over_the_folds(folds: int) -> None:
    rng = np.random.default_rng(0)
    several = rng.random((200, 5)) < [0.05, 0.1, 0.2, 0.4, 0.6]
    several = np.concatenate([several, ~several.any(1, keepdims=True)], axis=1)
    for strata in (several, REGRESSION.strata(rng.normal(size=200))):
        rows = rng.permutation(len(strata))
        found = cut_folds(rows, strata, folds=folds, seed=1, rules=SplitRules(), names={})
        assert set(np.bincount(found)[1:]) == {200 // folds}
        for column in strata[rows].T:
            inside = np.bincount(found[column], minlength=folds + 1)[1:]
            assert np.abs(inside - column.sum() / folds).max() <= 3
        groups = _first_of(rng.integers(0, 40, len(strata)))
        by_group = cut_folds(rows, strata, folds=folds, seed=1, rules=SplitRules(group_of=groups), names={})
        assert len({(g, f) for g, f in zip(groups[rows], by_group, strict=True)}) == len(np.unique(groups))
        assert len(np.unique(by_group)) == folds


def test_a_class_that_no_fold_can_hold_and_too_few_groups_are_refused() -> None:
    labels = np.repeat([0, 1], [20, 3])
    with pytest.raises(DataError, match="Not every fold can hold every class") as raised:
        parts_of(labels, SplitRules(), 23, 5)
    assert "class 1: 3 of 23 labels, in 3 of 5 folds" in str(raised.value)
    assert "validation: {folds: 3}" in str(raised.value)
    # What is offered works.
    assert len(parts_of(labels, SplitRules(), 23, 3)) == 4
    groups = SplitRules(group_of=np.repeat([0, 6, 12], [6, 6, 11]))
    with pytest.raises(DataError, match="fewer groups than folds") as raised:
        parts_of(np.arange(23) % 2, groups, 23, 5)
    assert "3 groups in 23 labels, 5 folds" in str(raised.value) and "{folds: 3}" in str(raised.value)
    assert len(parts_of(np.arange(23) % 2, groups, 23, 3)) == 4
    with pytest.raises(DataError, match="Not every fold can hold a text"):
        parts_of(np.eye(3, dtype=bool)[np.arange(23) % 3], SplitRules(), 4, 5)
