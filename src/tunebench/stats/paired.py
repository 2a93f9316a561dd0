"""Comparing two strategies on the same test examples; every difference is the first minus the second."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy

from tunebench.stats.joint_counts import (
    RESAMPLES,
    JointCounts,
    joint_counts,
    never_differ,
    observed_scores,
    resampled_scores,
    score_covariance,
    with_pseudo_examples,
)
from tunebench.stats.measures import MACRO_F1, Measure
from tunebench.stats.methods import (
    bootstrap_p,
    crossed_parts,
    percentile_ends,
    refuse_seeds,
    resample_seeds,
    satterthwaite,
    t_ends,
)
from tunebench.stats.results import (
    Difference,
    Interval,
    Over,
    Pairing,
    Refusal,
    check_level,
    finite,
)

_ONE_SEED = Refusal("one seed of a strategy: how much another would differ is not known")


def example_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    classes: int,
    rng: np.random.Generator,
    metric: Measure = MACRO_F1,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Difference:
    """Bootstrap the difference of two scores over test examples, paired: both are scored on each resample.

    Args:
        labels: Integers of shape ``(n,)``.
        first: Integers of shape ``(n,)``, or ``(runs, n)`` for the mean score of several runs.
        second: As ``first``; the number of runs may differ.
        classes: Number of classes.
        rng: Source of randomness.
        metric: What to score.
        level: Confidence of the percentile interval.
        resamples: Number of resamples.

    Returns:
        The difference with its draws. Where the two never differ, they come from
        :func:`~tunebench.stats.joint_counts.with_pseudo_examples`, and the method says so.

    Raises:
        ValueError: The two are not predictions of the same test examples, or values do not fit.
    """
    cells, contrast, runs = _both(labels, first, second, classes=classes)
    name, source = "percentile bootstrap (paired)", cells
    draws = resampled_scores(cells, metric=metric, resamples=resamples, rng=rng) @ contrast
    if never_differ(draws):
        name, source = f"{name} with pseudo-examples", with_pseudo_examples(cells, runs[0])
        draws = resampled_scores(source, metric=metric, resamples=resamples, rng=rng) @ contrast
    estimate = float(observed_scores(cells, metric) @ contrast)
    return _from_draws(estimate, draws, level, name, "test examples", cells.n, min(runs))


def seed_difference(
    first: np.ndarray, second: np.ndarray, *, pairing: Pairing = "same seeds", level: float = 0.95
) -> Difference | Refusal:
    """Compare scores over seeds by a t test, the test split staying as it is.

    Paired by seed it is Student's test of the differences; with different seeds Welch's (1947).

    Args:
        first: One score a seed, shape ``(seeds,)``.
        second: As ``first``; in the same order of seeds if they are the same.
        pairing: Whether the seeds are the same.
        level: Confidence.

    Returns:
        The difference, or a refusal for a single seed or scores without any variation.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    check_level(level)
    first, second = finite(first, name="first"), finite(second, name="second")
    _check_pairing(len(first), len(second), pairing)
    if min(len(first), len(second)) < 2:
        return _ONE_SEED
    samples = [first - second] if pairing == "same seeds" else [first, second]
    refusals = [refuse_seeds(sample) for sample in samples]
    if all(refusals):
        return Refusal("the difference is the same for every seed: there is no variation to learn from")
    error, df = satterthwaite([(float(s.var(ddof=1)) / len(s), len(s) - 1) for s in samples])
    name = "t (paired by seed)" if pairing == "same seeds" else "t (Welch)"
    estimate = float(first.mean() - second.mean())
    return _from_t(
        estimate, error, df, level, name, "seeds", None, min(len(first), len(second)), (error**2, df), None
    )


