"""Splits of texts with several labels, against what they promise and against random draws."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tunebench.data.held_out import interleaved
from tunebench.data.label_splits import choose_labelled, spread_places
from tunebench.data.rules import SplitRules
from tunebench.data.splits import Parts, draw_parts
from tunebench.tasks.multi_label import MULTI_LABEL


def labels_of(texts: int, seed: int = 0) -> np.ndarray:
    """Return labels from common to rare, some of which come together; a few texts have none."""
    rng = np.random.default_rng(seed)
    found = rng.random((texts, 6)) < [0.4, 0.3, 0.1, 0.05, 0.02, 0.01]
    found[:, 2] |= found[:, 4]
    return found.astype(np.int8)


def off(labels: np.ndarray, rows: np.ndarray) -> float:
    """Return how far the counts of the labels in a part are from their shares, in texts, at most."""
    return float(np.abs(labels[rows].sum(0) - labels.sum(0) * len(rows) / len(labels)).max())


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4)))
def test_with_one_label_each_the_order_is_that_of_one_label_a_text(labels: np.ndarray) -> None:
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    assert interleaved(np.eye(5, dtype=bool)[labels], order).tolist() == interleaved(labels, order).tolist()


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 6))))
def test_every_text_has_a_place(labels: np.ndarray) -> None:
    places = spread_places(MULTI_LABEL.strata(labels))
    assert ((places > 0) & (places < 1)).all()


@pytest.mark.parametrize("cut", (50, 200, 777))
def test_cuts_of_the_order_have_each_label_in_proportion(cut: int) -> None:
    labels = labels_of(2000)
    order = interleaved(MULTI_LABEL.strata(labels), np.arange(2000))
    rng = np.random.default_rng(0)
    drawn = np.mean([off(labels, rng.permutation(2000)[:cut]) for _ in range(20)])
    assert off(labels, order[:cut]) < min(3.5, drawn / 2)


@settings(max_examples=50)
@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 80), st.integers(1, 5))),
    st.sampled_from([Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)]),
)
def test_validation_has_its_size_and_looks_back_only(labels: np.ndarray, fraction: Fraction) -> None:
    strata = MULTI_LABEL.strata(labels)
    mask = choose_labelled(strata, fraction)
    for size in range(1, len(labels) + 1):
        assert 0 <= size * fraction - mask[:size].sum() < 3
        assert choose_labelled(strata[:size], fraction).tolist() == mask[:size].tolist()


def test_validation_has_each_label_in_proportion() -> None:
    labels = labels_of(2000, seed=1)
    mask = choose_labelled(MULTI_LABEL.strata(labels), Fraction(1, 10))
    rng = np.random.default_rng(0)
    drawn = np.mean([off(labels, rng.permutation(2000)[: mask.sum()]) for _ in range(20)])
    assert off(labels, np.flatnonzero(mask)) < drawn / 2


def draw(labels: np.ndarray, size: int, *, test_size: int = 100, rules: SplitRules | None = None) -> Parts:
    return draw_parts(
        train_labels=MULTI_LABEL.strata(labels),
        test_labels=None,
        subset_seed=3,
        validation_fraction=0.1,
        test_size=test_size,
        rules=rules,
    ).cut(size)


def test_parts_are_disjoint_nested_and_need_no_label_everywhere() -> None:
    labels = labels_of(600)
    small, large = draw(labels, 50), draw(labels, 400)
    for name in ("train", "validation"):
        assert set(getattr(small, name)) <= set(getattr(large, name))
    assert set(draw(labels, 50, test_size=40).test) <= set(large.test)
    assert len({*large.train, *large.validation, *large.test}) == 500
    assert off(labels, np.concatenate([small.train, small.validation])) < 2


def test_copies_and_groups_stay_on_one_side() -> None:
    labels = labels_of(400)
    together = np.arange(400) // 2 * 2
    labels[1::2] = labels[::2]
    for rules in (SplitRules(copies_of=together), SplitRules(group_of=together)):
        parts = draw(labels, 200, rules=rules)
        sides = [set(together[getattr(parts, name)]) for name in ("train", "validation", "test")]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert len(parts.validation) > 10
