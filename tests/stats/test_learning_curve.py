"""Learning curves: the fit against SciPy's, coverage, queries, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from thorough import thorough
from tunebench.stats import (
    Crossing,
    Interval,
    LearningCurve,
    Refusal,
    Size,
    crossing_size,
    fit_learning_curve,
    labels_needed,
    score_at,
)
from tunebench.stats.curve_queries import _inverse
from tunebench.stats.learning_curve import EXPONENTS, _fit
from tunebench.stats.methods import percentile_ends

SIZES = np.array([500, 1000, 2500, 5000, 10000, 25000])
TRUTH = (0.93, 1.2, 0.4)


def power_law(sizes: np.ndarray | float, truth: tuple[float, float, float] = TRUTH) -> np.ndarray:
    return np.asarray(truth[0] - truth[1] * np.asarray(sizes, dtype=float) ** -truth[2])


def sample(
    rng: np.random.Generator,
    *,
    sizes: np.ndarray = SIZES,
    runs: int = 3,
    sd: float = 0.003,
    fade: float = 0.0,
    truth: tuple[float, float, float] = TRUTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose standard deviation falls with size to the power ``fade``."""
    every = np.repeat(sizes, runs)
    noise = sd * (every / sizes.max()) ** -fade * rng.standard_normal(len(every))
    return every, power_law(every, truth) + noise


def curve(rng: np.random.Generator, resamples: int = 399, **options: object) -> LearningCurve:
    found: LearningCurve | Refusal = Refusal("")
    while isinstance(found, Refusal):  # one true power law in a hundred is refused
        found = fit_learning_curve(*sample(rng, **options), rng=rng, resamples=resamples)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("sizes", [SIZES, SIZES[2:5]])
