"""Intervals of one strategy's score: over test examples, over seeds, over both."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import scipy

from tunebench.stats.joint_counts import (
    RESAMPLES,
    JointCounts,
    influence,
    joint_counts,
    never_differ,
    observed_scores,
    resampled_scores,
    score_covariance,
    with_pseudo_examples,
)
from tunebench.stats.measures import MACRO_F1, Measure
from tunebench.stats.methods import (
    ONE_SEED,
    bca_ends,
    crossed_parts,
    percentile_ends,
    refuse_seeds,
    shrunk,
    t_ends,
)
from tunebench.stats.results import Bounds, Interval, Refusal, check_level, finite
from tunebench.stats.sequential import REPEATED, Look
from tunebench.stats.tails import Parts


def example_interval(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    classes: int,
    rng: np.random.Generator,
    metric: Measure = MACRO_F1,
    method: Literal["bca", "percentile"] = "bca",
    level: float = 0.95,
    resamples: int | None = None,
) -> Interval:
    """Bootstrap the score over test examples, the trained models staying as they are.

    Percentile ends are order statistics (:func:`~tunebench.stats.methods.percentile_ends`); BCa corrects
    their bias and skewness (Efron 1987). Its acceleration comes from the influence function; metrics without one
    get percentile ends. Where resampling changes nothing (no errors at all) the interval comes from
    :func:`~tunebench.stats.joint_counts.with_pseudo_examples`, and its method says so.

    A metric that chance alone raises (an expected calibration error) is larger in most resamples than on the
    texts themselves. Where all but a few draws lie on one side of the estimate, the end there is the estimate.

    Args:
        labels: Integers of shape ``(n,)``.
        predictions: Integers of shape ``(n,)``, or ``(runs, n)`` for the mean score of several runs.
        classes: Number of classes.
        rng: Source of randomness.
        metric: What to score.
        method: How to read the interval off the draws.
        level: Confidence.
        resamples: Number of resamples; by default :data:`RESAMPLES`, and more for a level above 95 %, whose ends
            lie where draws are rarer.

    Raises:
        ValueError: Shapes or values do not fit, or there are too few resamples for the level.
    """
    if method not in ("bca", "percentile"):
        raise ValueError(f"method must be 'bca' or 'percentile', got {method!r}")
    check_level(level)
    cells = joint_counts(labels, predictions, classes=classes)
    runs = len(cells.predictions)
    estimate = float(observed_scores(cells, metric).mean())
    if resamples is None:
        resamples = math.ceil((RESAMPLES + 1) * max(1.0, 0.05 / (1 - level))) - 1
    draws = resampled_scores(cells, metric=metric, resamples=resamples, rng=rng).mean(1)
    effects = influence(cells, metric)
    name = "percentile bootstrap" if effects is None else f"{method} bootstrap"
    if never_differ(draws):
        padded = with_pseudo_examples(cells, runs)
        draws = resampled_scores(padded, metric=metric, resamples=resamples, rng=rng).mean(1)
        low, high = percentile_ends(draws, level)
        name = "percentile bootstrap with pseudo-examples"
    elif method == "bca" and effects is not None:
        low, high = bca_ends(draws, level, estimate=estimate, acceleration=_acceleration(cells, effects.mean(0)))
    else:
        low, high = percentile_ends(draws, level)
    low, high = min(low, estimate), max(high, estimate)
    return Interval(estimate, low, high, level, name, "test examples", n_examples=cells.n, n_seeds=runs)


def wilson_interval(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """Return Wilson's (1927) score interval of an accuracy, over test examples.

    Args:
        hits: Examples predicted correctly.
        n: Test examples.
        level: Confidence.

    Raises:
        ValueError: ``hits`` is not in ``range(n + 1)``, or ``n`` is 0.
    """
    check_level(level)
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"hits must lie between 0 and n >= 1, got {hits} of {n}")
    share, z = hits / n, float(scipy.special.ndtri((1 + level) / 2))
    centre, scale = share + z**2 / (2 * n), 1 + z**2 / n
    reach = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # At 0 and n hits rounding could leave the range.
    low, high = (0.0 if hits == 0 else (centre - reach) / scale), (1.0 if hits == n else (centre + reach) / scale)
    return Interval(share, low, high, level, "Wilson", "test examples", n_examples=n)


def seed_interval(scores: np.ndarray, *, level: float = 0.95, bounds: Bounds = (None, None)) -> Interval | Refusal:
    """Return Student's t interval of the mean over seeds, the test split staying as it is.

    Args:
        scores: One score a seed, shape ``(seeds,)``.
        level: Confidence.
        bounds: Range the quantity cannot leave (``(0, 1)`` for F1); the interval is cut to it.

    Returns:
        The interval, or a refusal for a single seed or seeds that do not differ at all.

    Raises:
        ValueError: The scores are not one finite number a seed.
    """
    check_level(level)
    scores = finite(scores, name="scores")
    refusal = refuse_seeds(scores)
    if refusal:
        return refusal
    error = float(scores.std(ddof=1) / np.sqrt(len(scores)))
    low, high = t_ends(float(scores.mean()), ((error**2, len(scores) - 1.0),), level, bounds=bounds)
    return Interval(float(scores.mean()), low, high, level, "t", "seeds", n_seeds=len(scores))


def crossed_interval(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    classes: int,
    metric: Measure = MACRO_F1,
    level: float = 0.95,
    between: Parts | None = None,
    look: Look | None = None,
) -> Interval | Refusal:
    """Return a t interval of the mean score over seeds and test examples.

    Every seed is scored on the same examples, so the two sources are crossed, not nested, and the
    variance is ``s^2 / S + v``: the variance between the scores of S seeds, which holds what each seed
    adds by itself on this test split, and the part of the examples that all seeds share, which no
    number of seeds averages away. The critical value is that of Cochran and Cox
    (:mod:`tunebench.stats.tails`). With 3 seeds it covers 95 to 98 %, where resampling them covers too little;
    with 2 seeds it covers more than it says, since 2 seeds tell next to nothing of their variance.

    Args:
        labels: Integers of shape ``(n,)``.
        predictions: Integers of shape ``(seeds, n)``.
        classes: Number of classes.
        metric: What to score.
        level: Confidence.
        between: Parts of the variance between seeds of one run's score, moderated by other configurations
            (:func:`~tunebench.stats.moderation.moderated_scores`); None takes these seeds' own.
        look: The look of a design that is read more than once: the interval is then a repeated confidence
            interval, whose level is that of all looks together.

    Returns:
        The interval, cut to the metric's bounds, or a refusal for a single seed.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    check_level(level)
    cells = joint_counts(labels, predictions, classes=classes)
    scores, seeds = observed_scores(cells, metric), len(cells.predictions)
    if seeds < 2:
        return ONE_SEED
    covariance = score_covariance(cells, metric, contrast=np.full(seeds, 1 / seeds))
    return crossed_interval_of(scores, covariance, cells.n, metric.bounds, level, between, look)


