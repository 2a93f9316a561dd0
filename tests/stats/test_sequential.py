"""Designs that are read more than once: boundaries as published, levels as simulated, tails that invert."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as distributions

from tunebench.benchmarks.rules import Reading, read_often
from tunebench.stats import (
    Anytime,
    Detectable,
    Looks,
    Refusal,
    at_look,
    crossed_difference,
    detectable_difference,
    equivalence,
)
from tunebench.stats.intervals import crossed_interval_of
from tunebench.stats.paired import crossed_of_scores
from tunebench.stats.results import Difference
from tunebench.stats.sequential import EXPECTED, Look, boundaries

#: Boundaries of z, 5 % two-sided, for looks at equal steps: Lan and DeMets' spending functions as the published
#: program of Reboussin, DeMets, Kim and Lan (2000) gives them.
PUBLISHED = {
    ("obrien-fleming", 2): (2.963, 1.969),
    ("obrien-fleming", 5): (4.877, 3.357, 2.680, 2.290, 2.031),
    ("pocock", 2): (2.157, 2.201),
    ("pocock", 5): (2.438, 2.427, 2.410, 2.397, 2.386),
}
LOOKS = [Looks((5, 10)), Looks((3, 5, 8), "pocock"), Looks(tuple(range(2, 9)))]


@pytest.mark.parametrize(("spending", "number"), PUBLISHED)
def test_boundaries_are_those_that_were_published(spending: str, number: int) -> None:
    found = boundaries(range(1, number + 1), 0.025, spending=spending)  # type: ignore[arg-type]
    assert found == pytest.approx(PUBLISHED[spending, number], abs=6e-4)


@pytest.mark.parametrize("design", LOOKS, ids=str)
def test_the_chance_to_cross_a_boundary_is_the_level(design: Looks) -> None:
    """The slow definition: the chance that a normal vector stays below, by SciPy's own integration."""
    shares = np.array(design.seeds) / design.seeds[-1]
    covariance = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    normal = distributions.multivariate_normal(cov=covariance, abseps=1e-7, maxpts=200_000)  # type: ignore[call-arg]
    bounds = boundaries(design.seeds, [0.025, 0.001], spending=design.spending)
    for tail, column in zip((0.025, 0.001), bounds.T, strict=True):
        assert 1 - normal.cdf(column) == pytest.approx(tail, abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(LOOKS), st.integers(2, 10), st.floats(1e-9, 0.49))
def test_both_directions_of_a_look_invert_each_other(design: Looks, seeds: int, tail: float) -> None:
    looks: list[Look] = [design.at(seeds), Anytime().at(seeds + 20)]
    for look in looks:
        nominal = look.nominal(tail)
        assert nominal < tail
        assert look.overall(nominal) == pytest.approx(tail, rel=1e-6)
        assert look.nominal(tail / 2) < nominal and look.overall(nominal / 2) < tail


def test_the_look_is_the_last_one_that_the_seeds_are_enough_for() -> None:
    assert [Looks((3, 5, 8)).at(seeds).seeds for seeds in (2, 3, 4, 5, 7, 8, 9)] == [3, 3, 3, 5, 5, 8, 8]


@pytest.mark.parametrize("seeds", [4, 7, 30])
def test_the_mixture_is_the_ratio_of_two_densities_of_t(seeds: int) -> None:
    """The slow definition: Student's t under no difference and, scaled, under a normal one."""
    look, df = Anytime().at(seeds), seeds - 1
    for tail in (0.025, 0.01):
        t = -special.stdtrit(df, look.nominal(tail))
        scale = np.sqrt(1 + seeds * EXPECTED)
        ratio = distributions.t(df).pdf(t / scale) / scale / distributions.t(df).pdf(t)
        assert ratio == pytest.approx(1 / (2 * tail), rel=1e-6)


