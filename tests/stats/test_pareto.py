"""The Pareto front against loops, and its probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.populations import sample_runs
from tunebench.stats import on_front, pareto_front, score_draws

points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=10)


@given(points)
@settings(max_examples=100, deadline=None)
def test_the_front_is_what_no_other_point_beats(values: list[tuple[int, int]]) -> None:
    scores, costs = np.array(values, dtype=float).T
    expected = [
        not any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in values) for score, cost in values
    ]
    assert on_front(scores, costs).tolist() == expected
    assert any(expected)


def test_probabilities_are_shares_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    scores, costs = np.array([0.9, 0.89, 0.8]), np.array([3.0, 2.0, 2.5])
    draws = scores + 0.02 * rng.standard_normal((500, 3))
    front = pareto_front(scores, costs, draws, over="test examples")
    slow = np.mean([[bool(x) for x in on_front(row, costs)] for row in draws], axis=0)
    assert front.on_front == (True, True, False)
    assert front.probability == pytest.approx(slow.tolist())
    # The dearest is on the front when it is the best: P(N(0.01, 0.0283) > 0), as the third hardly ever is.
    assert front.probability[0] == pytest.approx(0.638, abs=0.06)
    assert front.probability[1] == 1  # the cheapest always is
    assert front.over == "test examples"


def test_costs_may_vary_too() -> None:
    rng = np.random.default_rng(1)
    draws = np.tile([0.9, 0.9], (4000, 1))
    costs = np.array([10.0, 10.5]) + rng.standard_normal((4000, 2))
    front = pareto_front(np.array([0.9, 0.9]), np.array([10.0, 10.5]), draws, over="seeds", cost_draws=costs)
    assert front.on_front == (True, False)
    assert front.probability == pytest.approx([0.638, 0.362], abs=0.03)


def test_score_draws_hold_what_they_say() -> None:
    rng = np.random.default_rng(2)
    labels, first, common = sample_runs(rng, 400, 6, ease=1.0, seed_sd=0.4)
    _, second, _ = sample_runs(rng, 400, 2, ease=1.0, seed_sd=0.4, common=common)
    both = [first, second]
    fixed = score_draws(labels, both, classes=2, rng=rng, over="test examples")
    full = score_draws(labels, both, classes=2, rng=rng)
    scores = [(each == labels).mean(1) for each in both]
    for draws in (fixed, full):
        assert draws.shape == (1999, 2)
        assert draws.mean(0) == pytest.approx([s.mean() for s in scores], abs=0.01)
    # Seeds add their variance over their number (and their own share of the examples').
    added = full.var(0) - fixed.var(0)
    assert added == pytest.approx([s.var(ddof=1) / len(s) for s in scores], rel=0.25)
    # The same examples for both: what is hard for one is hard for the other.
    assert np.corrcoef(fixed.T)[0, 1] > 0.5


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1])
    pair = np.stack([labels, labels])
    with pytest.raises(ValueError, match="over must be"):
        score_draws(labels, [pair], classes=2, rng=rng, over="seeds")
    with pytest.raises(ValueError, match="same test examples"):
        score_draws(labels, [pair, pair[:, :2]], classes=2, rng=rng)
    with pytest.raises(ValueError, match="at least 2 seeds"):
        score_draws(labels, [pair, labels], classes=2, rng=rng)
    with pytest.raises(ValueError, match="one score, one cost"):
        pareto_front(np.ones(2), np.ones(3), np.ones((5, 2)), over="seeds")
    with pytest.raises(ValueError, match="costs holds a value that is not finite"):
        pareto_front(np.ones(2), np.array([1, np.nan]), np.ones((5, 2)), over="seeds")
