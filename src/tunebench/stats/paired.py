"""Comparing two strategies on the same test examples; every difference is the first minus the second."""

from __future__ import annotations

import numpy as np

from tunebench.stats.joint_counts import (
    joint_counts,
    observed_scores,
    score_covariance,
)
from tunebench.stats.measures import MACRO_F1, Measure
from tunebench.stats.methods import (
    crossed_parts,
    of_differences,
    refuse_seeds,
    satterthwaite,
    shrunk,
    t_ends,
)
from tunebench.stats.results import (
    Bounds,
    Difference,
    Interval,
    Over,
    Pairing,
    Refusal,
    check_level,
    finite,
)
from tunebench.stats.tails import Parts, two_sided

_ONE_SEED = Refusal("one seed of a strategy: how much another would differ is not known")


def delta_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    classes: int,
    metric: Measure = MACRO_F1,
    level: float = 0.95,
) -> Difference:
    """Compare two scores over test examples by the delta method, paired; the trained models stay as they are.

    The p value is a function of the data alone. That of a bootstrap is a share of random draws: one of .0001 needs
    a hundred thousand of them to be known to a tenth, and a correction multiplies its error.

    Args:
        labels: Integers of shape ``(n,)``.
        first: Integers of shape ``(n,)``, or ``(runs, n)`` for the mean score of several runs.
        second: As ``first``; the number of runs may differ.
        classes: Number of classes.
        metric: What to score.
        level: Confidence.

    Raises:
        ValueError: The two are not predictions of the same test examples, or values do not fit.
    """
    check_level(level)
    first, second = _same_examples(first, second)
    scores, covariance, n = _scored(labels, first, second, classes=classes, metric=metric)
    runs = len(first), len(second)
    return delta_of_scores(scores, covariance, _contrast(*runs), n, min(runs), level, metric.bounds)


def delta_of_scores(
    scores: np.ndarray,
    covariance: np.ndarray,
    contrast: np.ndarray,
    n: int,
    runs: int = 1,
    level: float = 0.95,
    bounds: Bounds = (None, None),
) -> Difference:
    """Return :func:`delta_difference` of scores that are known with their covariance over test examples.

    Args:
        scores: One a run.
        covariance: Of the scores.
        contrast: Weights of the scores in the difference.
        n: Test examples.
        runs: Runs of one strategy, the fewer of two.
        level: Confidence.
        bounds: Range that a score cannot leave.
    """
    parts = ((float(contrast @ covariance @ contrast), max(n - 1.0, 1.0)),)
    name = "t (delta method, paired)"
    return _from_parts(float(scores @ contrast), parts, level, name, "test examples", n, runs, bounds)


