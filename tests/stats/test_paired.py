"""Paired comparisons against slow definitions; their level and coverage."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stats.populations import sample_runs, share, slow_accuracy, slow_macro_f1, true_score
from thorough import mostly_thorough
from tunebench.stats import (
    ACCURACY,
    MACRO_F1,
    Anytime,
    Difference,
    Look,
    Looks,
    Refusal,
    at_look,
    crossed_difference,
    delta_difference,
    equivalence,
    mcnemar,
    seed_difference,
)
from tunebench.stats.methods import LEAST
from tunebench.stats.tails import two_sided
from tunebench.tasks.metrics import METRICS


def known(result: Difference | Refusal) -> Difference:
    assert isinstance(result, Difference)
    return result


def predictions_of(counts: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two predictions with these many both right, first only, second only, both wrong."""
    labels = np.zeros(sum(counts), dtype=int)
    return labels, np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("runs", [(1, 1), (3, 3), (2, 3)])
def test_a_difference_has_the_same_test_in_both_directions(name: str, runs: tuple[int, int]) -> None:
    rng, labels, metric = np.random.default_rng(3), np.arange(120) % 2, METRICS[name]
    values = []
    for count, noise in zip(runs, (1.0, 1.6), strict=True):
        logits = 2.0 * np.eye(2)[labels] + rng.normal(0, noise, (count, 120, 2))
        values.append(logits.argmax(2) if metric.needs == "labels" else np.stack(list(map(metric.decode, logits))))
    for both in (values, [values[0], values[0]]):

        def compared(first: np.ndarray, second: np.ndarray) -> Difference:
            if runs == (1, 1):
                return delta_difference(labels, first, second, classes=2, metric=metric)
            pairing = "same seeds" if len(first) == len(second) else "different seeds"
            return known(
                crossed_difference(labels, first, second, classes=2, metric=metric, pairing=pairing)  # type: ignore[arg-type]
            )

        there, back = compared(both[0], both[1]), compared(both[1], both[0])
        assert back.estimate == pytest.approx(-there.estimate, abs=1e-12)
        assert back.p_value == pytest.approx(there.p_value, rel=1e-9)
        assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))


@given(st.tuples(st.integers(1, 20), st.integers(0, 15), st.integers(0, 15), st.integers(0, 5)))
@settings(max_examples=60, deadline=None)
def test_mcnemar_sums_the_binomial(counts: tuple[int, int, int, int]) -> None:
    result = mcnemar(*predictions_of(counts))
    _, one, other, _ = counts
    both = one + other
    chances = [math.comb(both, k) / 2**both for k in range(both + 1)]
    # Every outcome that is no likelier than the one seen, and half of those as likely for mid-p.
    seen = chances[one]
    rarer = sum(c for c in chances if c < seen * (1 - 1e-9))
    equal = sum(c for c in chances if abs(c - seen) <= seen * 1e-9)
    assert (result.only_first, result.only_second) == (one, other)
    assert result.exact_p == pytest.approx(rarer + equal)
    assert result.mid_p == pytest.approx(rarer + equal / 2 if one != other else 1 - chances[one] + chances[one])
    assert result.exact_p == pytest.approx(stats.binomtest(one, both).pvalue if both else 1.0)
    assert result.discordance == both / sum(counts)
    assert result.interval.estimate == (one - other) / sum(counts)


def test_mcnemar_holds_its_level_and_its_interval_covers() -> None:
    def trial(rng: np.random.Generator) -> tuple[float, float, bool]:
        labels, a, b = predictions_of(tuple(rng.multinomial(200, [0.8, 0.08, 0.08, 0.04]).tolist()))
        result = mcnemar(labels, a, b)
        return result.exact_p, result.mid_p, result.interval.low <= 0 <= result.interval.high

    rng = np.random.default_rng(0)
    exact, mid, covered = np.array([trial(rng) for _ in range(1500)]).T
    assert (exact <= 0.05).mean() < 0.045 < 0.05
    assert 0.03 <= (mid <= 0.05).mean() <= 0.06
    assert 0.935 <= covered.mean() <= 0.975


def test_bonett_and_price_add_one_discordant_example_each_way() -> None:
    interval = mcnemar(*predictions_of((10, 7, 2, 3)), level=0.9).interval
    one, other = 8 / 24, 3 / 24
    reach = 1.6448536 * math.sqrt((one + other - (one - other) ** 2) / 24)
    assert (interval.low, interval.high) == pytest.approx((one - other - reach, one - other + reach))


def test_mcnemar_refuses_other_examples() -> None:
    with pytest.raises(ValueError, match=r"same test examples.*\(3,\).*\(2,\)"):
        mcnemar(np.zeros(3, dtype=int), np.zeros(3, dtype=int), np.zeros(2, dtype=int))


