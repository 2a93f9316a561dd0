"""Multinomial resampling of joint cells against index resampling, loops and scikit-learn."""

from __future__ import annotations

import itertools
from collections import Counter
from math import factorial, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import ks_2samp
from sklearn.metrics import accuracy_score, f1_score

from stats.populations import CONFUSION, sample_confusion, slow_macro_f1
from tunebench.stats import ACCURACY, MACRO_F1, Measure
from tunebench.stats import joint_counts as module
from tunebench.stats.joint_counts import (
    influence,
    joint_counts,
    observed_scores,
    resampled_scores,
    score_counts,
    score_covariance,
    with_pseudo_examples,
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    classes, n, rows = draw(st.integers(2, 20)), draw(st.integers(1, 40)), draw(st.integers(1, 4))
    table = draw(hnp.arrays(np.int64, (rows + 1, n), elements=st.integers(0, classes - 1)))
    return table[0], table[1:], classes


@given(tables())
@settings(max_examples=60, deadline=None)
def test_scores_are_exactly_those_of_sklearn(table: tuple[np.ndarray, np.ndarray, int]) -> None:
    labels, predictions, classes = table
    cells = joint_counts(labels, predictions, classes=classes)
    for metric in (MACRO_F1, ACCURACY):
        for row, score in zip(predictions, observed_scores(cells, metric), strict=True):
            if metric is ACCURACY:
                assert score == accuracy_score(labels, row)
            else:
                assert score == f1_score(labels, row, labels=np.arange(classes), average="macro", zero_division=0)


@given(tables())
@settings(max_examples=40, deadline=None)
def test_cells_are_the_distinct_columns(table: tuple[np.ndarray, np.ndarray, int]) -> None:
    labels, predictions, classes = table
    cells = joint_counts(labels, predictions, classes=classes)
    columns = zip(labels.tolist(), *predictions.tolist(), strict=True)
    found = zip(cells.labels.tolist(), *cells.predictions.tolist(), strict=True)
    assert dict(zip(found, cells.counts.tolist(), strict=True)) == Counter(columns)
    assert cells.n == len(labels)


def test_scores_of_resamples_are_those_of_the_examples_written_out() -> None:
    rng = np.random.default_rng(0)
    labels, first = sample_confusion(rng, 50, CONFUSION)
    cells = joint_counts(labels, np.stack([first, rng.integers(0, 3, 50)]), classes=3)
    counts = rng.multinomial(50, cells.counts / 50, size=20)
    scores = score_counts(cells, counts, MACRO_F1)
    for row, expected in zip(counts, scores, strict=True):
        for predictor in range(2):
            slow = slow_macro_f1(np.repeat(cells.labels, row), np.repeat(cells.predictions[predictor], row), 3)
            assert expected[predictor] == pytest.approx(slow, abs=1e-14)


def test_index_resampling_has_the_multinomial_distribution() -> None:
    # All 4^4 equally likely index resamples of 4 examples in 3 cells, against the multinomial formula.
    which = [0, 0, 1, 2]
    counted = Counter(
        tuple(sum(which[i] == cell for i in chosen) for cell in range(3))
        for chosen in itertools.product(range(4), repeat=4)
    )
    for counts, number in counted.items():
        chance = factorial(4) / prod(factorial(c) for c in counts) * 0.5 ** counts[0] * 0.25 ** (4 - counts[0])
        assert number / 4**4 == pytest.approx(chance)


def test_draws_are_distributed_as_by_slow_index_resampling() -> None:
    rng = np.random.default_rng(1)
    labels, first = sample_confusion(rng, 80, CONFUSION)
    second = np.where(rng.random(80) < 0.8, first, rng.integers(0, 3, 80))
    cells = joint_counts(labels, np.stack([first, second]), classes=3)
    fast = resampled_scores(cells, metric=MACRO_F1, resamples=4000, rng=rng)
    slow = np.empty((600, 2))
    for row in slow:
        index = rng.integers(0, 80, 80)
        row[:] = [slow_macro_f1(labels[index], each[index], 3) for each in (first, second)]
    for a, b in ((fast[:, 0], slow[:, 0]), (fast @ [1, -1], slow @ [1, -1])):
        assert ks_2samp(a, b).pvalue > 0.05
        assert a.std() == pytest.approx(b.std(), rel=0.1)
    # Drawn apart, the difference would vary by much more: the test above can fail.
    assert np.hypot(*slow.std(0)) > 1.3 * (slow @ [1, -1]).std()


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, predicted = sample_confusion(np.random.default_rng(2), 60, CONFUSION)
    cells = joint_counts(labels, predicted, classes=3)

    def draw() -> np.ndarray:
        return resampled_scores(cells, metric=MACRO_F1, resamples=50, rng=np.random.default_rng(3))

    whole = draw()
    monkeypatch.setattr(module, "_CHUNK", 7 * len(cells.counts))
    assert np.array_equal(draw(), whole)


@pytest.mark.parametrize("metric", [MACRO_F1, ACCURACY], ids=["macro_f1", "accuracy"])
def test_influence_is_the_limit_of_adding_an_example(metric: Measure) -> None:
    labels, first = sample_confusion(np.random.default_rng(4), 200, CONFUSION)
    cells = joint_counts(labels, np.stack([first, np.roll(first, 1)]), classes=3)
    effects = influence(cells, metric)
    step = 1e-6
    for cell in range(len(cells.counts)):
        moved = cells.counts + step * 200 * (np.arange(len(cells.counts)) == cell)
        change = score_counts(cells, moved[None], metric)[0] - observed_scores(cells, metric)
        assert effects[:, cell] == pytest.approx(change / step, abs=1e-5)
    assert effects @ cells.counts == pytest.approx(0, abs=1e-10)


def test_covariance_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(5)
    labels, first = sample_confusion(rng, 1000, CONFUSION)
    second = np.where(rng.random(1000) < 0.7, first, rng.integers(0, 3, 1000))
    cells = joint_counts(labels, np.stack([first, second]), classes=3)
    draws = resampled_scores(cells, metric=MACRO_F1, resamples=20000, rng=rng)
    assert score_covariance(cells, MACRO_F1) == pytest.approx(np.cov(draws.T), rel=0.05)


def test_pseudo_examples_are_discordant_once_each_way_in_each_class() -> None:
    labels = np.array([0, 1, 2, 2])
    cells = joint_counts(labels, np.stack([labels, labels, labels]), classes=3)
    padded = with_pseudo_examples(cells, 1)
    assert padded.n == 4 + 6
    right = padded.predictions[:, -6:] == padded.labels[-6:]
    assert right[0].sum() == 3 and np.array_equal(right[1], ~right[0]) and np.array_equal(right[1], right[2])
    assert sorted(padded.labels[-6:].tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "text"),
    [
        ([0, 1], [0, 1, 1], 2, "same n"),
        ([], [], 2, "n >= 1"),
        ([0, 1], [0, 2], 2, "predictions must be integers from 0 to 1"),
        ([-1, 1], [0, 1], 2, "labels must be"),
        ([0.0, 1.0], [0, 1], 2, "labels must be integers"),
        ([0, 0], [0, 0], 1, "at least 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[int], predictions: list[int], classes: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        joint_counts(np.array(labels), np.array(predictions), classes=classes)
