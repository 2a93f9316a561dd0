"""Metrics of numbers against scipy and scikit-learn, and what the statistics need of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from tunebench.stats import crossed_difference, delta_difference, example_interval
from tunebench.stats.joint_counts import (
    influence,
    joint_counts,
    observed_scores,
    resampled_scores,
    score_covariance,
)
from tunebench.tasks.outputs import ONE_NUMBER
from tunebench.tasks.regression import REGRESSION
from tunebench.tasks.scale import Scale

METRICS = REGRESSION.metrics
#: Plain definitions, of true and predicted numbers.
SLOW = {
    "spearman": lambda y, p: stats.spearmanr(y, p).statistic,
    "pearson": lambda y, p: stats.pearsonr(y, p).statistic,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "mse": sk.mean_squared_error,
    "r2": sk.r2_score,
}
#: What a score does when the unit of all numbers shrinks tenfold.
POWERS = {"mae": 1, "rmse": 1, "mse": 2}


def made(texts: int = 80, runs: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers with ties, and outputs of runs, with ties too, ``(runs, texts, 1)``."""
    rng = np.random.default_rng(seed)
    labels = np.round(rng.normal(3, 1, texts), 1)
    outputs = np.round(0.7 * labels + 1 + rng.normal(0, 0.6, (runs, texts)), 1)
    return labels, outputs[..., None].astype(np.float32)


@pytest.mark.parametrize("name", METRICS.known)
def test_metrics_are_those_of_scipy_and_scikit_learn(name: str) -> None:
    labels, (outputs,) = made()
    expected = SLOW[name](labels, outputs[:, 0].astype(np.float64))
    assert METRICS[name](labels, outputs) == pytest.approx(expected, abs=1e-12)
    metric = METRICS[name]
    assert metric.source and metric.heading and (metric.unit is None) == (name in ("spearman", "pearson", "r2"))
    # What is right scores best, in the direction that the metric has.
    assert metric.better(metric(labels, labels[:, None]), metric(labels, outputs))


@pytest.mark.parametrize("name", METRICS.known)
def test_weights_count_examples_as_often(name: str) -> None:
    labels, (outputs,) = made(40)
    counts = np.random.default_rng(1).integers(0, 4, (3, 40))
    found = METRICS[name].weighted_scores(labels, METRICS[name].decode(outputs), counts, 1)
    rows = [np.repeat(np.arange(40), row) for row in counts]
    assert found == pytest.approx([METRICS[name](labels[own], outputs[own]) for own in rows], abs=1e-12)


@pytest.mark.parametrize("name", METRICS.known)
def test_influence_is_what_one_more_example_changes(name: str) -> None:
    labels, outputs = made(60)
    metric, small = METRICS[name], 1e-6
    cells = joint_counts(labels, ONE_NUMBER.predicted(outputs), classes=1)
    found, base = influence(cells, metric), observed_scores(cells, metric)[0]
    assert found is not None and abs(found[0].mean()) < 1e-9
    weights = 1 + small * np.eye(60)
    moved = metric.weighted_scores(cells.labels, cells.predictions[0], weights, 1)
    assert found[0] == pytest.approx((moved - base) / small * 60, abs=1e-3)


@pytest.mark.parametrize("name", METRICS.known)
def test_covariances_are_those_of_resamples(name: str) -> None:
    labels, outputs = made(300, 3)
    cells = joint_counts(labels, ONE_NUMBER.predicted(outputs), classes=1)
    draws = resampled_scores(cells, metric=METRICS[name], resamples=1500, rng=np.random.default_rng(1))
    expected = np.cov(draws.T)
    assert score_covariance(cells, METRICS[name]) == pytest.approx(expected, abs=0.2 * expected.max())