def test_the_delta_method_is_the_large_sample_limit_of_resampling_and_of_mcnemar() -> None:
    rng = np.random.default_rng(3)
    labels, runs, _ = sample_runs(rng, 2000, 2, ease=1.0, seed_sd=0.3)

    def f1_of_rows(true: np.ndarray, run: np.ndarray) -> np.ndarray:
        pairs = [(true == which, run == which) for which in range(2)]
        return np.mean([2 * (a & b).sum(1) / (a.sum(1) + b.sum(1)) for a, b in pairs], axis=0)

    resampled = labels[(indices := rng.integers(0, 2000, (1500, 2000)))]
    for metric, slow, of_rows in (
        (MACRO_F1, lambda true, run: slow_macro_f1(true, run, 2), f1_of_rows),
        (ACCURACY, slow_accuracy, lambda true, run: (true == run).mean(1)),
    ):
        found = delta_difference(labels, runs[0], runs[1], classes=2, metric=metric)
        assert found.estimate == pytest.approx(slow(labels, runs[0]) - slow(labels, runs[1]))
        assert (found.over, found.interval.n_examples, found.interval.n_seeds) == ("test examples", 2000, 1)
        drawn = of_rows(resampled, runs[0][indices]) - of_rows(resampled, runs[1][indices])
        assert found.standard_error == pytest.approx(drawn.std(), rel=0.05)
        beyond = 2 * min((drawn <= 0).mean(), (drawn >= 0).mean())
        assert found.p_value == pytest.approx(beyond, abs=0.03)
    one, other = ((run == labels).astype(float) for run in runs)
    paired = stats.ttest_rel(one, other)
    by_accuracy = delta_difference(labels, runs[0], runs[1], classes=2, metric=ACCURACY)
    assert by_accuracy.p_value == pytest.approx(paired.pvalue, rel=5e-3)
    assert by_accuracy.p_value == pytest.approx(mcnemar(labels, *runs).mid_p, abs=0.01)


def test_the_delta_method_gives_one_p_whichever_way_round_the_pair_is() -> None:
    labels, runs, _ = sample_runs(np.random.default_rng(4), 500, 2, ease=1.0, seed_sd=0.4)
    one = delta_difference(labels, runs[0], runs[1], classes=2)
    other = delta_difference(labels, runs[1], runs[0], classes=2)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9) and one.estimate == -other.estimate


def test_the_difference_of_several_runs_is_that_of_their_means() -> None:
    labels, runs, _ = sample_runs(np.random.default_rng(1), 100, 5, ease=1.0, seed_sd=0.3)
    result = delta_difference(labels, runs[:2], runs[2:], classes=2, metric=ACCURACY)
    scores = [slow_accuracy(labels, run) for run in runs]
    assert result.estimate == pytest.approx(np.mean(scores[:2]) - np.mean(scores[2:]))
    assert result.interval.n_seeds == 2


def test_the_delta_method_covers_and_holds_its_level() -> None:
    def trial(rng: np.random.Generator, gap: float) -> Difference:
        labels, first, common = sample_runs(rng, 400, 1, ease=1.0 + gap, seed_sd=0)
        _, second, _ = sample_runs(rng, 400, 1, ease=1.0, seed_sd=0, common=common)
        return delta_difference(labels, first, second, classes=2)

    assert 0.02 <= share(400, lambda rng: trial(rng, 0).p_value <= 0.05) <= 0.08
    truth = true_score(1.3, 0) - true_score(1.0, 0)

    def held(rng: np.random.Generator) -> bool:
        found = trial(rng, 0.3).interval
        return found.low <= truth <= found.high

    assert 0.92 <= share(400, held) <= 0.98


def test_equal_predictions_are_no_certainty() -> None:
    labels, runs, _ = sample_runs(np.random.default_rng(0), 200, 3, ease=1.0, seed_sd=0.3)
    result = delta_difference(labels, runs[0], runs[0], classes=2)
    crossed = known(crossed_difference(labels, runs, runs, classes=2))
    for each in (result, crossed):
        assert each.estimate == pytest.approx(0, abs=1e-15) and each.p_value == pytest.approx(1)
        assert 1 / 200 < each.interval.half_width < 10 / 200