def seed_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    pairing: Pairing = "same seeds",
    level: float = 0.95,
    bounds: Bounds = (None, None),
) -> Difference | Refusal:
    """Compare scores over seeds by a t test, the test split staying as it is.

    Paired by seed it is Student's test of the differences; with different seeds Welch's (1947).

    Args:
        first: One score a seed, shape ``(seeds,)``.
        second: As ``first``; in the same order of seeds if they are the same.
        pairing: Whether the seeds are the same.
        level: Confidence.
        bounds: Range that a score cannot leave.

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
    # Welch's test is Satterthwaite's by definition: its sum of two variances counts as one.
    error, df = satterthwaite([(float(s.var(ddof=1)) / len(s), len(s) - 1) for s in samples])
    parts = ((error**2, df),)
    name = "t (paired by seed)" if pairing == "same seeds" else "t (Welch)"
    estimate = float(first.mean() - second.mean())
    seeds = min(len(first), len(second))
    return _from_parts(estimate, parts, level, name, "seeds", None, seeds, bounds, seed_parts=parts)


def crossed_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    classes: int,
    pairing: Pairing = "same seeds",
    metric: Measure = MACRO_F1,
    level: float = 0.95,
    between: Parts | None = None,
    moderated: int = 0,
) -> Difference | Refusal:
    """Compare two strategies over seeds and test examples by a t test; the comparison to prefer.

    The variance of the difference is the one between seeds, over their number, and the part of the
    examples that all seeds share: see :func:`~tunebench.stats.intervals.crossed_interval`. The test is that of
    Cochran and Cox: with 2 seeds and no other configurations to learn a variance from, it is conservative.

    Args:
        labels: Integers of shape ``(n,)``.
        first: Integers of shape ``(seeds, n)``.
        second: As ``first``; in the same order of seeds if they are the same.
        classes: Number of classes.
        pairing: Whether the seeds are the same.
        metric: What to score.
        level: Confidence.
        between: Parts of the variance between seeds of the difference of two runs of one seed, moderated by other
            configurations (:func:`~tunebench.stats.moderation.moderated_pairs`); for the same seeds alone. None
            takes these seeds' own.
        moderated: How many configurations ``between`` comes from.

    Returns:
        The difference, or a refusal for a single seed.

    Raises:
        ValueError: The two are not predictions of the same test examples, numbers of seeds differ though
            they are said to be the same, or values do not fit.
    """
    check_level(level)
    first, second = _same_examples(first, second)
    runs = len(first), len(second)
    _check_pairing(*runs, pairing)
    if min(runs) < 2:
        return _ONE_SEED
    scores, covariance, n = _scored(labels, first, second, classes=classes, metric=metric)
    return crossed_of_scores(scores, covariance, runs, n, pairing, level, between, moderated, bounds=metric.bounds)


def crossed_of_scores(
    scores: np.ndarray,
    covariance: np.ndarray,
    runs: tuple[int, int],
    n: int,
    pairing: Pairing = "same seeds",
    level: float = 0.95,
    between: Parts | None = None,
    moderated: int = 0,
    bounds: Bounds = (None, None),
) -> Difference:
    """Return :func:`crossed_difference` of scores that are known with their covariance over test examples.

    Args:
        scores: Of the first strategy's runs, then of the second's.
        covariance: Of the scores under sampling of test examples.
        runs: Runs of each, at least 2.
        n: Test examples.
        pairing: As there; so are the others.
        level: Confidence.
        between: Moderated parts.
        moderated: How many configurations they come from.
        bounds: Range that a score cannot leave.
    """
    size = runs[0]
    own, other, across = covariance[:size, :size], covariance[size:, size:], covariance[:size, size:]
    if pairing == "same seeds":
        gaps = scores[:size] - scores[size:]
        found, shared = crossed_parts(gaps, own + other - across - across.T, between=between)
        seed_parts = shrunk(found, size)
    else:
        one, two = crossed_parts(scores[:size], own), crossed_parts(scores[size:], other)
        seed_parts = (*shrunk(one[0], runs[0]), *shrunk(two[0], runs[1]))
        shared = max(one[1] + two[1] - 2 * float(across.mean()), 0.0)
    return _from_parts(
        float(scores[:size].mean() - scores[size:].mean()),
        (*seed_parts, (shared, max(n - 1.0, 1.0))),
        level,
        f"t (crossed, {pairing}{', seed variance moderated' if moderated else ''})",
        "seeds and test examples",
        n,
        min(runs),
        bounds,
        seed_parts=seed_parts,
        example_variance=shared,
        moderated=moderated,
    )


def _same_examples(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of both with a row a run, checked to be of the same examples."""
    first, second = np.atleast_2d(np.asarray(first)), np.atleast_2d(np.asarray(second))
    if first.ndim not in (2, 3) or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            "both strategies must be scored on the same test examples, (runs, n) or (runs, n, classes) each, "
            f"got {first.shape} and {second.shape}"
        )
    return first, second


def _scored(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, classes: int, metric: Measure
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scores of the first runs, then of the second, their covariance, and the number of examples.

    A covariance that is resampled varies with the order of the runs. It is drawn in an order that the predictions
    alone decide, so that a difference has the same test in both directions.
    """
    swapped = metric.influence is None and _order(second) < _order(first)
    if swapped:
        first, second = second, first
    cells = joint_counts(labels, np.concatenate([first, second]), classes=classes)
    covariance = score_covariance(cells, metric, contrast=_contrast(len(first), len(second)))
    back = len(second) if swapped else 0
    return np.roll(observed_scores(cells, metric), back), np.roll(covariance, back, axis=(0, 1)), cells.n


def _order(runs: np.ndarray) -> tuple[int, bytes]:
    return len(runs), runs.tobytes()


def _contrast(first: int, second: int) -> np.ndarray:
    """Return the weights of ``mean of the first runs - mean of the second``."""
    return np.repeat([1 / first, -1 / second], (first, second))


def _check_pairing(first: int, second: int, pairing: Pairing) -> None:
    if pairing not in ("same seeds", "different seeds"):
        raise ValueError(f"pairing must be 'same seeds' or 'different seeds', got {pairing!r}")
    if pairing == "same seeds" and first != second:
        raise ValueError(f"pairing by seed needs as many runs of both strategies, got {first} and {second}")


def _from_parts(
    estimate: float,
    parts: Parts,
    level: float,
    name: str,
    over: Over,
    n: int | None,
    seeds: int,
    score_bounds: Bounds = (None, None),
    *,
    seed_parts: Parts = (),
    example_variance: float | None = None,
    moderated: int = 0,
) -> Difference:
    error, df = satterthwaite(parts)
    seed_error, seed_df = satterthwaite(seed_parts) if seed_parts else (None, None)
    bounds = of_differences(score_bounds)
    ends = t_ends(estimate, parts, level, bounds=bounds)
    return Difference(
        interval=Interval(estimate, *ends, level, name, over, n, seeds),
        p_value=two_sided(parts, estimate / error),
        standard_error=error,
        degrees_of_freedom=df,
        parts=parts,
        seed_variance=None if seed_error is None else seed_error**2,
        seed_df=seed_df,
        example_variance=example_variance,
        moderated=moderated,
        bounds=bounds,
    )
