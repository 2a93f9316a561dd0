"""Holm's correction and equivalence against slow definitions; their level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tunebench.stats import Difference, delta_difference, equivalence, holm, seed_difference


def of_scores(first: np.ndarray, second: np.ndarray) -> Difference:
    difference = seed_difference(first, second)
    assert isinstance(difference, Difference)
    return difference


def around(centre: float, error: float) -> Difference:
    """Return a difference over 31 seeds with this standard error."""
    scores = np.linspace(-1, 1, 31)
    return of_scores(centre + error * np.sqrt(31) * scores / scores.std(ddof=1), np.zeros(31))


@given(st.lists(st.floats(0, 1), max_size=12))
@settings(max_examples=80, deadline=None)
def test_holm_is_the_step_down_procedure(p_values: list[float]) -> None:
    result = holm(p_values, alpha=0.05)
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - step) > 0.05:
            break
        rejected[index] = True
    assert list(result.rejected) == rejected
    for p, corrected in zip(p_values, result.p_values, strict=True):
        # By the closure principle: the largest Bonferroni p of any set of hypotheses of which this is the smallest.
        smaller = sorted(q for q in p_values if q < p)
        chain = [q * (len(p_values) - i) for i, q in enumerate(smaller)] + [p * (len(p_values) - len(smaller))]
        assert corrected == pytest.approx(min(1.0, max(chain)))


def test_holm_holds_the_family_error_where_uncorrected_tests_do_not() -> None:
    rng = np.random.default_rng(0)
    families = rng.random((1500, 6))
    assert 0.03 <= np.mean([any(holm(row).rejected) for row in families]) <= 0.06
    assert np.mean((families <= 0.05).any(1)) > 0.2


def test_holm_counts_comparisons_that_were_not_looked_at() -> None:
    seen, all_of_them = [0.003, 0.2], [0.003, 0.2, *[1.0] * 8]
    assert holm(seen, comparisons=10).p_values == pytest.approx(holm(all_of_them).p_values[:2])
    with pytest.raises(ValueError, match="comparisons"):
        holm(seen, comparisons=1)


def test_equivalences_tested_together_are_corrected_and_their_intervals_wider() -> None:
    scores = np.random.default_rng(0).normal(0, 1, 8), np.zeros(8)
    alone, together = (equivalence(of_scores(*scores), margin=2.0, comparisons=n) for n in (1, 6))
    assert together.tost_p == pytest.approx(min(1.0, 6 * alone.tost_p))
    assert together.interval.level == pytest.approx(1 - 0.1 / 6)
    for one in (alone, together):
        assert one.equivalent == (-2 < one.interval.low and one.interval.high < 2)
    with pytest.raises(ValueError, match="comparisons"):
        equivalence(of_scores(*scores), margin=2.0, comparisons=0)


@pytest.mark.parametrize("centre", [0.0, 0.8, -3.0])
def test_the_chance_to_be_within_the_margin_is_that_of_the_posterior(centre: float) -> None:
    scores = centre + np.random.default_rng(0).normal(0, 1, 6)
    error = scores.std(ddof=1) / np.sqrt(6)
    drawn = scores.mean() + error * np.random.default_rng(1).standard_t(5, 200_000)
    found = equivalence(of_scores(scores, np.zeros(6)), margin=1.0)
    assert found.within == pytest.approx((np.abs(drawn) < 1).mean(), abs=0.005)


def test_without_seeds_a_verdict_speaks_of_the_runs() -> None:
    labels = np.arange(4_000) % 2
    wrong = np.random.default_rng(0).uniform(size=(3, 4_000))
    first, second, third = (
        np.where(w < r, 1 - labels, labels) for w, r in zip(wrong, (0.1, 0.1, 0.3), strict=True)
    )
    found = [delta_difference(labels, first, other, classes=2) for other in (second, third)]
    assert equivalence(found[0], margin=0.03).verdict == "equivalent on these runs"
    assert equivalence(found[1], margin=0.03).verdict == "different on these runs"
    assert "runs" in equivalence(found[1], margin=0.5).verdict


@pytest.mark.parametrize("p_values", [[-0.1], [1.2], [float("nan")]])
def test_holm_refuses_what_is_no_probability(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="p_values"):
        holm(p_values)


VERDICTS = {
    (True, True): "equivalent and different (small but real)",
    (True, False): "equivalent",
    (False, True): "different",
    (False, False): "inconclusive",
}


@given(st.floats(-3, 3), st.floats(0.1, 2), st.floats(0.2, 3))
@settings(max_examples=80, deadline=None)
def test_the_verdict_is_read_off_two_intervals(centre: float, spread: float, margin: float) -> None:
    scores = centre + spread * np.random.default_rng(0).standard_normal(8)
    difference = of_scores(scores, np.zeros(8))
    result = equivalence(difference, margin=margin)
    error = scores.std(ddof=1) / np.sqrt(8)
    low, high = (scores.mean() + stats.t.ppf(q, 7) * error for q in (0.05, 0.95))
    inside = bool(-margin < low and high < margin)
    apart = bool(difference.interval.low > 0 or difference.interval.high < 0)
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high))
    assert result.verdict == VERDICTS[inside, apart]
    assert (result.equivalent, result.different) == (inside, apart)
    assert (result.interval.level, result.over) == (pytest.approx(0.9), difference.over)


def test_each_verdict_is_reached() -> None:
    cases = {(0.0, 0.1): "equivalent", (1.0, 0.1): "different", (0.0, 1.0): "inconclusive"}
    for (centre, spread), verdict in cases.items():
        assert equivalence(around(centre, spread), margin=0.5).verdict == verdict
    small = equivalence(around(0.3, 0.05), margin=0.5)
    assert small.verdict == "equivalent and different (small but real)"
    # A corrected p takes the place of the raw one.
    assert equivalence(around(0.3, 0.05), margin=0.5, p_value=0.4).verdict == "equivalent"


def test_equivalence_is_claimed_wrongly_at_its_level() -> None:
    # The true difference is the margin itself: the worst case in which equivalence is false.
    rng = np.random.default_rng(0)

    def by_t() -> bool:
        gaps = rng.normal(0.01, 0.004, 5)
        return equivalence(of_scores(gaps, np.zeros(5)), margin=0.01).equivalent

    def by_a_wide_one() -> bool:
        return equivalence(around(rng.normal(0.01, 0.006), 0.006), margin=0.01).equivalent

    assert 0.03 <= np.mean([by_t() for _ in range(800)]) <= 0.07
    # The 1 - 2 alpha interval is as wide as the margins: it sticks out on the far side most of the time.
    assert np.mean([by_a_wide_one() for _ in range(300)]) <= 0.07


@pytest.mark.parametrize("options", [{"margin": 0.0}, {"margin": -1.0}, {"margin": float("nan")}])
def test_a_margin_must_be_positive(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence(around(49.0, 29.0), **options)


def test_alpha_must_leave_an_interval() -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        equivalence(around(49.0, 29.0), margin=1.0, alpha=0.5)