@pytest.mark.parametrize(("pairing", "test"), [("same seeds", "ttest_rel"), ("different seeds", "ttest_ind")])
def test_seed_difference_is_scipys_t_test(pairing: Any, test: str) -> None:
    first, second = np.array([0.9, 0.88, 0.91, 0.9]), np.array([0.88, 0.87, 0.9, 0.86])
    options = {"equal_var": False} if test == "ttest_ind" else {}
    theirs = getattr(stats, test)(first, second, **options)
    result = known(seed_difference(first, second, pairing=pairing))
    assert result.p_value == pytest.approx(theirs.pvalue)
    assert result.degrees_of_freedom == pytest.approx(theirs.df)
    ends = theirs.confidence_interval(0.95)
    assert (result.interval.low, result.interval.high) == pytest.approx((ends.low, ends.high))
    assert (result.over, result.seed_variance, result.example_variance) == (
        "seeds",
        pytest.approx(result.standard_error**2),
        None,
    )


def test_different_seeds_may_differ_in_number() -> None:
    result = known(seed_difference(np.array([0.9, 0.8]), np.array([0.7, 0.6, 0.8]), pairing="different seeds"))
    assert result.estimate == pytest.approx(0.15) and result.interval.n_seeds == 2


def test_seeds_without_variation_or_company_are_refused() -> None:
    constant = seed_difference(np.array([0.9, 0.8]), np.array([0.8, 0.7]))
    assert isinstance(constant, Refusal) and "the same for every seed" in constant.reason
    labels = np.array([0, 1, 1])
    for lone in (
        seed_difference(np.array([0.9]), np.array([0.8])),
        crossed_difference(labels, labels, labels, classes=2),
    ):
        assert isinstance(lone, Refusal) and "one seed" in lone.reason


def test_crossed_difference_against_its_definition() -> None:
    rng = np.random.default_rng(2)
    labels, first, common = sample_runs(rng, 150, 4, ease=1.2, seed_sd=0.3)
    _, second, _ = sample_runs(rng, 150, 4, ease=1.0, seed_sd=0.3, common=common)
    result = known(crossed_difference(labels, first, second, classes=2, metric=ACCURACY))
    table = (first == labels).astype(float) - (second == labels)
    gaps = table.mean(1)
    within = [[sum((x - x.mean()) * (y - y.mean())) / 150**2 for y in table] for x in table]
    shared = np.mean([within[i][j] for i in range(4) for j in range(4) if i != j])
    own = np.mean([within[i][i] for i in range(4)]) - shared
    between = max(gaps.var(ddof=1), LEAST * own) / 4
    variance = between + max(shared, 0)
    df = variance**2 / (between**2 / 3 + max(shared, 0) ** 2 / 149)
    assert result.standard_error**2 == pytest.approx(variance)
    assert result.degrees_of_freedom == pytest.approx(df)
    # The p value is that at which the weighted mean of the parts' critical values is the ratio.
    tail = result.p_value / 2
    bound = (between * stats.t.isf(tail, 3) + max(shared, 0) * stats.t.isf(tail, 149)) / variance
    assert abs(gaps.mean()) / math.sqrt(variance) == pytest.approx(bound)
    reach = (between * stats.t.isf(0.025, 3) + max(shared, 0) * stats.t.isf(0.025, 149)) / math.sqrt(variance)
    assert result.interval.half_width == pytest.approx(reach)
    assert result.seed_variance == pytest.approx(between) and result.seed_df == pytest.approx(3)


def test_crossed_difference_of_different_seeds_against_its_definition() -> None:
    rng = np.random.default_rng(6)
    labels, first, common = sample_runs(rng, 150, 3, ease=1.2, seed_sd=0.5)
    other = 0.5 * common + rng.standard_normal(150)
    _, second, _ = sample_runs(rng, 150, 5, ease=1.0, seed_sd=0.5, common=other)
    result = known(crossed_difference(labels, first, second, classes=2, metric=ACCURACY, pairing="different seeds"))
    right = [each == labels for each in (first, second)]
    # What the seeds share is the covariance of two different runs, whichever strategies they are of.
    shared, between, spread = 0.0, 0.0, 0.0
    for table in right:
        size, variance = len(table), table.mean(1).var(ddof=1) / len(table)
        between, spread = between + variance, spread + variance**2 / (size - 1)
        pairs = [np.cov(x, y, bias=True)[0, 1] for i, x in enumerate(table) for y in table[:i]]
        shared += float(np.mean(pairs)) / 150
    shared -= 2 * float(np.mean([np.cov(x, y, bias=True)[0, 1] for x in right[0] for y in right[1]])) / 150
    assert result.example_variance == pytest.approx(shared) and shared > 0
    assert result.seed_variance == pytest.approx(between)
    df = (between + shared) ** 2 / (spread + shared**2 / 149)
    assert result.degrees_of_freedom == pytest.approx(df)


