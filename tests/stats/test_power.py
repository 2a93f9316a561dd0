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
    SeedsToSettle,
    crossed_difference,
    detectable_difference,
    detectable_on_examples,
    detectable_over_seeds,
    example_difference,
    mcnemar,
    seed_difference,
    seeds_to_settle,
)
from tunebench.stats.paired import _from_t


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
    rng = np.random.default_rng(0)
    drawn = example_difference(labels, other, np.roll(other, 7), classes=2, rng=rng)
    found = detectable_difference(drawn)
    assert found.difference == pytest.approx(2.80159 * drawn.standard_error, rel=1e-4)
    assert found.over == "test examples"


def comparison(estimate: float, sd: float, seeds: int, example_variance: float = 0.0) -> Difference:
    seed_variance = sd**2 / seeds
    error = float(np.sqrt(seed_variance + example_variance))
    return _from_t(
        estimate,
        error,
        seeds - 1.0,
        0.95,
        "t",
        "seeds and test examples",
        10**9,
        seeds,
        (seed_variance, seeds - 1.0),
        example_variance,
    )


def slow_seeds(
    estimate: float, sd: float, example_variance: float, margin: float | None, start: int, comparisons: int = 1
) -> int:
    """Search the number of seeds with the variance and degrees of freedom written out."""
    for seeds in range(start, 1000):
        between = sd**2 / seeds
        total = between + example_variance
        df = total**2 / (between**2 / (seeds - 1) + example_variance**2 / (10**9 - 1))
        if stats.t.ppf(1 - 0.025 / comparisons, df) * total**0.5 < abs(estimate):
            return seeds
        if margin and abs(estimate) + stats.t.ppf(0.95, df) * total**0.5 < margin:
            return seeds
    raise AssertionError


@pytest.mark.parametrize(
    ("estimate", "example_variance", "margin", "comparisons", "settles"),
    [
        (0.006, 0.0, None, 1, "different"),
        (0.006, 0.0, None, 10, "different"),
        (-0.006, 4e-6, None, 1, "different"),
        (0.0005, 0.0, 0.005, 10, "equivalent"),
        (-0.0005, 1e-6, 0.005, 1, "equivalent"),
        (0.03, 0.0, None, 1, "different"),
    ],
)
def test_seeds_to_settle_is_the_smallest_number_that_does(
    estimate: float, example_variance: float, margin: float | None, comparisons: int, settles: str
) -> None:
    difference = comparison(estimate, 0.008, 3, example_variance)
    result = seeds_to_settle(difference, margin=margin, comparisons=comparisons)
    assert isinstance(result, SeedsToSettle)
    expected = slow_seeds(estimate, 0.008, example_variance, margin, 3, comparisons)
    assert (result.total, result.more, result.settles) == (expected, expected - 3, settles)
    assert ("as it is" in result.reason) == (result.more == 0)


def test_no_number_of_seeds_outruns_the_test_examples() -> None:
    result = seeds_to_settle(comparison(0.003, 0.008, 3, example_variance=4e-6), margin=0.002)
    assert isinstance(result, SeedsToSettle)
    assert (result.total, result.more, result.settles) == (None, None, None)
    assert "no number of seeds" in result.reason and "0.0039" in result.reason


def test_too_many_seeds_are_not_proposed() -> None:
    result = seeds_to_settle(comparison(0.0004, 0.008, 3), cap=50)
    assert isinstance(result, SeedsToSettle) and result.total is None and "more than 50" in result.reason


def test_seeds_proposed_for_two_real_samples_hold_together() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(2000) % 2
    runs = [
        np.where(rng.random((3, 2000)) < 0.88 + 0.005 * rng.standard_normal((3, 1)), labels, 1 - labels)
        for _ in range(2)
    ]
    for pairing in ("same seeds", "different seeds"):
        difference = crossed_difference(labels, *runs, classes=2, pairing=pairing)  # type: ignore[arg-type]
        assert isinstance(difference, Difference)
        plan = seeds_to_settle(difference, margin=0.02)
        assert isinstance(plan, SeedsToSettle) and plan.total is not None and plan.more == plan.total - 3


def test_an_interval_without_seeds_is_refused() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    result = seeds_to_settle(example_difference(labels, labels, np.roll(labels, 1), classes=2, rng=rng))
    assert isinstance(result, Refusal) and "how seeds vary" in result.reason


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable_on_examples(0, 0.1),
        lambda: detectable_on_examples(10, 1.1),
        lambda: detectable_over_seeds(0.01, 1),
        lambda: detectable_over_seeds(0.0, 3),
        lambda: detectable_over_seeds(0.01, 3, power=0.04),
        lambda: detectable_over_seeds(0.01, 3, alpha=0.0),
        lambda: seeds_to_settle(comparison(0.1, 0.1, 3), margin=0.0),
        lambda: seeds_to_settle(comparison(0.1, 0.1, 3), comparisons=0.5),
    ],
)
def test_arguments_out_of_range_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"needed|must"):
        call()  # type: ignore[operator]


def test_interval_is_the_type_it_says() -> None:
    assert isinstance(comparison(0.1, 0.1, 3).interval, Interval)