def test_two_seeds_at_any_time_show_nothing_and_say_so() -> None:
    scores = np.array([0.9, 0.91, 0.80, 0.80])
    found = crossed_of_scores(scores, np.eye(4) * 1e-6, (2, 2), 400, bounds=(0.0, 1.0))
    seen = at_look(found, Anytime().at(2))
    assert (seen.interval.low, seen.interval.high) == (-1.0, 1.0) and seen.p_value > 0.05
    assert equivalence(seen, margin=0.2).verdict == "inconclusive"
    assert at_look(found, None) is found


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_at_any_time_leave_an_interval_without_an_end_where_the_score_has_none(seeds: int) -> None:
    look, rng = Anytime().at(seeds), np.random.default_rng(seeds)
    assert look.nominal(0.025) == 0
    scores, covariance = rng.uniform(0.2, 0.4, 2 * seeds), 1e-6 * np.eye(2 * seeds)
    mean = crossed_interval_of(scores[:seeds], covariance[:seeds, :seeds], 400, (0.0, None), look=look)
    assert (mean.low, mean.high) == (0.0, np.inf)
    found = at_look(crossed_of_scores(scores, covariance, (seeds, seeds), 400, bounds=(0.0, None)), look)
    assert (found.interval.low, found.interval.high) == (-np.inf, np.inf) and 0 < found.p_value <= 1
    test = equivalence(found, margin=0.1)
    assert (test.joint.low, test.joint.high, test.verdict) == (-np.inf, np.inf, "inconclusive")
    assert isinstance(detectable_difference(found), Refusal)


def test_a_difference_is_detectable_only_if_it_is_possible() -> None:
    scores, covariance = np.array([0.1, 0.9, 0.2, 0.3]), 1e-4 * np.eye(4)
    free = detectable_difference(crossed_of_scores(scores, covariance, (2, 2), 400))
    assert isinstance(free, Detectable) and free.difference > 1
    bounded = crossed_of_scores(scores, covariance, (2, 2), 400, bounds=(0.0, 1.0))
    assert isinstance(detectable_difference(bounded), Refusal)
    wide = crossed_of_scores(scores, covariance, (2, 2), 400, bounds=(0.0, 100.0))
    assert detectable_difference(wide) == free
    # At a look, alpha is of the whole design.
    seen = at_look(crossed_of_scores(scores, covariance, (2, 2), 400), Looks((5, 10)).at(5))
    at = detectable_difference(seen)
    assert isinstance(at, Detectable) and at.alpha < 0.05 and at.difference > free.difference


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.05, 0.05), st.integers(2, 10), st.sampled_from([*LOOKS, Anytime()]))
def test_p_is_small_exactly_where_the_repeated_interval_leaves_0_out(
    gap: float, seeds: int, design: Looks | Anytime
) -> None:
    rng = np.random.default_rng(seeds)
    scores = 0.8 + 0.01 * rng.standard_normal(2 * seeds)
    scores[:seeds] += gap
    covariance = 1e-6 * (np.eye(2 * seeds) + 1)
    found = at_look(crossed_of_scores(scores, covariance, (seeds, seeds), 400), design.at(seeds))
    assert (found.p_value <= 0.05) == (found.interval.low > 0 or found.interval.high < 0)
    verdict = equivalence(found, margin=0.02)
    assert verdict.equivalent == (-0.02 < verdict.interval.low and verdict.interval.high < 0.02)
    once = crossed_of_scores(scores, covariance, (seeds, seeds), 400)
    assert found.interval.half_width > once.interval.half_width and found.p_value >= once.p_value
    assert found.interval.method.endswith("repeated")


@pytest.mark.parametrize("design", [Looks((3, 6)), Looks((5, 10), "pocock"), Anytime()], ids=str)
@pytest.mark.parametrize("texts", [False, True], ids=["seeds alone", "seeds and texts"])
def test_two_equal_strategies_are_seldom_called_different_at_any_look(design: Looks | Anytime, texts: bool) -> None:
    """A simulation by the rule of the table of pairs, and what the same looks cost where nobody declared them."""
    seeds = design.seeds if isinstance(design, Looks) else tuple(range(2, 13))
    reading = Reading(seeds, design, seed_points=1.0, texts=texts)
    found = read_often(reading, 4_000)
    assert max(found["different at any look"], found["called equal at any look"]) < 0.065
    again = read_often(replace(reading, design=None), 4_000)
    assert again["different at any look"] > 0.06 or texts
    assert again["different at any look"] > found["different at any look"] + 0.01


def test_a_difference_of_predictions_is_read_at_a_look_as_one_of_scores() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    runs = np.where(rng.random((10, 300)) < 0.85, labels, 1 - labels)
    found = crossed_difference(labels, runs[:5], runs[5:], classes=2)
    assert isinstance(found, Difference)
    seen = at_look(found, Looks((5, 10)).at(5))
    assert seen.parts == found.parts and seen.estimate == found.estimate and seen.p_value > found.p_value
