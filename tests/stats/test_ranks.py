"""Mean ranks over data sets: against all orders there are, published values, and simulated truth."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tunebench.stats import MeanRanks, Refusal, critical_difference, mean_ranks
from tunebench.stats.ranks import friedman


def ranks_of(merits: np.ndarray) -> MeanRanks:
    found = mean_ranks(merits)
    assert isinstance(found, MeanRanks)
    return found


def test_the_critical_difference_is_that_of_the_published_table() -> None:
    """Demsar (2006), table 5 (a): q of 0.05 for 2 to 10 strategies, and the difference of his example."""
    published = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for k, q in published.items():
        assert critical_difference(k, 14) == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), abs=2e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_friedman_is_the_analysis_of_variance_of_ranks(seed: int) -> None:
    """Iman and Davenport's statistic is the F of two-way analysis of variance, ties or not."""
    merits = np.random.default_rng(seed).integers(0, 6, (8, 4)).astype(float) + 0.3 * np.arange(4)
    ranks = np.apply_along_axis(scipy_stats.rankdata, 1, merits)
    rows, columns, whole = ranks.mean(1, keepdims=True), ranks.mean(0), ranks.mean()
    between = 8 * ((columns - whole) ** 2).sum() / 3
    within = ((ranks - rows - columns + whole) ** 2).sum() / (3 * 7)
    assert friedman(ranks) == pytest.approx(scipy_stats.f.sf(between / within, 3, 21))


def test_friedman_is_near_what_all_orders_give() -> None:
    """Three strategies on five data sets have 6^5 orders, all as likely where nothing differs."""
    orders = [np.array(order) for order in permutations((1.0, 2.0, 3.0))]
    # By symmetry the first data set may be fixed.
    means = np.array([(orders[0] + sum(chosen)) / 5 for chosen in product(orders, repeat=4)])
    values = ((means - 2) ** 2).sum(1)
    for ranks in ([[1, 2, 3]] * 4 + [[2, 1, 3]], [[1, 2, 3]] * 3 + [[3, 2, 1], [2, 3, 1]]):
        here = np.array(ranks, dtype=float)
        exact = float((values >= ((here.mean(0) - 2) ** 2).sum() - 1e-9).mean())
        assert friedman(here) == pytest.approx(exact, abs=0.1)
    assert friedman(np.array([[1.0, 2, 3]] * 5)) == pytest.approx(float((values >= values.max() - 1e-9).mean()))


def test_two_strategies_are_compared_by_all_signs() -> None:
    rng = np.random.default_rng(3)
    merits = rng.normal(0.8, 0.05, (7, 2))
    gaps = merits[:, 0] - merits[:, 1]
    size = np.argsort(np.argsort(np.abs(gaps))) + 1
    sums = np.array(
        [sum(r for r, up in zip(size, signs, strict=True) if up) for signs in product((0, 1), repeat=7)]
    )
    seen = size[gaps > 0].sum()
    exact = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    found = ranks_of(merits)
    assert found.p_value == pytest.approx(exact)
    assert found.critical_difference is None


def test_ranks_groups_and_ties() -> None:
    merits = np.array([[0.9, 0.8, 0.5, 0.4]] * 12)
    merits[::2, :2] = merits[::2, 1::-1]  # the first two change places on every second data set
    found = ranks_of(merits)
    assert found.ranks == (1.5, 1.5, 3, 4)
    assert found.different
    critical = found.critical_difference
    assert critical is not None and 1 < critical < 1.5
    assert found.groups == ((0, 1), (2, 3))
    tied = ranks_of(np.full((6, 3), 0.5))
    assert tied.ranks == (2, 2, 2) and tied.p_value == 1 and tied.groups == ((0, 1, 2),)


def test_nothing_is_grouped_apart_without_a_difference_among_all() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        found = ranks_of(rng.normal(size=(8, 4)))
        false += found.groups != (tuple(np.argsort(found.ranks, kind="stable").tolist()),)
        assert found.different or len(found.groups) == 1
    assert false / 300 <= 0.08


def test_few_data_sets_and_one_strategy_are_refused() -> None:
    assert isinstance(mean_ranks(np.ones((4, 3))), Refusal)
    assert isinstance(mean_ranks(np.ones((9, 1))), Refusal)