def crossed_interval_of(
    scores: np.ndarray,
    covariance: np.ndarray,
    n: int,
    bounds: Bounds = (None, None),
    level: float = 0.95,
    between: Parts | None = None,
    look: Look | None = None,
) -> Interval:
    """Return :func:`crossed_interval` of scores that are known with their covariance over test examples.

    Args:
        scores: One a seed, at least 2.
        covariance: Of the scores under sampling of test examples.
        n: Test examples.
        bounds: Range that the score cannot leave.
        level: Confidence.
        between: Moderated parts of the variance between seeds.
        look: Of a design that is read more than once.
    """
    parts, shared = crossed_parts(scores, covariance, between=between)
    estimate, seeds = float(scores.mean()), len(scores)
    low, high = t_ends(estimate, (*shrunk(parts, seeds), (shared, max(n - 1.0, 1.0))), level, look, bounds)
    name = "t (crossed)" if between is None else "t (crossed, seed variance moderated)"
    name += "" if look is None else REPEATED
    return Interval(estimate, low, high, level, name, "seeds and test examples", n, seeds)


def _acceleration(cells: JointCounts, effects: np.ndarray) -> float:
    square = float(cells.counts @ effects**2)
    return float(cells.counts @ effects**3) / (6 * square**1.5) if square else 0.0
