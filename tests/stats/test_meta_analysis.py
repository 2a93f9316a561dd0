"""A mean over data sets: against statsmodels, against its definition, and in simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tunebench.stats import Heterogeneity, Refusal, equivalence, random_effects
from tunebench.stats.meta_analysis import MetaMean, between_variance

EFFECTS = np.array([0.041, -0.003, 0.090, 0.022, 0.061, 0.015])
VARIANCES = np.array([0.011, 0.008, 0.020, 0.006, 0.030, 0.009]) ** 2


def mean_of(effects: np.ndarray, variances: np.ndarray, **options: float) -> MetaMean:
    found = random_effects(effects, variances, **options)
    assert isinstance(found, MetaMean)
    return found


@pytest.mark.parametrize("seed", [1, 4, 9, 16])
def test_it_is_what_statsmodels_computes(seed: int) -> None:
    """Of seeds at which its iteration converges; at others, such as 0 and 2, it falls to no variance at all."""
    from statsmodels.stats.meta_analysis import combine_effects

    rng = np.random.default_rng(seed)
    k = 5 + seed % 4
    variances = rng.uniform(0.005, 0.03, k) ** 2
    effects = rng.normal(0.02, 0.05, k)
    ours = mean_of(effects, variances)
    theirs = combine_effects(effects, variances, method_re="iterated", use_t=True, atol=1e-12)
    assert isinstance(ours.heterogeneity, Heterogeneity) and theirs.tau2 > 0
    assert ours.heterogeneity.tau**2 == pytest.approx(theirs.tau2, abs=1e-8)
    assert ours.heterogeneity.q == pytest.approx(theirs.q)
    assert ours.estimate == pytest.approx(theirs.mean_effect_re, abs=1e-7)
    assert ours.standard_error == pytest.approx(theirs.sd_eff_w_re_hksj, abs=1e-7)
    assert (ours.low, ours.high) == pytest.approx(theirs.conf_int(use_t=True)[3], abs=1e-6)


def test_it_is_its_definition() -> None:
    """Each formula written out, with the variance between data sets searched on a grid."""
    grid = np.linspace(0, 0.01, 200_001)
    weights = 1 / (VARIANCES[:, None] + grid)
    means = (weights * EFFECTS[:, None]).sum(0) / weights.sum(0)
    squares = (weights * (EFFECTS[:, None] - means) ** 2).sum(0)
    tau2 = grid[np.abs(squares - 5).argmin()]
    assert between_variance(EFFECTS, VARIANCES) == pytest.approx(tau2, abs=1e-7)

    w = [1 / (v + tau2) for v in VARIANCES]
    mean = sum(a * b for a, b in zip(w, EFFECTS, strict=True)) / sum(w)
    q = sum(a * (b - mean) ** 2 for a, b in zip(w, EFFECTS, strict=True)) / 5
    error = math.sqrt(max(1, q) / sum(w))
    found = mean_of(EFFECTS, VARIANCES)
    t = scipy_stats.t
    assert found.estimate == pytest.approx(mean, abs=1e-6)
    assert (found.low, found.high) == pytest.approx(t.interval(0.95, 5, mean, error), abs=1e-5)
    assert found.p_value == pytest.approx(2 * t.sf(mean / error, 5), abs=1e-5)
    assert found.prediction == pytest.approx(t.interval(0.95, 4, mean, math.sqrt(tau2 + error**2)), abs=1e-5)
    sides = (t.sf((mean + 0.1) / error, 5), t.cdf((mean - 0.1) / error, 5))
    same = equivalence(found.as_difference(), margin=0.1)
    assert same.tost_p == pytest.approx(max(sides), abs=1e-6)
    assert same.p_value == found.p_value


def test_what_few_data_sets_cannot_say_is_refused() -> None:
    assert isinstance(random_effects(EFFECTS[:1], VARIANCES[:1]), Refusal)
    four, five = mean_of(EFFECTS[:4], VARIANCES[:4]), mean_of(EFFECTS[:5], VARIANCES[:5])
    assert isinstance(four.prediction, Refusal) and isinstance(four.heterogeneity, Refusal)
    assert not isinstance(five.prediction, Refusal) and not isinstance(five.heterogeneity, Refusal)


@given(
    st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=12),
    st.floats(0, 0.2),
    st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_properties(effects: list[float], size: float, seed: int) -> None:
    values = np.array(effects)
    variances = np.random.default_rng(seed).uniform(0, size, len(values)) ** 2
    found = mean_of(values, variances)
    assert found.low <= found.estimate <= found.high
    assert values.min() - 1e-9 <= found.estimate <= values.max() + 1e-9
    assert sum(found.weights) == pytest.approx(1)
    flipped = mean_of(-values, variances)
    assert (flipped.low, flipped.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert found.p_value <= 0.05 + 1e-9 if found.low > 0 or found.high < 0 else found.p_value >= 0.05 - 1e-9
    if not isinstance(found.prediction, Refusal):
        assert found.prediction[0] <= found.low and found.prediction[1] >= found.high


def test_the_mean_and_the_prediction_cover() -> None:
    """With six data sets that differ, 95 % of intervals hold the mean, and 95 % of predictions another data set."""
    rng = np.random.default_rng(7)
    rounds, k, mean, tau = 600, 6, 0.02, 0.03
    holds = predicts = 0
    for _ in range(rounds):
        variances = rng.uniform(0.005, 0.02, k) ** 2
        effects = rng.normal(mean, np.sqrt(tau**2 + variances))
        found = mean_of(effects, variances)
        assert not isinstance(found.prediction, Refusal)
        holds += found.low <= mean <= found.high
        predicts += found.prediction[0] <= rng.normal(mean, tau) <= found.prediction[1]
    assert 0.93 <= holds / rounds <= 0.98
    assert 0.92 <= predicts / rounds <= 0.99


def test_a_mean_of_differences_goes_no_further_than_a_difference() -> None:
    effects, variances = np.array([-0.9, 0.9, 0.5, -0.5, 0.1]), np.full(5, 1e-4)
    found = random_effects(effects, variances, bounds=(-1.0, 1.0))
    free = random_effects(effects, variances)
    assert isinstance(found, MetaMean) and isinstance(free, MetaMean)
    assert isinstance(found.prediction, tuple) and isinstance(free.prediction, tuple)
    assert found.prediction == (-1.0, 1.0) and free.prediction[0] < -1 and free.prediction[1] > 1
    test = equivalence(found.as_difference(), margin=0.01, comparisons=20)
    assert (test.joint.low, test.joint.high) == (-1.0, 1.0)
    assert (found.p_value, found.standard_error) == (free.p_value, free.standard_error)


def test_equal_predictions_are_no_certainty_and_no_error() -> None:
    found = mean_of(np.zeros(6), np.zeros(6))
    assert (found.estimate, found.p_value) == (0, 1)
    assert equivalence(found.as_difference(), margin=0.005).equivalent


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one for each effect"):
        random_effects(EFFECTS, VARIANCES[:2])
    with pytest.raises(ValueError, match="not finite"):
        random_effects(EFFECTS * np.nan, VARIANCES)