@pytest.mark.parametrize("name", ["spearman", "rmse"])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e9])
def test_intervals_and_tests_are_the_same_in_every_unit(name: str, unit: float) -> None:
    labels, outputs = made(120, 4)
    metric, size = METRICS[name], unit ** POWERS.get(name, 0)
    good = ONE_NUMBER.predicted(outputs)
    bad = good + np.random.default_rng(2).normal(0, 1, good.shape)

    def both(by: float) -> tuple[list[float], list[float]]:
        options = {"classes": 1, "metric": metric}
        one = example_interval(by * labels, by * good, rng=np.random.default_rng(0), resamples=399, **options)
        two = crossed_difference(by * labels, by * good, by * bad, **options)
        return [one.low, one.estimate, one.high], [two.interval.low, two.interval.high, two.p_value]

    (interval, difference), (scaled, other) = both(1.0), both(unit)
    assert interval[0] < interval[1] < interval[2] and difference[2] < 0.05
    assert scaled == pytest.approx([size * value for value in interval], rel=1e-6)
    assert other == pytest.approx([size * value for value in difference[:2]] + difference[2:], rel=1e-6)


@pytest.mark.parametrize("name", METRICS.known)
@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_two_equal_runs_differ_by_nothing_and_not_for_certain(name: str, unit: float) -> None:
    labels, outputs = made(60, 3)
    labels, predicted = unit * labels, unit * ONE_NUMBER.predicted(outputs)
    options = {"classes": 1, "metric": METRICS[name]}
    same = crossed_difference(labels, predicted, predicted, **options)
    assert same.interval.estimate == pytest.approx(0, abs=1e-9 * unit**2)
    assert same.interval.low < 0 < same.interval.high and same.p_value > 0.5
    alone = delta_difference(labels, predicted[0], predicted[0], **options)
    assert alone.interval.low < 0 < alone.interval.high and alone.p_value > 0.5


def test_without_any_error_an_interval_is_not_a_point() -> None:
    labels, _ = made(50)
    options = {"classes": 1, "metric": METRICS["mae"], "rng": np.random.default_rng(0)}
    found = example_interval(labels, labels[None], **options)
    assert found.estimate == found.low == 0 < found.high < 0.3


@pytest.mark.parametrize(
    ("labels", "outputs", "words"),
    [
        ([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], "outputs \\(n, 1\\) are needed"),
        ([1.0, np.nan], [[1.0], [2.0]], "finite numbers"),
        ([1.0, 2.0], [[1.0], [np.inf]], "not finite"),
        ([[1.0], [2.0]], [[1.0], [2.0]], "outputs \\(n, 1\\) are needed"),
    ],
)
def test_what_is_no_number_is_refused(labels: list[float], outputs: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        METRICS["mae"](np.array(labels), np.array(outputs))


def test_correlations_with_something_constant_are_not_defined() -> None:
    labels = np.array([1.0, 2.0, 3.0])
    for name in ("spearman", "pearson"):
        assert np.isnan(METRICS[name](labels, np.full((3, 1), 0.1)))
        assert np.isnan(METRICS[name](np.full(3, 0.1), labels[:, None]))
    assert np.isnan(METRICS["r2"](np.full(3, 0.1), labels[:, None]))
    assert METRICS["r2"](labels, np.full((3, 1), 2.0)) == pytest.approx(0)


def test_a_scale_has_an_inverse_and_keeps_what_does_not_vary() -> None:
    numbers = np.array([1990.0, 2003.5, 2020.0, 2001.0])
    scale = Scale.of(numbers)
    assert scale.onto(numbers).mean() == pytest.approx(0) and scale.onto(numbers).std() == pytest.approx(1)
    assert scale.back(scale.onto(numbers)) == pytest.approx(numbers)
    assert Scale.of(np.full(4, 7.0)).onto(np.full(4, 7.0)).tolist() == [0] * 4
    labels = np.array([0, 1])
    assert Scale().onto(labels) is labels and Scale().back(labels) is labels


def test_strata_are_quantiles_and_equal_numbers_share_one() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=1000)
    found = REGRESSION.strata(numbers)
    assert found.shape == (1000, 10) and (found.sum(1) == 1).all() and found.sum(0).tolist() == [100] * 10
    order = found.argmax(1)[np.argsort(numbers)]
    assert (np.diff(order) >= 0).all()
    ratings = rng.integers(1, 6, 200).astype(float)
    strata = REGRESSION.strata(ratings).argmax(1)
    assert all(len(set(strata[ratings == one])) == 1 for one in range(1, 6)) and len(set(strata)) == 5
    assert REGRESSION.strata(np.array([2.0])).sum() == 1
