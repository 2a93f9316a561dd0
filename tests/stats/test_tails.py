"""The test of Cochran and Cox against its definition; its level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tunebench.stats.tails import critical, mean_quantile, tail_of, tails_of, two_sided

PART = st.tuples(st.floats(1e-6, 1e3), st.floats(1, 1e5))


@given(st.lists(PART, min_size=1, max_size=3), st.floats(1e-12, 0.4999))
@settings(max_examples=60, deadline=None)
def test_the_critical_value_is_a_weighted_mean_and_its_tail_inverts_it(
    parts: list[tuple[float, float]], tail: float
) -> None:
    weights = np.array([variance for variance, _ in parts])
    quantiles = np.array([stats.t.isf(tail, df) for _, df in parts])
    bound = critical(tuple(parts), tail)
    assert bound == pytest.approx(float(weights @ quantiles / weights.sum()))
    assert tail_of(tuple(parts), bound) == pytest.approx(tail, rel=1e-6)
    assert tail_of(tuple(parts), -bound) == pytest.approx(1 - tail, rel=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.5, -2.0, 7.0])
def test_one_part_is_students_t(ratio: float) -> None:
    assert tail_of(((0.3, 4.0),), ratio) == pytest.approx(stats.t.sf(ratio, 4))
    assert two_sided(((0.3, 4.0), (0.0, 1.0)), ratio) == pytest.approx(2 * stats.t.sf(abs(ratio), 4))


def test_a_ratio_beyond_all_numbers_has_a_tail_all_the_same() -> None:
    assert 0 <= two_sided(((1.0, 1e4),), 1e6) < 1e-50


@pytest.mark.parametrize("df", [1, 2, 4])
def test_the_level_holds_where_satterthwaites_does_not(df: int) -> None:
    """The estimate is normal with a part of its variance estimated; the rejections are counted."""
    rng = np.random.default_rng(0)
    worst = {"ours": 0.0, "satterthwaite": 0.0}
    for share in (0.3, 0.7, 0.9, 0.97):
        seen = share * rng.chisquare(df, 20_000) / df
        ratios = rng.standard_normal(20_000) / np.sqrt(seen + 1 - share)
        parts = np.stack([seen, np.full(20_000, 1 - share)], -1)
        bound = mean_quantile(parts, np.broadcast_to([df, 1e6], parts.shape), 0.025)
        whole = stats.t.isf(0.025, df * (seen + 1 - share) ** 2 / seen**2)
        worst["ours"] = max(worst["ours"], float((np.abs(ratios) > bound).mean()))
        worst["satterthwaite"] = max(worst["satterthwaite"], float((np.abs(ratios) > whole).mean()))
    assert worst["ours"] < 0.065 and worst["satterthwaite"] > (0.11 if df == 1 else 0.055)


def test_many_at_once_are_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    variances, df, ratios = rng.uniform(0, 1, (7, 2)), rng.uniform(1, 30, (7, 2)), rng.normal(0, 3, 7)
    each = [tail_of(tuple(zip(v, d, strict=True)), r) for v, d, r in zip(variances, df, ratios, strict=True)]
    assert tails_of(variances, df, ratios) == pytest.approx(each)
