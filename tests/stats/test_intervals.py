"""Intervals against slow definitions, and how often they hold the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stats.populations import (
    CONFUSION,
    sample_confusion,
    sample_runs,
    share,
    slow_accuracy,
    true_macro_f1,
    true_score,
)
from tunebench.stats import (
    ACCURACY,
    MACRO_F1,
    Interval,
    Measure,
    Refusal,
    crossed_interval,
    example_interval,
    seed_interval,
    wilson_interval,
)
from tunebench.stats.intervals import _acceleration
from tunebench.stats.joint_counts import influence, joint_counts, observed_scores
from tunebench.stats.methods import LEAST, bca_ends, crossed_parts, percentile_ends, resample_seeds
from tunebench.tasks.metrics import METRICS


def holds(interval: Interval | Refusal, truth: float) -> bool:
    assert isinstance(interval, Interval)
    return interval.low <= truth <= interval.high


@given(st.integers(39, 120), st.integers(0, 8), st.booleans(), st.sampled_from([0.9, 0.95]), st.randoms())
@settings(max_examples=80, deadline=None)
def test_percentile_ends_are_order_statistics_that_agree_with_the_p_of_draws(
    number: int, beyond: int, below: bool, level: float, random: Any
) -> None:
    # A few draws on the other side of 0, about as many as decide.
    values = [-1 - i for i in range(beyond)] + [1 + i for i in range(number - beyond)]
    values = values if below else [-value for value in values]
    random.shuffle(values)
    low, high = percentile_ends(np.array(values, dtype=float), level)
    k = 0
    while (k + 1) / (number + 1) <= (1 - level) / 2 + 1e-12:
        k += 1
    assert (low, high) == (sorted(values)[k - 1], sorted(values, reverse=True)[k - 1])
    excluded = low > 0 or high < 0
    other_side = min(sum(value <= 0 for value in values), sum(value >= 0 for value in values))
    assert excluded == (2 * (1 + other_side) / (number + 1) <= 1 - level + 1e-12)


def test_too_few_draws_for_a_level_are_refused() -> None:
    with pytest.raises(ValueError, match="38 resamples are too few"):
        percentile_ends(np.arange(38.0), 0.95)


def test_bca_is_scipys() -> None:
    # Skewed: the ends are visibly not those of the percentiles.
    data = np.random.default_rng(0).exponential(size=40) ** 2
    theirs = stats.bootstrap((data,), np.mean, method="BCa", n_resamples=20000, rng=np.random.default_rng(1))
    draws = data[np.random.default_rng(2).integers(0, 40, (20000, 40))].mean(1)
    jack = np.array([np.delete(data, i).mean() for i in range(40)])
    gap = jack.mean() - jack
    ends = bca_ends(
        draws, 0.95, estimate=data.mean(), acceleration=float((gap**3).sum() / (6 * (gap**2).sum() ** 1.5))
    )
    assert ends == pytest.approx(theirs.confidence_interval, rel=0.03)
    assert percentile_ends(draws, 0.95)[1] < 0.95 * ends[1]


@pytest.mark.parametrize("metric", [MACRO_F1, ACCURACY], ids=["macro_f1", "accuracy"])
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_over_examples_cover(metric: Measure, method: str) -> None:
    truth = true_macro_f1(CONFUSION) if metric is MACRO_F1 else np.trace(CONFUSION)

    def trial(rng: np.random.Generator) -> bool:
        labels, predicted = sample_confusion(rng, 250, CONFUSION)
        interval = example_interval(
            labels,
            predicted,
            classes=3,
            rng=rng,
            metric=metric,
            method=method,
            resamples=499,
        )
        return holds(interval, truth)

    assert 0.92 <= share(400, trial) <= 0.98


@pytest.mark.parametrize("metric", [MACRO_F1, ACCURACY], ids=["macro_f1", "accuracy"])
def test_acceleration_is_the_jackknifes(metric: Any) -> None:
    labels, predicted = sample_confusion(np.random.default_rng(0), 400, CONFUSION)
    cells = joint_counts(labels, predicted, classes=3)
    jack = np.empty(400)
    for i in range(400):
        left = joint_counts(np.delete(labels, i), np.delete(predicted, i), classes=3)
        jack[i] = observed_scores(left, metric)[0]
    gap = jack.mean() - jack
    slow = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    assert (
        _acceleration(cells, influence(cells, metric).mean(0)) == pytest.approx(slow, rel=0.02) and abs(slow) > 1e-3
    )


def test_example_interval_says_what_it_holds() -> None:
    labels, predicted = sample_confusion(np.random.default_rng(0), 100, CONFUSION)
    interval = example_interval(labels, predicted, classes=3, rng=np.random.default_rng(0), metric=ACCURACY)
    assert interval.estimate == pytest.approx(slow_accuracy(labels, predicted))
    assert (interval.over, interval.method, interval.level) == ("test examples", "bca bootstrap", 0.95)
    assert (interval.n_examples, interval.n_seeds) == (100, 1)
    again = example_interval(labels, predicted, classes=3, rng=np.random.default_rng(0), metric=ACCURACY)
    assert interval == again
    with pytest.raises(ValueError, match="method must be"):
        example_interval(labels, predicted, classes=3, rng=np.random.default_rng(0), method="basic")
    with pytest.raises(ValueError, match="level must"):
        example_interval(labels, predicted, classes=3, rng=np.random.default_rng(0), level=1.0)


@pytest.mark.parametrize("seed", range(40))
def test_an_interval_over_examples_holds_its_estimate_though_most_resamples_score_more(seed: int) -> None:
    rng, ece = np.random.default_rng(seed), METRICS["ece"]
    logits = rng.normal(0, 1.5, (500, 2))
    chance = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    labels = (rng.random(500) < chance).astype(int)
    interval = example_interval(
        labels, ece.decode(logits)[None], classes=2, rng=np.random.default_rng(1), metric=ece, resamples=199
    )
    assert interval.low <= interval.estimate <= interval.high
    assert interval.estimate == pytest.approx(ece(labels, logits))


@pytest.mark.parametrize("classes", [2, 20])
def test_no_errors_are_no_certainty(classes: int) -> None:
    labels = np.arange(400) % classes
    interval = example_interval(labels, labels, classes=classes, rng=np.random.default_rng(0))
    assert interval.high == interval.estimate == 1.0
    # The rule of three is 1 - 3 / n; an interval of no width would be a claim.
    assert 1 - 15 * classes / 400 < interval.low < 1 - 3 / 400
    assert "pseudo" in interval.method
    crossed = crossed_interval(labels, np.stack([labels] * 3), classes=classes)
    assert isinstance(crossed, Interval) and 0.8 < crossed.low < 1 - 2 / 400 and crossed.high == 1


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_wilsons_ends_solve_the_score_equation(hits: int, n: int, level: float) -> None:
    if hits > n:
        with pytest.raises(ValueError, match="hits must lie"):
            wilson_interval(hits, n, level=level)
        return
    interval = wilson_interval(hits, n, level=level)
    z = stats.norm.ppf((1 + level) / 2)
    for end in (interval.low, interval.high):
        assert abs(hits / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-9)


def test_wilson_covers() -> None:
    assert 0.92 <= share(400, lambda rng: holds(wilson_interval(int(rng.binomial(60, 0.93)), 60), 0.93)) <= 0.98


def test_seed_interval_is_students_and_covers() -> None:
    scores = np.array([0.88, 0.9, 0.895])
    interval = seed_interval(scores)
    assert isinstance(interval, Interval)
    error = math.sqrt(sum((s - sum(scores) / 3) ** 2 for s in scores) / 2 / 3)
    assert interval.high - interval.estimate == pytest.approx(4.302653 * error, rel=1e-6)
    assert (interval.over, interval.n_seeds, interval.n_examples) == ("seeds", 3, None)
    assert 0.92 <= share(400, lambda rng: holds(seed_interval(rng.normal(0.9, 0.01, 3)), 0.9)) <= 0.98
    cut = seed_interval(np.array([0.99, 1.0]), bounds=(0, 1))
    assert isinstance(cut, Interval) and cut.high == 1 and cut.low < 0.99


@pytest.mark.parametrize(("scores", "text"), [([0.9], "one seed"), ([0.9, 0.9, 0.9], "all 3 seeds gave the same")])
def test_seeds_without_variation_are_refused(scores: list[float], text: str) -> None:
    refusal = seed_interval(np.array(scores))
    assert isinstance(refusal, Refusal) and text in refusal.reason


@pytest.mark.parametrize("scores", [[], [[0.9, 0.8]], [0.9, float("nan")]])
def test_scores_that_are_none_are_an_error(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        seed_interval(np.array(scores))


def test_crossed_parts_are_the_textbook_components() -> None:
    # Accuracy of S seeds on n examples is a two-way table without replication: see the loops.
    rng = np.random.default_rng(3)
    labels, predictions, _ = sample_runs(rng, 60, 4, ease=1.0, seed_sd=0.3)
    table = (predictions == labels).astype(float)
    scores, covariance = table.mean(1), np.cov(table, bias=True) / 60
    shared = np.mean([covariance[i, j] for i in range(4) for j in range(4) if i != j])
    between, kept = crossed_parts(scores, covariance)
    assert kept == pytest.approx(shared)
    assert between == ((pytest.approx(max(scores.var(ddof=1), LEAST * (np.trace(covariance) / 4 - shared))), 3.0),)


def test_seeds_that_happen_to_agree_are_no_certainty() -> None:
    covariance = np.full((3, 3), 0.4) + 0.6 * np.eye(3)
    parts = [crossed_parts(np.array(scores), covariance) for scores in ([0.9, 0.9, 0.9], [0.9, 1.9, 2.9])]
    assert [part[0][0][0] for part in parts] == pytest.approx([LEAST * 0.6, 1.0])
    assert [part[1] for part in parts] == pytest.approx([0.4, 0.4])
    # Errors on different examples: the shared part, taken from few examples, comes out negative.
    (((own, df),), shared) = crossed_parts(np.array([0.9, 0.9]), np.array([[1.0, -0.2], [-0.2, 1.0]]))
    assert (own, df, shared) == pytest.approx((LEAST * 1.2, 1, 0))
    # Moderated parts are held to the same.
    stretched = crossed_parts(np.array([0.9, 1.9, 2.9]), covariance, between=((0.01, 2.0), (0.02, 9.0)))[0]
    assert stretched == ((pytest.approx(LEAST * 0.2), 2.0), (pytest.approx(LEAST * 0.4), 9.0))


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.1), (5, 0.15), (5, 0.4)])
def test_crossed_t_intervals_cover(seeds: int, seed_sd: float) -> None:
    truth = true_score(1.2, seed_sd)

    def trial(rng: np.random.Generator) -> bool:
        labels, predictions, _ = sample_runs(rng, 300, seeds, ease=1.2, seed_sd=seed_sd)
        return holds(crossed_interval(labels, predictions, classes=2), truth)

    assert 0.92 <= share(400, trial) <= 0.98


def test_an_interval_over_examples_does_not_hold_the_seeds() -> None:
    def trial(rng: np.random.Generator) -> bool:
        labels, predictions, _ = sample_runs(rng, 300, 3, ease=1.2, seed_sd=0.4)
        interval = example_interval(labels, predictions, classes=2, rng=rng, method="percentile", resamples=199)
        return holds(interval, true_score(1.2, 0.4))

    assert share(300, trial) < 0.7


def test_resampled_seeds_vary_as_new_seeds_would() -> None:
    scores = np.array([0.80, 0.84, 0.85, 0.91])
    draws = resample_seeds(np.tile(scores, (40000, 1)), np.random.default_rng(0))
    assert draws.mean() == pytest.approx(scores.mean(), abs=1e-3)
    assert draws.var() == pytest.approx(scores.var(ddof=1) / 4, rel=0.03)


def test_one_seed_is_refused_where_seeds_are_held() -> None:
    labels = np.array([0, 1, 1])
    refusal = crossed_interval(labels, labels, classes=2)
    assert isinstance(refusal, Refusal) and "one seed" in refusal.reason
