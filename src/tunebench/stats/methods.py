"""The small methods that the intervals and comparisons share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from tunebench.stats.results import Bounds, Refusal, check_level
from tunebench.stats.sequential import Look, nominal_tail
from tunebench.stats.tails import Parts, critical

#: Share of what the examples do to each seed below which a variance between seeds cannot be. All of it would make
#: tests of three seeds at 5 % reject in less than 1 %; with none of it, two seeds that agree would be a certainty.
LEAST = 0.25
#: Why nothing is said of seeds where there is one.
ONE_SEED = Refusal("one seed: how much another would differ is not known")


def percentile_ends(draws: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ``k``-th smallest and ``k``-th largest draw, ``k = floor((1 - level) / 2 (B + 1))``.

    With this choice an interval excludes a value exactly when a share of at most ``1 - level`` of the draws lies on
    the other side of it, doubled, and counting one more draw there.

    Raises:
        ValueError: ``k`` is 0: too few draws for the level.
    """
    check_level(level)
    rank = int(np.floor((1 - level) / 2 * (len(draws) + 1) + 1e-9))
    if rank < 1:
        raise ValueError(f"{len(draws)} resamples are too few for an interval of level {level}")
    ordered = np.sort(draws)
    return float(ordered[rank - 1]), float(ordered[-rank])


def bca_ends(draws: np.ndarray, level: float, *, estimate: float, acceleration: float) -> tuple[float, float]:
    """Return the ends of the bias-corrected and accelerated interval (Efron 1987).

    The quantiles taken are ``Phi(z0 + (z0 + z) / (1 - a (z0 + z)))`` for ``z`` of the nominal ones, where
    ``z0`` is the normal quantile of the share of draws below the estimate (ties count half).
    """
    check_level(level)
    below = ((draws < estimate).mean() + (draws <= estimate).mean()) / 2
    z0 = scipy.special.ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    z = z0 + scipy.special.ndtri([(1 - level) / 2, (1 + level) / 2])
    quantiles = scipy.special.ndtr(z0 + z / (1 - acceleration * z))
    low, high = np.quantile(draws, quantiles, method="weibull")
    return float(low), float(high)


def t_ends(
    estimate: float, parts: Parts, level: float, look: Look | None = None, bounds: Bounds = (None, None)
) -> tuple[float, float]:
    """Return ``estimate -+ t error``: the error from its parts, t by the rule of Cochran and Cox.

    At a look, the level is that of the whole design. The ends are cut to the range that the quantity cannot leave.
    """
    error = float(np.sqrt(sum(variance for variance, _ in parts)))
    reach = critical(parts, nominal_tail(look, (1 - level) / 2)) * error
    smallest, largest = bounds
    low, high = estimate - reach, estimate + reach
    return low if smallest is None else max(low, smallest), high if largest is None else min(high, largest)


def of_differences(bounds: Bounds) -> Bounds:
    """Return the range of the difference of two values of a range."""
    smallest, largest = bounds
    if smallest is None or largest is None:
        return None, None
    return smallest - largest, largest - smallest


def at_least(parts: Parts, variance: float) -> Parts:
    """Stretch the parts of a variance that came out below what it cannot be below."""
    found = sum(part for part, _ in parts)
    if found >= variance:
        return parts
    if found <= 0:
        return ((variance, min(df for _, df in parts)),)
    return tuple((part * variance / found, df) for part, df in parts)


def refuse_seeds(scores: np.ndarray) -> Refusal | None:
    """Say why a variance between seeds cannot be taken from the scores; None if it can."""
    if len(scores) < 2:
        return ONE_SEED
    # A mean of equal floats may differ from them by a rounding.
    if np.ptp(scores) <= 1e-12 * np.abs(scores).max():
        return Refusal(f"all {len(scores)} seeds gave the same score: they show no variation to learn from")
    return None


def mean_covariance(covariance: np.ndarray) -> float:
    """Return the mean covariance of two of several runs, from a matrix of shape ``(runs, runs)``."""
    runs = len(covariance)
    return float(covariance.sum() - np.trace(covariance)) / (runs * (runs - 1))


def crossed_parts(
    scores: np.ndarray, covariance: np.ndarray, *, between: Parts | None = None
) -> tuple[Parts, float]:
    """Split the variance of scores that S seeds reached on the same examples.

    Args:
        scores: Shape ``(S,)``.
        covariance: Of the scores under sampling of examples, shape ``(S, S)``.
        between: Parts of the variance between seeds that take the place of the scores' own, as
            :mod:`tunebench.stats.moderation` gives them.

    Returns:
        Parts of the variance between seeds, and the example variance that all seeds share (the mean covariance of
        two seeds). The first hold what the examples do to each seed by itself. Few scores may lie closer together
        than even that alone would put them, and a few that are equal are no certainty: the variance is never
        taken as less than :data:`LEAST` of it.
    """
    seeds = len(scores)
    shared = mean_covariance(covariance)
    own = float(np.trace(covariance) / seeds - shared)
    parts = ((float(scores.var(ddof=1)), seeds - 1.0),) if between is None else between
    return at_least(parts, LEAST * own), float(max(shared, 0.0))


def shrunk(parts: Parts, seeds: int) -> Parts:
    """Return the parts of the variance of a mean over seeds."""
    return tuple((variance / seeds, df) for variance, df in parts)


def satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard error and degrees of freedom of a sum of independent variance estimates.

    Args:
        parts: Variance and degrees of freedom of each.
    """
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / df for variance, df in parts)
    return float(np.sqrt(total)), float(total**2 / squares) if squares else float("inf")


def resample_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resample the seeds of scores that already vary over resampled examples.

    The deviation of the resampled seeds' mean is stretched by ``sqrt(S / (S - 1))``, since S seeds drawn
    from S vary that much less than new ones.

    Args:
        scores: Shape ``(resamples, S)``.
        rng: Source of randomness.

    Returns:
        Mean scores, shape ``(resamples,)``.
    """
    resamples, seeds = scores.shape
    mean = scores.mean(1)
    if seeds < 2:
        return np.asarray(mean)
    drawn = np.take_along_axis(scores, rng.integers(seeds, size=(resamples, seeds)), axis=1).mean(1)
    return np.asarray(mean + np.sqrt(seeds / (seeds - 1)) * (drawn - mean))
