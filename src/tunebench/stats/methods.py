"""The small methods that the intervals and comparisons share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from tunebench.stats.results import Refusal, check_level

#: Why nothing is said of seeds where there is one.
ONE_SEED = Refusal("one seed: how much another would differ is not known")


def percentile_ends(draws: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ``k``-th smallest and ``k``-th largest draw, ``k = floor((1 - level) / 2 (B + 1))``.

    With this choice an interval excludes 0 exactly when the p value of :func:`bootstrap_p` is at most
    ``1 - level``.

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
    z0 = scipy.stats.norm.ppf(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    z = z0 + scipy.stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    quantiles = scipy.stats.norm.cdf(z0 + z / (1 - acceleration * z))
    low, high = np.quantile(draws, quantiles, method="weibull")
    return float(low), float(high)


def bootstrap_p(draws: np.ndarray, *, null: float = 0.0) -> float:
    """Return the two-sided p value that inverts :func:`percentile_ends`.

    ``2 (1 + min(#{draw <= null}, #{draw >= null})) / (B + 1)``, at most 1: never 0, whatever the draws.
    """
    tail = min(int((draws <= null).sum()), int((draws >= null).sum()))
    return min(1.0, 2 * (1 + tail) / (len(draws) + 1))


def t_ends(estimate: float, error: float, df: float, level: float) -> tuple[float, float]:
    """Return ``estimate -+ t error`` for Student's t with ``df`` degrees of freedom."""
    reach = float(scipy.stats.t.ppf((1 + level) / 2, df)) * error
    return estimate - reach, estimate + reach


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


def crossed_parts(scores: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Split the variance of scores that S seeds reached on the same examples.

    Args:
        scores: Shape ``(S,)``.
        covariance: Of the scores under sampling of examples, shape ``(S, S)``.

    Returns:
        The variance between seeds, and the example variance that all seeds share (the mean covariance of
        two seeds). The first holds what the examples do to each seed by itself; where the few scores lie
        closer together than even that alone would put them, that takes their place.
    """
    seeds = len(scores)
    shared = mean_covariance(covariance)
    own = np.trace(covariance) / seeds - shared
    return float(max(scores.var(ddof=1), own)), float(max(shared, 0.0))


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