def test_the_fit_is_no_worse_than_scipys_within_the_same_bounds(sizes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    x, weights = sizes / np.exp(np.log(sizes).mean()), rng.uniform(0.5, 2, len(sizes))
    for _ in range(25):
        # Wide noise, so that the bounds bind in some of the cases.
        means = power_law(sizes) + 0.03 * rng.standard_normal(len(sizes))

        def residuals(p: np.ndarray, means: np.ndarray = means) -> np.ndarray:
            return np.asarray(np.sqrt(weights) * (means - p[0] + p[1] * x ** -p[2]))

        ours = _fit(x, means[None], weights)[0]
        assert ours[0] <= 1 and ours[1] >= 0 and EXPONENTS[0] - 1e-12 <= ours[2] <= EXPONENTS[1] + 1e-12
        theirs = min(
            least_squares(residuals, start, bounds=([-np.inf, 0, EXPONENTS[0]], [1, np.inf, EXPONENTS[1]])).cost
            for start in ([0.9, 0.05, 0.1], [0.9, 0.05, 0.5], [0.9, 0.05, 1.5])
        )
        assert (residuals(ours) ** 2).sum() / 2 <= theirs * (1 + 1e-3) + 1e-10


def test_without_noise_the_parameters_come_back() -> None:
    found = curve(np.random.default_rng(0), sd=1e-6)
    assert (found.ceiling, found.exponent) == (pytest.approx(0.93, abs=1e-3), pytest.approx(0.4, abs=0.01))
    assert found.drop == pytest.approx(1.2 * found.reference**-0.4, rel=0.01)
    assert (found.sizes, found.n_runs, found.over) == (tuple(SIZES.tolist()), 18, "seeds")
    needed = labels_needed(found, float(power_law(40000)))
    assert isinstance(needed, Size)
    assert needed.labels == pytest.approx(40000, rel=0.01) and needed.extrapolated
    assert needed.low <= 40000 * 1.01 and needed.high >= 40000 * 0.99
    inside = labels_needed(found, float(power_law(7000)))
    assert isinstance(inside, Size) and not inside.extrapolated


def test_the_order_of_runs_is_no_matter_and_the_seed_is_all() -> None:
    rng = np.random.default_rng(1)
    sizes, scores = sample(rng)
    order = rng.permutation(len(sizes))
    one = fit_learning_curve(sizes, scores, rng=np.random.default_rng(2), resamples=99)
    two = fit_learning_curve(sizes[order], scores[order], rng=np.random.default_rng(2), resamples=99)
    assert isinstance(one, LearningCurve) and isinstance(two, LearningCurve)
    assert one.draws == pytest.approx(two.draws, abs=1e-6)


@pytest.mark.parametrize(
    ("sizes", "runs", "fade"),
    [
        (SIZES, 3, 0.5),
        pytest.param(np.array([5000, 10000, 25000]), 4, 0.0, marks=thorough),
        pytest.param(SIZES, 3, 0.0, marks=thorough),
        pytest.param(SIZES, 1, 0.0, marks=thorough),
    ],
)
def test_scores_and_sizes_read_off_the_curve_cover(sizes: np.ndarray, runs: int, fade: float) -> None:
    rng = np.random.default_rng(3)
    held = np.zeros(3)
    for _ in range(300):
        found = curve(rng, sizes=sizes, runs=runs, fade=fade)
        for i, size in enumerate((sizes[1], 2 * sizes[-1])):
            interval = score_at(found, size)
            assert isinstance(interval, Interval)
            held[i] += interval.low <= power_law(size) <= interval.high
        # Before any refusal, which would choose among the samples.
        low, high = percentile_ends(_inverse(found.draws, float(power_law(1.5 * sizes[-1]))), 0.95)
        held[2] += low <= 1.5 * sizes[-1] / found.reference <= high
    assert ((0.92 <= held / 300) & (held / 300 <= 0.98)).all(), held / 300


@thorough
def test_labels_needed_cover_where_they_are_given() -> None:
    rng = np.random.default_rng(4)
    given = [labels_needed(curve(rng), float(power_law(12000))) for _ in range(300)]
    sizes = [each for each in given if isinstance(each, Size)]
    assert len(sizes) > 250
    assert 0.92 <= np.mean([each.low <= 12000 <= each.high for each in sizes]) <= 0.98


def test_noise_taken_from_the_residuals_says_so() -> None:
    rng = np.random.default_rng(5)
    assert curve(rng, runs=1).noise == "residuals of the fit"
    assert curve(rng, runs=2).noise == "between the runs of a size"


def refused(result: object, *texts: str) -> None:
    assert isinstance(result, Refusal)
    for text in texts:
        assert text in result.reason


def fit(sizes: list[float], scores: list[float]) -> LearningCurve | Refusal:
    return fit_learning_curve(np.array(sizes), np.array(scores), rng=np.random.default_rng(0), resamples=99)


def test_data_that_cannot_carry_a_curve_are_refused() -> None:
    refused(fit([100, 100, 200, 200], [0.7, 0.72, 0.8, 0.81]), "at least 3", "there are 2")
    refused(fit([100, 200, 400], [0.7, 0.8, 0.85]), "one run at each of 3 sizes")
    refused(fit([100, 200, 400] * 2, [0.7, 0.8, 0.85] * 2), "gave the same score")
    sizes = [100, 100, 100, 200, 200, 200, 400, 400, 400]
    falling = [0.80, 0.81, 0.80, 0.85, 0.86, 0.85, 0.70, 0.71, 0.71]
    refused(fit(sizes, falling), "falls from 0.8533 at 200 labels to 0.7067 at 400")
    # The same fall is no reason where the runs scatter by more.
    scattered = [0.6, 0.81, 0.99, 0.65, 0.86, 0.99, 0.5, 0.71, 0.92]
    assert isinstance(fit(sizes, scattered), LearningCurve)


def test_scores_off_every_power_law_are_refused_and_a_power_law_seldom_is() -> None:
    rng = np.random.default_rng(11)
    sizes = np.repeat(SIZES, 3)
    step = np.where(sizes > 3_000, 0.9, 0.8)  # nothing, then everything

    def refused(means: np.ndarray) -> bool:
        found = fit_learning_curve(sizes, means + 0.004 * rng.standard_normal(len(sizes)), rng=rng, resamples=99)
        return isinstance(found, Refusal) and "power law" in found.reason

    assert all(refused(step) for _ in range(10))
    assert np.mean([refused(power_law(sizes)) for _ in range(100)]) <= 0.04
    few = curve(rng, sizes=SIZES[2:5])
    assert few.fit_p is None


def test_a_flat_or_rising_curve_is_seldom_refused_as_falling() -> None:
    rng = np.random.default_rng(6)
    results = []
    for _ in range(300):
        sizes = np.repeat([100, 200, 400, 800], 3)
        results.append(fit_learning_curve(sizes, rng.normal(0.9, 0.01, 12), rng=rng, resamples=99))
    assert np.mean([isinstance(each, Refusal) for each in results]) <= 0.08


def test_questions_beyond_the_data_are_refused() -> None:
    found = curve(np.random.default_rng(7), runs=6, sd=0.001)
    refused(labels_needed(found, 0.95), "above", "levels off")
    refused(labels_needed(found, float(power_law(150000))), "beyond 4 times the largest size that was run, 25,000")
    refused(labels_needed(found, float(power_law(60))), "below 1/4 of the smallest")
    refused(score_at(found, 100001), "beyond 4 times")
    assert isinstance(score_at(found, 100000), Interval)
    vague = curve(np.random.default_rng(8), sizes=np.array([5000, 7000, 10000]), runs=2, sd=0.02)
    refused(labels_needed(vague, float(np.mean(vague.means))), "factor of 10")
    with pytest.raises(ValueError, match="score must be finite"):
        labels_needed(found, float("nan"))
    with pytest.raises(ValueError, match="size must be positive"):
        score_at(found, 0)


@pytest.mark.parametrize(
    ("sizes", "scores"), [([1, 2], [0.5]), ([0, 1, 2], [0.5, 0.6, 0.7]), ([1], [float("nan")])]
)
def test_what_does_not_fit_is_an_error(sizes: list[float], scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"size|finite"):
        fit(sizes, scores)


#: Crosses TRUTH at 4,000 labels: better before, worse after.
OTHER = (0.90, (1.2 * 4000**-0.4 - 0.03) / 4000**-0.6, 0.6)


def test_curves_cross_where_their_laws_do_and_the_interval_covers() -> None:
    assert power_law(4000, OTHER) == pytest.approx(power_law(4000))
    rng = np.random.default_rng(9)
    found = []
    for _ in range(150):
        result = crossing_size(curve(rng, runs=5), curve(rng, runs=5, truth=OTHER))
        if isinstance(result, Crossing):
            found.append(result)
    assert len(found) > 130
    assert {each.leads_below for each in found} == {"second"}
    assert 0.92 <= np.mean([each.size.low <= 4000 <= each.size.high for each in found]) <= 0.98
    turned = crossing_size(curve(rng, truth=OTHER, sd=1e-5), curve(rng, sd=1e-5))
    assert isinstance(turned, Crossing)
    assert turned.leads_below == "first" and turned.size.labels == pytest.approx(4000, rel=0.02)


def test_curves_that_do_not_cross_clearly_are_refused() -> None:
    rng = np.random.default_rng(10)
    low = curve(rng, truth=(0.83, 1.2, 0.4), sd=0.001)
    refused(crossing_size(curve(rng, sd=0.001), low), "do not cross between 500 and 100,000 labels")
    apart = curve(rng, sizes=SIZES * 100, sd=0.001)
    refused(crossing_size(apart, low), "no range of sizes in common")
    near = crossing_size(curve(rng, sd=0.02), curve(rng, sd=0.02))
    assert isinstance(near, Refusal)


def given(exponents: np.ndarray, *, ceiling: float = 0.9, drop: float = 0.1) -> LearningCurve:
    """A curve known to pass ``ceiling - drop`` at 1,000 labels, with these draws of its exponent."""
    draws = np.column_stack([np.full_like(exponents, ceiling), np.full_like(exponents, drop), exponents])
    middle = float(np.median(exponents))
    return LearningCurve(
        ceiling, drop, middle, 1000.0, (250, 1000, 4000), (0.7, 0.8, 0.85), 9, "given", "given", "seeds", draws
    )


def test_an_interval_is_given_up_to_a_factor_of_ten() -> None:
    # 0.85 is reached at 1000 * 2 ** (1 / exponent) labels.
    found = labels_needed(given(np.linspace(0.5, 2, 999)), 0.85)
    assert isinstance(found, Size)
    low, high = 1000 * 2 ** (1 / np.quantile(np.linspace(0.5, 2, 999), [0.975, 0.025]))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)
    assert (found.level, found.method, found.over) == (0.95, "given", "seeds")
    before = labels_needed(given(np.full(999, 0.5)), 0.9 - 0.1 * 0.2**-0.5)
    assert isinstance(before, Size) and before.labels == pytest.approx(200) and before.extrapolated
    refused(labels_needed(given(np.linspace(0.2, 2, 999)), 0.85), "goes from 1,4", "factor of 10")
    assert isinstance(labels_needed(given(np.linspace(0.2, 2, 999)), 0.85, level=0.5), Size)