@pytest.mark.parametrize(
    ("shift", "pairing"),
    mostly_thorough(
        itertools.product([0.0, 0.3], ["same seeds", "different seeds"]),
        keep=lambda case: case in ((0.0, "different seeds"), (0.3, "same seeds")),
    ),
)
def test_crossed_difference_covers(shift: float, pairing: Any) -> None:
    # What the strategies find hard is partly their own, so that test sampling matters to the difference.
    def trial(rng: np.random.Generator) -> bool:
        labels, first, common = sample_runs(rng, 300, 4, ease=1.2 + shift, seed_sd=0.3)
        other = 0.8 * common + 0.6 * rng.standard_normal(300)
        _, second, _ = sample_runs(rng, 300, 4, ease=1.2, seed_sd=0.3, common=other)
        found = known(crossed_difference(labels, first, second, classes=2, pairing=pairing)).interval
        return found.low <= true_score(1.2 + shift, 0.3) - true_score(1.2, 0.3) <= found.high

    # The rule of Cochran and Cox is cautious with few seeds: it may cover more.
    assert 0.92 <= share(400, trial) <= 0.99


@pytest.mark.parametrize("look", [None, Looks((3, 4)).at(2), Anytime().at(2)], ids=str)
@pytest.mark.parametrize("comparisons", [1, 6])
@pytest.mark.parametrize("pairing", ["same seeds", "different seeds"])
def test_no_interval_of_a_difference_goes_beyond_what_is_possible(
    look: Look | None, comparisons: int, pairing: Any
) -> None:
    labels = np.arange(100) % 2
    wrong = np.random.default_rng(0).random((4, 100)) < np.array([[0.1], [0.5], [0.15], [0.2]])
    runs = np.where(wrong, 1 - labels, labels)
    found = crossed_difference(labels, runs[:2], runs[2:], classes=2, pairing=pairing, metric=ACCURACY)
    assert isinstance(found, Difference)
    seen = at_look(found, look)
    test = equivalence(seen, margin=0.01, comparisons=comparisons)
    for interval in (found.interval, seen.interval, test.interval, test.joint):
        assert -1 <= interval.low <= interval.estimate <= interval.high <= 1
    # Uncut, it is the interval of the same parts.
    assert max(-test.joint.low, test.joint.high) == 1
    assert two_sided(found.parts, found.estimate / found.standard_error) == found.p_value


@pytest.mark.parametrize(
    ("bounds", "most"), [((-1.0, 1.0), 2.0), ((0.0, 1.0), 1.0), ((0.0, None), None), ((None, 1.0), None)]
)
def test_a_difference_is_bounded_where_both_ends_of_the_score_are(
    bounds: tuple[float | None, float | None], most: float | None
) -> None:
    scores = np.array([0.1, 0.9])
    found = seed_difference(scores, scores[::-1], bounds=bounds)
    free = seed_difference(scores, scores[::-1])
    assert isinstance(found, Difference) and isinstance(free, Difference)
    ends = (found.interval.low, found.interval.high)
    assert ends == ((free.interval.low, free.interval.high) if most is None else (-most, most))
    assert free.interval.high > 2 and found.p_value == free.p_value


def test_pairing_by_seed_uses_what_the_seeds_share() -> None:
    def trial(rng: np.random.Generator, pairing: Any) -> float:
        effect = 0.5 * rng.standard_normal((5, 1))
        difficulty, labels = rng.standard_normal(300), np.arange(300) % 2
        right = [1.0 + difficulty + effect + 0.6 * rng.standard_normal((5, 300)) > 0 for _ in range(2)]
        first, second = (np.where(each, labels, 1 - labels) for each in right)
        return known(crossed_difference(labels, first, second, classes=2, pairing=pairing)).interval.half_width

    rng = np.random.default_rng(0)
    widths = [[trial(rng, pairing) for _ in range(20)] for pairing in ("same seeds", "different seeds")]
    assert np.median(widths[0]) < 0.5 * np.median(widths[1])


def test_shapes_that_differ_are_refused() -> None:
    labels, runs, _ = sample_runs(np.random.default_rng(0), 10, 3, ease=1.0, seed_sd=0.3)
    with pytest.raises(ValueError, match=r"same test examples.*\(3, 10\) and \(3, 9\)"):
        delta_difference(labels, runs, runs[:, :9], classes=2)
    with pytest.raises(ValueError, match=r"labels \(n,\) and predictions"):
        crossed_difference(labels[:9], runs, runs, classes=2)
    with pytest.raises(ValueError, match="as many runs of both strategies, got 3 and 2"):
        crossed_difference(labels, runs, runs[:2], classes=2)
    with pytest.raises(ValueError, match="as many runs"):
        seed_difference(np.array([0.9, 0.8]), np.array([0.9, 0.8, 0.7]))
    with pytest.raises(ValueError, match="pairing must be"):
        seed_difference(np.array([0.9, 0.8]), np.array([0.9, 0.8]), pairing="none")
