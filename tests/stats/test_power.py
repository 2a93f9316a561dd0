"""Smallest detectable differences by simulation; seeds to settle a comparison by search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tunebench.stats import (
    Detectable,
    Difference,
    Interval,
    Refusal,
    SeedsNeeded,
    delta_difference,
    detectable_difference,
    detectable_on_examples,
    detectable_over_seeds,
    mcnemar,
    seed_difference,
    seeds_needed,
)
from tunebench.stats.paired import _from_parts


def power_of_t(difference: float, sd: float, seeds: int, trials: int = 4000) -> float:
    gaps = np.random.default_rng(0).normal(difference, sd, (trials, seeds))
    return float((stats.ttest_1samp(gaps, 0, axis=1).pvalue <= 0.05).mean())


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_detectable_over_seeds_is_found_with_its_power(seeds: int) -> None:
    found = detectable_over_seeds(0.01, seeds)
    assert (found.over, found.power, found.alpha) == ("seeds", 0.8, 0.05)
    assert 0.78 <= power_of_t(found.difference, 0.01, seeds) <= 0.82
    assert power_of_t(found.difference * 0.8, 0.01, seeds) < 0.75


def test_detectable_on_examples_is_found_with_its_power() -> None:
    found = detectable_on_examples(1500, 0.12)
    assert isinstance(found, Detectable) and found.over == "test examples"
    rng = np.random.default_rng(0)

    def trial(difference: float) -> bool:
        shares = [0.5, 0.06 + difference / 2, 0.06 - difference / 2, 0.38]
        counts = rng.multinomial(1500, shares)
        labels = np.zeros(1500, dtype=int)
        return mcnemar(labels, np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)).mid_p <= 0.05

    assert 0.76 <= np.mean([trial(found.difference) for _ in range(1000)]) <= 0.84
    assert np.mean([trial(found.difference * 0.75) for _ in range(500)]) < 0.7


def test_more_examples_detect_less_and_too_few_nothing() -> None:
    small, large = detectable_on_examples(500, 0.1), detectable_on_examples(25000, 0.1)
    assert isinstance(small, Detectable) and isinstance(large, Detectable)
    # Nearly with the root of the number.
    assert small.difference / large.difference == pytest.approx(50**0.5, rel=0.03)
    for n, discordance in ((20, 0.05), (1000, 0.0), (2, 0.5), (3, 1.0)):
        refusal = detectable_on_examples(n, discordance)
        assert isinstance(refusal, Refusal) and "too few" in refusal.reason


def test_test_examples_set_a_floor_that_seeds_do_not_lower() -> None:
    found = [detectable_over_seeds(0.01, seeds, example_variance=1e-4) for seeds in (3, 10, 10**6)]
    assert found[0].difference > found[1].difference > found[2].difference
    assert found[2].difference == pytest.approx((1.95996 + 0.84162) * 0.01, rel=1e-3)
    assert found[0].over == "seeds and test examples"


def test_detectable_difference_reads_the_error_of_the_comparison() -> None:
    first, second = np.array([0.9, 0.91, 0.89]), np.array([0.88, 0.9, 0.9])
    by_seed = seed_difference(first, second)
    assert isinstance(by_seed, Difference)
    sd = float((first - second).std(ddof=1))
    assert detectable_difference(by_seed).difference == pytest.approx(detectable_over_seeds(sd, 3).difference)
    labels = np.arange(400) % 2
    other = np.where(np.arange(400) % 10 < 1, 1 - labels, labels)
    by_examples = delta_difference(labels, other, np.roll(other, 7), classes=2)
    found = detectable_difference(by_examples)
    assert found.difference == pytest.approx(2.80159 * by_examples.standard_error, rel=1e-2)
    assert found.over == "test examples"


def comparison(estimate: float, sd: float, seeds: int, example_variance: float = 0.0) -> Difference:
    part = ((sd**2 / seeds, seeds - 1.0),)
    return _from_parts(
        estimate,
        (*part, (example_variance, 1e9)),
        0.95,
        "t",
        "seeds and test examples",
        10**9,
        seeds,
        seed_parts=part,
        example_variance=example_variance,
    )


def shares_found(seeds: int, sd: float, example_variance: float, margin: float) -> tuple[float, float]:
    """Simulate new comparisons: how often a difference of the margin is found, and none is shown to be none."""
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, sd, (20_000, seeds)) + rng.normal(0, example_variance**0.5, (20_000, 1))
    between = gaps.var(axis=1, ddof=1) / seeds
    error = np.sqrt(between + example_variance)

    def bound(tail: float) -> np.ndarray:
        mean = between * stats.t.isf(tail, seeds - 1) + example_variance * stats.norm.isf(tail)
        return np.asarray(mean / error)

    found = np.abs(gaps.mean(1) + margin) > bound(0.025)
    return float(found.mean()), float((np.abs(gaps.mean(1)) + bound(0.05) < margin).mean())


@pytest.mark.parametrize(
    ("sd", "example_variance", "margin"), [(0.004, 0.0, 0.005), (0.003, 2e-6, 0.006), (0.002, 1e-6, 0.005)]
)
def test_a_new_comparison_with_the_seeds_needed_has_the_power(
    sd: float, example_variance: float, margin: float
) -> None:
    result = seeds_needed(comparison(0.02, sd, 3, example_variance), margin=margin)
    assert isinstance(result, SeedsNeeded) and result.to_differ is not None and result.to_equal is not None
    for place, seeds in ((0, result.to_differ), (1, result.to_equal)):
        assert shares_found(seeds, sd, example_variance, margin)[place] >= 0.79
        assert seeds == 2 or shares_found(seeds - 1, sd, example_variance, margin)[place] < 0.81


def test_the_plan_does_not_depend_on_the_difference_that_was_seen() -> None:
    plans = [seeds_needed(comparison(estimate, 0.008, 3, 1e-6), margin=0.01) for estimate in (0.0, 0.004, -0.02)]
    assert plans[0] == plans[1] == plans[2]


def test_no_number_of_seeds_outruns_the_test_examples() -> None:
    result = seeds_needed(comparison(0.003, 0.008, 3, example_variance=4e-6), margin=0.002)
    assert isinstance(result, SeedsNeeded) and result.to_differ is result.to_equal is None
    assert result.cap == 100 and result.left == pytest.approx(0.00392, abs=1e-5)


@pytest.mark.parametrize("seed_sd", [0.0, 0.008])
def test_with_the_examples_needed_endless_seeds_have_the_power_and_with_fewer_they_do_not(seed_sd: float) -> None:
    result = seeds_needed(comparison(0.003, seed_sd, 3, example_variance=4e-6), margin=0.002)
    assert isinstance(result, SeedsNeeded) and result.examples is not None
    for share, enough in ((1.0, True), (0.995, False)):
        variance = 4e-6 * 10**9 / (share * result.examples)
        mean = stats.norm(scale=variance**0.5)
        found = mean.sf(mean.isf(0.025) - 0.002) + mean.cdf(-mean.isf(0.025) - 0.002)
        equal = 2 * mean.cdf(0.002 - mean.isf(0.05)) - 1
        assert (min(found, equal) >= 0.8) == enough
        then = seeds_needed(comparison(0.003, seed_sd, 3, variance), margin=0.002)
        assert isinstance(then, SeedsNeeded) and (then.examples is None) == enough


def test_too_many_seeds_are_not_proposed() -> None:
    result = seeds_needed(comparison(0.0004, 0.008, 3), margin=0.003, cap=50)
    assert isinstance(result, SeedsNeeded) and result.to_differ is None and result.cap == 50


def test_an_interval_without_seeds_is_refused() -> None:
    labels = np.arange(100) % 2
    result = seeds_needed(delta_difference(labels, labels, np.roll(labels, 1), classes=2), margin=0.01)
    assert isinstance(result, Refusal) and "how much seeds vary" in result.reason


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable_on_examples(0, 0.1),
        lambda: detectable_on_examples(10, 1.1),
        lambda: detectable_over_seeds(0.01, 1),
        lambda: detectable_over_seeds(0.0, 3),
        lambda: detectable_over_seeds(0.01, 3, power=0.04),
        lambda: detectable_over_seeds(0.01, 3, alpha=0.0),
        lambda: seeds_needed(comparison(0.1, 0.1, 3), margin=0.0),
        lambda: seeds_needed(comparison(0.1, 0.1, 3), margin=0.1, power=1.0),
    ],
)
def test_arguments_out_of_range_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"needed|must"):
        call()  # type: ignore[operator]


def test_interval_is_the_type_it_says() -> None:
    assert isinstance(comparison(0.1, 0.1, 3).interval, Interval)