def test_draws_that_do_not_cross_count_as_crossing_beyond() -> None:
    flat = given(np.full(999, 0.5), ceiling=0.85, drop=0.0)
    # Draws pass 0.85 at 1000 * 2 ** (1 / exponent): beyond 16,000 labels below an exponent of 0.25.
    few = crossing_size(given(np.linspace(0.24, 1, 999)), flat)
    assert isinstance(few, Crossing) and few.leads_below == "second"
    assert few.size.labels == pytest.approx(1000 * 2 ** (1 / 0.62), rel=0.01)
    assert few.size.high == pytest.approx(1000 * 2 ** (1 / (0.24 + 0.025 * 0.76)), rel=0.02)
    refused(crossing_size(given(np.linspace(0.2, 1, 999)), flat), "cross near 3,", "it may be above 2,0")
    # The other end: the flat curve is passed before the smallest size in some draws.
    early = given(np.full(999, 0.5), ceiling=0.76, drop=0.0)
    refused(crossing_size(given(np.linspace(0.2, 1, 999)), early), "it may be below")


def test_draws_that_cross_the_other_way_round_are_refused() -> None:
    flat = given(np.full(999, 0.5), ceiling=0.85, drop=0.0)
    mixed = given(np.full(999, 0.5))
    draws = mixed.draws.copy()
    draws[:100] = [0.80, -0.1, 0.5]  # falls from above
    refused(crossing_size(replace(mixed, draws=draws), flat), "10% of the resampled curves cross the other way")
    draws[10:100] = [0.9, 0.1, 0.5]
    assert isinstance(crossing_size(replace(mixed, draws=draws), flat), Crossing)
    draws[:10] = [0.9, -1e-13, 0.5]  # all but level, so its points meet nowhere
    assert isinstance(crossing_size(replace(mixed, draws=draws), flat), Crossing)
