"""Variances and intervals of metrics whose sampling variance has no closed form."""

from __future__ import annotations

import numpy as np
import pytest

from stats.populations import share
from tunebench.stats import Difference, Interval, crossed_difference, crossed_interval, example_interval
from tunebench.stats import joint_counts as module
from tunebench.stats.joint_counts import joint_counts, resampled_scores, score_covariance
from tunebench.tasks.metric import Metric
from tunebench.tasks.metrics import METRICS

#: One of each way to a variance: influence function, confusion matrix, ranking, bins.
KINDS = ["log_loss", "mcc", "auroc", "ece"]


def runs(
    rng: np.random.Generator, n: int, seeds: int, *, ease: float = 1.2, seed_sd: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two balanced classes, and logits of runs that share the examples' difficulty."""
    labels = np.arange(n) % 2
    difficulty = rng.standard_normal(n)
    effect = seed_sd * rng.standard_normal((seeds, 1))
    margin = ease + difficulty + effect + 0.6 * rng.standard_normal((seeds, n))
    signed = np.where(labels == 1, margin, -margin)
    return labels, np.stack([-signed, signed], axis=2)


def decoded(metric: Metric, logits: np.ndarray) -> np.ndarray:
    return np.stack([metric.decode(run) for run in logits])


@pytest.mark.parametrize("name", KINDS)
def test_covariances_are_those_of_resamples(name: str) -> None:
    metric = METRICS[name]
    labels, logits = runs(np.random.default_rng(0), 400, 3)
    cells = joint_counts(labels, decoded(metric, logits), classes=2)
    expected = np.cov(resampled_scores(cells, metric=metric, resamples=3000, rng=np.random.default_rng(1)).T)
    assert score_covariance(cells, metric) == pytest.approx(expected, abs=0.12 * expected.max())


@pytest.mark.parametrize("name", ["log_loss", "mcc", "auroc"])  # calibration error is biased in few texts
def test_intervals_over_seeds_and_examples_cover(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 149)  # a seventh of the work
    metric = METRICS[name]
    large = runs(np.random.default_rng(9), 20_000, 40)
    truth = float(np.mean([metric(large[0], run) for run in large[1]]))

    def trial(rng: np.random.Generator) -> bool:
        labels, logits = runs(rng, 200, 4)
        found = crossed_interval(labels, decoded(metric, logits), classes=2, metric=metric)
        assert isinstance(found, Interval)
        return found.low <= truth <= found.high

    assert 0.9 <= share(120, trial)


@pytest.mark.parametrize("name", KINDS)
def test_two_equal_runs_differ_by_nothing_and_not_for_certain(name: str) -> None:
    metric = METRICS[name]
    labels, logits = runs(np.random.default_rng(3), 300, 2)
    values = decoded(metric, logits)
    found = crossed_difference(labels, values, values, classes=2, metric=metric)
    assert isinstance(found, Difference)
    assert found.estimate == pytest.approx(0, abs=1e-12) and found.p_value == pytest.approx(1)
    assert found.interval.low < 0 < found.interval.high


def test_an_interval_may_leave_zero_to_one_where_the_metric_does() -> None:
    metric = METRICS["log_loss"]
    labels, logits = runs(np.random.default_rng(4), 200, 1, ease=-1.0)
    found = example_interval(
        labels, decoded(metric, 3 * logits), classes=2, metric=metric, rng=np.random.default_rng(0)
    )
    assert found.low > 1 and found.low < found.estimate < found.high


def test_values_must_be_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        joint_counts(np.array([0, 1]), np.full((1, 2, 2), np.nan), classes=2)
