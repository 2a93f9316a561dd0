"""Variance components against the analysis of variance, by simulation, and where they are not known."""

from __future__ import annotations

import numpy as np
import pytest

from stats.populations import CONFUSION, sample_confusion, sample_runs
from tunebench.stats import ACCURACY, SamplingVariance, sampling_variance, variance_shares

NAMES = ("subset draw", "initialisation and order", "subset draw and seed together", "test sampling")


def crossed(table: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """Scores, subsets and seeds of a (subsets, seeds) table in which every seed met every subset."""
    draws, seeds = table.shape
    return table.ravel(), np.repeat(range(draws), seeds).tolist(), np.tile(range(seeds), draws).tolist()


def nested(table: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """The same with seeds of its own for every subset."""
    return table.ravel(), np.repeat(range(len(table)), table.shape[1]).tolist(), list(range(table.size))


def test_nested_design_is_one_way_anova() -> None:
    table = np.random.default_rng(0).normal(size=(4, 3)) + np.arange(4)[:, None]
    scores, subsets, seeds = nested(table)
    shares = variance_shares(scores, subsets=subsets, seeds=seeds)
    within = np.mean([sum((x - row.mean()) ** 2 for x in row) / 2 for row in table])
    between = 3 * sum((row.mean() - table.mean()) ** 2 for row in table) / 3
    assert shares["initialisation and order"].variance == pytest.approx(within)
    assert shares["subset draw"].variance == pytest.approx((between - within) / 3)
    assert (shares.n_runs, shares.n_subsets, shares.n_seeds) == (12, 4, 12)


def test_crossed_design_is_two_way_anova() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(4, 3)) + 2 * np.arange(4)[:, None] + 3 * np.arange(3)
    scores, subsets, seeds = crossed(table)
    shares = variance_shares(scores, subsets=subsets, seeds=seeds)
    rows, columns = table.mean(1), table.mean(0)
    residual = table - rows[:, None] - columns + table.mean()
    by_row, by_column = 3 * rows.var(ddof=1), 4 * columns.var(ddof=1)
    rest = (residual**2).sum() / 6
    assert shares["subset draw"].variance == pytest.approx((by_row - rest) / 3)
    assert shares["initialisation and order"].variance == pytest.approx((by_column - rest) / 4 + rest)


@pytest.mark.parametrize("design", [crossed, nested])
def test_components_are_unbiased(design: object) -> None:
    rng = np.random.default_rng(2)
    found = np.zeros(2)
    for _ in range(1500):
        seed_effect = rng.normal(0, 2, (1, 3) if design is crossed else (5, 3))
        table = 10 + rng.normal(0, 3, (5, 1)) + seed_effect + rng.normal(0, 1, (5, 3))
        scores, subsets, seeds = design(table)  # type: ignore[operator]
        keep = rng.random(15) < 0.8  # unbalanced
        keep[:6] = True
        shares = variance_shares(
            scores[keep],
            subsets=[s for s, k in zip(subsets, keep, strict=True) if k],
            seeds=[s for s, k in zip(seeds, keep, strict=True) if k],
        )
        draw, seed = shares["subset draw"], shares["initialisation and order"]
        assert draw.variance is not None and seed.variance is not None
        found += [draw.variance, seed.variance]
    # Clipping at 0 biases the subset's a little upwards.
    assert found / 1500 == pytest.approx([9, 5], rel=0.07)


def test_test_sampling_is_taken_out_of_the_seeds() -> None:
    # Accuracy of many seeds: what remains is the variance of their true accuracies.
    rng = np.random.default_rng(3)
    true, with_it, without = [], [], []
    for _ in range(40):
        labels, runs, _ = sample_runs(rng, 400, 30, ease=1.0, seed_sd=0.08)
        sampling = sampling_variance(labels, runs, classes=2, metric=ACCURACY)
        assert sampling.own is not None
        scores, seeds = (runs == labels).mean(1), list(range(30))
        with_it.append(variance_shares(scores, subsets=[0] * 30, seeds=seeds, test_sampling=sampling))
        without.append(variance_shares(scores, subsets=[0] * 30, seeds=seeds))
    from scipy.stats import norm

    true = norm.cdf((1.0 + 0.08 * rng.standard_normal(100000)) / np.sqrt(1.36)).var()
    kept = np.mean([each["initialisation and order"].variance for each in with_it])
    raw = np.mean([each["initialisation and order"].variance for each in without])
    assert kept == pytest.approx(true, rel=0.25)
    assert raw > 1.3 * true
    reason = without[0]["initialisation and order"].reason
    assert reason is not None and "these test examples" in reason


def test_sampling_variance_is_that_of_fresh_test_splits() -> None:
    rng = np.random.default_rng(4)
    from sklearn.metrics import f1_score

    scores, found = [], []
    for _ in range(300):
        labels, predicted = sample_confusion(rng, 300, CONFUSION)
        scores.append(f1_score(labels, predicted, average="macro"))
        found.append(sampling_variance(labels, predicted, classes=3).single_run)
    assert np.mean(found) == pytest.approx(np.var(scores, ddof=1), rel=0.15)
    assert sampling_variance(labels, predicted, classes=3).own is None
    twice = sampling_variance(labels, np.stack([predicted, predicted]), classes=3)
    assert twice.own == pytest.approx(0, abs=1e-18) and twice.single_run == pytest.approx(found[-1])


def test_a_negative_component_is_given_as_zero_and_says_so() -> None:
    # Equal subset means, wide scatter within: the moments put the subset's variance below 0.
    scores, subsets, seeds = nested(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    shares = variance_shares(scores, subsets=subsets, seeds=seeds)
    draw, seed = shares["subset draw"], shares["initialisation and order"]
    assert (draw.variance, draw.share, draw.clipped) == (0.0, 0.0, True)
    assert (seed.share, seed.clipped) == (1.0, False)


@pytest.mark.parametrize(
    ("subsets", "seeds", "known", "reason"),
    [
        (None, [1, 2, 3], {"subset draw and seed together"}, "not known which subset draw"),
        ([1, 2, 3], [1, 2, 3], {"subset draw and seed together"}, "no subset draw was run with two seeds"),
        ([1, 2, 3], [7, 7, 7], {"subset draw and seed together"}, "no subset draw was run with two seeds"),
        ([1, 1, 1], [1, 2, 3], {"initialisation and order"}, "one subset draw only"),
        ([1, 1, 1], None, {"initialisation and order"}, "one subset draw only"),
        ([1, 1, 2], [1, 2, 1], {"subset draw", "initialisation and order"}, None),
    ],
)
def test_what_cannot_be_told_apart_is_none(
    subsets: list[int] | None, seeds: list[int] | None, known: set[str], reason: str | None
) -> None:
    shares = variance_shares([0.88, 0.9, 0.93], subsets=subsets, seeds=seeds)
    assert {c.name for c in shares.components if c.variance is not None} == known
    for component in shares.components:
        assert (component.variance is None) == (component.share is None)
        assert component.variance is not None or component.reason
    assert tuple(c.name for c in shares.components) == NAMES
    assert reason is None or reason in (shares["subset draw"].reason or "")
    if "subset draw and seed together" in known:
        together = shares["subset draw and seed together"]
        assert together.variance == pytest.approx(np.var([0.88, 0.9, 0.93], ddof=1))
    assert sum(c.share or 0 for c in shares.components) == pytest.approx(1)


def test_one_run_tells_nothing_but_test_sampling() -> None:
    shares = variance_shares([0.9], subsets=[1], seeds=[1])
    assert shares.total is None and all(c.variance is None and c.reason for c in shares.components)
    sampling = SamplingVariance(single_run=1e-5, own=None, n_examples=900)
    shares = variance_shares([0.9], subsets=[1], seeds=[1], test_sampling=sampling)
    assert shares.total == 1e-5 and shares["test sampling"].share == 1
    assert shares["initialisation and order"].reason == "one run only"


def test_what_the_runs_own_on_these_examples_is_counted_once() -> None:
    sampling = SamplingVariance(single_run=3e-4, own=1e-4, n_examples=900)
    scores, total = [0.88, 0.9, 0.93], float(np.var([0.88, 0.9, 0.93], ddof=1))
    apart = variance_shares(scores, subsets=[1, 1, 1], seeds=[1, 2, 3], test_sampling=sampling)
    together = variance_shares(scores, subsets=[1, 2, 3], seeds=[1, 2, 3], test_sampling=sampling)
    assert apart["initialisation and order"].variance == pytest.approx(total - 1e-4)
    assert together["subset draw and seed together"].variance == pytest.approx(total - 1e-4)
    for shares in (apart, together):
        assert shares.total == pytest.approx(total - 1e-4 + 3e-4)
        assert shares["test sampling"].share == pytest.approx(3e-4 / (total + 2e-4))


def test_runs_without_any_difference_have_no_shares() -> None:
    shares = variance_shares([0.9, 0.9], subsets=[1, 1], seeds=[1, 2])
    seed = shares["initialisation and order"]
    assert (seed.variance, seed.share, shares.total) == (0.0, None, 0.0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="subsets must hold one value a run: 1 for 2"):
        variance_shares([0.9, 0.8], subsets=[1])
