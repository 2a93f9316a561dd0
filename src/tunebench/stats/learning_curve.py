"""Learning curves: a power law through scores at several training sizes, and what it may be asked.

``score(n) = ceiling - drop (n / n0) ^ -exponent``, the error law ``a + b n^-c`` of Cortes et al. (1993)
and Hestness et al. (2017) read as a score, with ``n0`` the geometric mean of the sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy

from tunebench.stats.joint_counts import RESAMPLES
from tunebench.stats.results import Over, Refusal, finite

#: Training sizes that a curve takes.
LEAST_SIZES = 3
#: Range of the exponent. Published text-classification curves lie between 0.05 and 1.
EXPONENTS = (0.02, 2.0)
#: Range of b in "variance between runs of n labels proportional to n^-b", uniform before seeing the runs.
NOISE_SLOPES = (-1.0, 2.0)
#: Where the noise is taken from if sizes were run more than once.
BETWEEN = "between the runs of a size"


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve and its bootstrap draws.

    Attributes:
        ceiling: Score as the size goes to infinity, at most 1.
        drop: Distance to the ceiling at ``reference`` labels.
        exponent: How fast the distance falls.
        reference: ``n0``, in labels.
        sizes: Distinct training sizes, increasing.
        means: Mean score at each.
        n_runs: Runs behind it.
        noise: Where the noise was taken from.
        method: Name of the method.
        over: The source of variation of its intervals. Runs are taken as independent; the draw of the
            subset is held only as far as it changed from run to run, the test split not at all.
        draws: Ceiling, drop and exponent of each resample, shape ``(resamples, 3)``.
        fit_p: p value of the test that the means follow a power law; None where there are too few sizes to test it,
            or one run a size.
    """

    ceiling: float
    drop: float
    exponent: float
    reference: float
    sizes: tuple[int, ...]
    means: tuple[float, ...]
    n_runs: int
    noise: str
    method: str
    over: Over
    draws: np.ndarray = field(repr=False, compare=False)
    fit_p: float | None = None

    @property
    def parameters(self) -> np.ndarray:
        """Ceiling, drop and exponent, shape ``(1, 3)`` as :func:`curve_values` takes them."""
        return np.array([[self.ceiling, self.drop, self.exponent]])


@dataclass(frozen=True)
class Fall(Refusal):
    """Mean scores that fall with the training size, by more than noise.

    Attributes:
        sizes: A training size, and a larger one.
        means: The mean score at each.
    """

    sizes: tuple[int, int]
    means: tuple[float, float]