def crossed_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    classes: int,
    pairing: Pairing = "same seeds",
    metric: Measure = MACRO_F1,
    level: float = 0.95,
) -> Difference | Refusal:
    """Compare two strategies over seeds and test examples by a t test; the comparison to prefer.

    The variance of the difference is the one between seeds, over their number, and the part of the
    examples that all seeds share: see :func:`~tunebench.stats.intervals.crossed_interval`.

    Args:
        labels: Integers of shape ``(n,)``.
        first: Integers of shape ``(seeds, n)``.
        second: As ``first``; in the same order of seeds if they are the same.
        classes: Number of classes.
        pairing: Whether the seeds are the same.
        metric: What to score.
        level: Confidence.

    Returns:
        The difference, or a refusal for a single seed.

    Raises:
        ValueError: The two are not predictions of the same test examples, numbers of seeds differ though
            they are said to be the same, or values do not fit.
    """
    check_level(level)
    cells, contrast, runs = _both(labels, first, second, classes=classes)
    _check_pairing(*runs, pairing)
    if min(runs) < 2:
        return _ONE_SEED
    covariance = score_covariance(cells, metric, contrast=contrast)
    scores, size = observed_scores(cells, metric), runs[0]
    own, other, across = covariance[:size, :size], covariance[size:, size:], covariance[:size, size:]
    if pairing == "same seeds":
        between, shared = crossed_parts(scores[:size] - scores[size:], own + other - across - across.T)
        parts = [(between / size, size - 1)]
    else:
        one, two = crossed_parts(scores[:size], own), crossed_parts(scores[size:], other)
        parts = [(one[0] / runs[0], runs[0] - 1), (two[0] / runs[1], runs[1] - 1)]
        shared = max(one[1] + two[1] - 2 * float(across.mean()), 0.0)
    seed_error, seed_df = satterthwaite(parts)
    error, df = satterthwaite([*parts, (shared, max(cells.n - 1, 1))])
    name = f"t (Satterthwaite, crossed, {pairing})"
    return _from_t(
        float(scores @ contrast),
        error,
        df,
        level,
        name,
        "seeds and test examples",
        cells.n,
        min(runs),
        (seed_error**2, seed_df),
        shared,
    )


def crossed_bootstrap_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    classes: int,
    rng: np.random.Generator,
    pairing: Pairing = "same seeds",
    metric: Measure = MACRO_F1,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Difference | Refusal:
    """Bootstrap the difference over seeds and test examples, resampled independently (Owen 2007).

    Same seeds are drawn together. Arguments, returns and errors as :func:`crossed_difference`, with the
    resamples' number and randomness; like :func:`~tunebench.stats.intervals.crossed_bootstrap_interval`
    it needs about 10 seeds.
    """
    cells, contrast, runs = _both(labels, first, second, classes=classes)
    _check_pairing(*runs, pairing)
    if min(runs) < 2:
        return _ONE_SEED
    drawn = resampled_scores(cells, metric=metric, resamples=resamples, rng=rng)
    one, two = drawn[:, : runs[0]], drawn[:, runs[0] :]
    if pairing == "same seeds":
        draws = resample_seeds(one - two, rng)
    else:
        draws = resample_seeds(one, rng) - resample_seeds(two, rng)
    estimate = float(observed_scores(cells, metric) @ contrast)
    name = f"percentile bootstrap (crossed, {pairing})"
    return _from_draws(estimate, draws, level, name, "seeds and test examples", cells.n, min(runs))


def _both(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, classes: int
) -> tuple[JointCounts, np.ndarray, tuple[int, int]]:
    """Return the joint cells, the contrast ``mean of the first runs - mean of the second``, and their numbers."""
    first, second = np.atleast_2d(np.asarray(first)), np.atleast_2d(np.asarray(second))
    if first.ndim not in (2, 3) or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            "both strategies must be scored on the same test examples, (runs, n) or (runs, n, classes) each, "
            f"got {first.shape} and {second.shape}"
        )
    cells = joint_counts(labels, np.concatenate([first, second]), classes=classes)
    runs = (len(first), len(second))
    contrast = np.repeat([1 / runs[0], -1 / runs[1]], runs)
    return cells, contrast, runs


def _check_pairing(first: int, second: int, pairing: Pairing) -> None:
    if pairing not in ("same seeds", "different seeds"):
        raise ValueError(f"pairing must be 'same seeds' or 'different seeds', got {pairing!r}")
    if pairing == "same seeds" and first != second:
        raise ValueError(f"pairing by seed needs as many runs of both strategies, got {first} and {second}")


def _from_draws(
    estimate: float, draws: np.ndarray, level: float, name: str, over: Over, n: int, seeds: int
) -> Difference:
    interval = Interval(estimate, *percentile_ends(draws, level), level, name, over, n, seeds)
    return Difference(interval, bootstrap_p(draws), float(draws.std(ddof=1)), draws=draws)


def _from_t(
    estimate: float,
    error: float,
    df: float,
    level: float,
    name: str,
    over: Literal["seeds", "seeds and test examples"],
    n: int | None,
    seeds: int,
    seed_part: tuple[float, float],
    example_variance: float | None,
) -> Difference:
    interval = Interval(estimate, *t_ends(estimate, error, df, level), level, name, over, n, seeds)
    p_value = 2 * float(scipy.stats.t.sf(abs(estimate) / error, df))
    return Difference(interval, p_value, error, df, *seed_part, example_variance)