def fit_learning_curve(
    sizes: np.ndarray,
    scores: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> LearningCurve | Refusal:
    """Fit the curve by least squares over all runs, within bounds, with a parametric bootstrap.

    For a given exponent the rest is linear, so the fit is a search over the exponent alone (variable
    projection, Golub and Pereyra 1973), for all resamples at once, weighted by the inverse variances.

    Noise: the variance between the runs of one size falls as a power of the size, whose slope is uniform
    over :data:`NOISE_SLOPES` before the runs are seen. Each resample draws slope and variance from what
    the runs leave possible, then a normal error of that size for each mean, and is fitted again: a
    variance taken from few runs counts as uncertain as it is. Where every size has one run, the residuals
    of the fit give one variance for all.

    Args:
        sizes: Training examples of each run, shape ``(runs,)``.
        scores: Score of each run, shape ``(runs,)``.
        rng: Source of randomness.
        resamples: Number of resamples.

    Returns:
        The curve, or a refusal: fewer than 3 sizes, nothing to take the noise from, scores that fall with size by
        more than noise, or means that lie off every power law by more than noise (F test of lack of fit at 1 %).

    Raises:
        ValueError: Shapes differ, a size is not positive, or a score is not finite.
    """
    sizes, scores = finite(sizes, name="sizes"), finite(scores, name="scores")
    if sizes.shape != scores.shape or sizes.min() <= 0:
        raise ValueError(f"one positive size a score is needed, got {sizes.shape} and {scores.shape}")
    distinct, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    if len(distinct) < LEAST_SIZES:
        return Refusal(f"a curve needs at least {LEAST_SIZES} training sizes; there are {len(distinct)}")
    means = np.bincount(which, weights=scores) / counts
    reference = float(np.exp(np.log(distinct).mean()))
    x = distinct / reference
    noise = _noise_of(x, scores, which, means, counts)
    if isinstance(noise, Refusal):
        return noise
    expected = noise.expected(x, counts)
    fall = _fall(distinct, means, np.sqrt(expected), noise.df)
    if fall:
        return fall
    best = _fit(x, means[None], 1 / expected)
    fit_p = _lack_of_fit(x, means, best, expected, noise.df) if noise.source == BETWEEN else None
    if fit_p is not None and fit_p < 0.01:
        return Refusal(
            f"the scores do not follow a power law (test of lack of fit, p = {fit_p:.2g}): no learning curve"
        )
    draws = _fit(x, curve_values(best, x) + noise.draw(x, counts, rng, resamples), 1 / expected)
    return LearningCurve(
        float(best[0, 0]),
        float(best[0, 1]),
        float(best[0, 2]),
        reference,
        tuple(int(size) for size in distinct),
        tuple(means.tolist()),
        len(scores),
        noise.source,
        "power law, parametric bootstrap",
        "seeds",
        draws,
        fit_p,
    )


def curve_values(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the scores of curves (rows of ceiling, drop, exponent) at sizes over the reference.

    Args:
        parameters: Shape ``(curves, 3)``.
        x: Shape ``(points,)``.

    Returns:
        Shape ``(curves, points)``.
    """
    ceiling, drop, exponent = parameters.T[..., None]
    return np.asarray(ceiling - drop * x**-exponent)


@dataclass(frozen=True)
class _Noise:
    """The variance between runs of one size, proportional to a power of the size that is not known for sure.

    Attributes:
        source: Where it was taken from.
        df: Degrees of freedom of the variances.
        slopes: Powers, ``(slopes,)``: the variance is proportional to ``x ** -slope``.
        scales: The variance at ``x = 1`` for each slope.
        chances: How likely the runs make each slope.
    """

    source: str
    df: int
    slopes: np.ndarray
    scales: np.ndarray
    chances: np.ndarray

    def expected(self, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the expected variance of the mean of so many runs at each size."""
        return np.asarray((self.chances * self.scales) @ x ** -self.slopes[:, None] / counts)

    def draw(self, x: np.ndarray, counts: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
        """Draw errors of the means, ``(resamples, sizes)``: first a slope, then a variance, then normal errors."""
        drawn = rng.choice(len(self.slopes), size=resamples, p=self.chances)
        variances = self.scales[drawn, None] * x ** -self.slopes[drawn, None] / counts
        variances = variances * self.df / rng.chisquare(self.df, (resamples, 1))
        return np.asarray(rng.standard_normal((resamples, len(x))) * np.sqrt(variances))


def _noise_of(
    x: np.ndarray, scores: np.ndarray, which: np.ndarray, means: np.ndarray, counts: np.ndarray
) -> _Noise | Refusal:
    """Take the noise from the runs of each size; where each has one run, from the residuals of a fit.

    Args:
        x: Sizes over the reference, ``(sizes,)``.
        scores: One a run.
        which: The size of each run, as a position in ``x``.
        means: Mean score at each size.
        counts: Runs at each size.
    """
    df = len(scores) - len(x)
    if df:
        squares = np.bincount(which, weights=(scores - means[which]) ** 2)
        if not squares.any():
            return Refusal("the runs of each size gave the same score: nothing tells noise from curve")
        slopes = np.linspace(*NOISE_SLOPES, 41)
        return _Noise(BETWEEN, df, slopes, *_likely_noise(x, squares, counts - 1, slopes))
    if len(x) < 5:
        return Refusal(
            f"one run at each of {len(x)} sizes: nothing tells noise from curve; run more seeds or sizes"
        )
    df = len(x) - 3
    residuals = means - curve_values(_fit(x, means[None], counts), x)[0]
    scales = np.array([(residuals**2).sum() / df])
    return _Noise("residuals of the fit", df, np.zeros(1), scales, np.ones(1))


def _likely_noise(
    x: np.ndarray, squares: np.ndarray, df: np.ndarray, slopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance at ``x = 1`` for each slope, and how likely the runs make each slope.

    The likelihood is that of the sums of squares, chi-squared with ``df`` degrees of freedom each, the
    variance integrated out under its scale-invariant prior.
    """
    scales = x ** slopes[:, None] @ squares / df.sum()
    logs = -0.5 * df.sum() * np.log(scales) + 0.5 * slopes * (df @ np.log(x))
    chances = np.exp(logs - logs.max())
    return scales, chances / chances.sum()


def _fit(x: np.ndarray, means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit every row of ``means`` (resamples, sizes); return ceiling, drop, exponent, (resamples, 3)."""
    low, high = np.log(EXPONENTS)
    exponents = np.broadcast_to(np.linspace(low, high, 60), (len(means), 60))
    step = (high - low) / 59
    for points in (21, 21, 0):
        ceiling, drop, loss = _linear(x, means, weights, np.exp(exponents))
        best = np.argmin(loss, axis=1)[:, None]
        centre = np.take_along_axis(exponents, best, axis=1)
        if points:
            exponents = np.clip(centre + np.linspace(-step, step, points), low, high)
            step *= 2 / (points - 1)
    chosen = [np.take_along_axis(part, best, axis=1)[:, 0] for part in (ceiling, drop)]
    return np.column_stack([*chosen, np.exp(centre[:, 0])])


def _linear(
    x: np.ndarray, means: np.ndarray, weights: np.ndarray, exponents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve for ceiling <= 1 and drop >= 0 at given exponents, (resamples, exponents); return them and the loss.

    The problem is convex: outside the bounds the optimum lies on one of their two edges.
    """
    shape = x ** -exponents[..., None]
    weight = weights / weights.sum()
    centre = shape @ weight
    variance = ((shape - centre[..., None]) ** 2) @ weight
    level = (means @ weight)[:, None]
    centred = means - level  # first, so that the loss is no small difference of large numbers
    joint = np.einsum("bgk,bk->bg", shape * weight, centred)

    def loss(ceiling: np.ndarray | float, drop: np.ndarray | float) -> np.ndarray:
        bias = level - ceiling + drop * centre
        return np.asarray(bias**2 + (centred**2 @ weight)[:, None] + 2 * drop * joint + drop**2 * variance)

    drop = -joint / variance
    ceiling = level + drop * centre
    at_one = np.maximum((centre * (1 - level) - joint) / (variance + centre**2), 0.0)  # ceiling 1
    flat = np.minimum(level, 1.0)  # no drop
    inside, first = (drop >= 0) & (ceiling <= 1), loss(1.0, at_one) <= loss(flat, 0.0)
    ceiling = np.where(inside, ceiling, np.where(first, 1.0, flat))
    drop = np.where(inside, drop, np.where(first, at_one, 0.0))
    return ceiling, drop, loss(ceiling, drop)


def _lack_of_fit(
    x: np.ndarray, means: np.ndarray, best: np.ndarray, variances: np.ndarray, df: int
) -> float | None:
    """Return p of means as far off the best curve as these; None with no more sizes than parameters."""
    spare = len(x) - 3
    if spare < 1:
        return None
    squares = float(((means - curve_values(best, x)[0]) ** 2 / variances).sum())
    return float(scipy.special.fdtrc(spare, df, squares / spare))


def _fall(sizes: np.ndarray, means: np.ndarray, errors: np.ndarray, df: int) -> Refusal | None:
    """Refuse scores that fall from one size to a larger one; 5 % for all pairs together (Bonferroni)."""
    first, second = np.triu_indices(len(sizes), 1)
    bound = float(scipy.special.stdtrit(df, 1 - 0.05 / len(first))) * np.hypot(errors[first], errors[second])
    excess = means[first] - means[second] - bound
    worst = int(np.argmax(excess))
    if excess[worst] <= 0:
        return None
    i, j = first[worst], second[worst]
    return Fall(
        f"the score falls from {means[i]:.4f} at {sizes[i]:,.0f} labels to {means[j]:.4f} at {sizes[j]:,.0f}, "
        "more than noise would: no learning curve",
        (int(sizes[i]), int(sizes[j])),
        (float(means[i]), float(means[j])),
    )
