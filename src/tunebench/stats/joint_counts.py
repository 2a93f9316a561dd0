"""Resampling test examples through the distinct joint cells of label and predictions.

Examples with the same label and the same predictions are interchangeable, so drawing ``n`` examples
with replacement is drawing the cells' counts from a multinomial with their shares: the same
distribution as resampling indices, at the price of the number of cells (8 for a pair of binary
classifiers) and not of the number of examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunebench.stats.measures import Measure
from tunebench.stats.results import finite

#: Default number of bootstrap resamples; one less than a round number, so that the ends of the usual
#: intervals fall on order statistics (Davison and Hinkley 1997, section 5.2).
RESAMPLES = 1999
#: Resamples behind the covariance of a metric without a closed form.
DRAWS = 999
#: Effects of an example on a score, of the order of ``1 / n`` of it, below this are 0 up to rounding.
_NO_EFFECT = 1e-13
#: Scores that differ by less than this share of themselves are equal up to rounding.
_EQUAL = 1e-14
#: Counts held in memory at a time.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class JointCounts:
    """Distinct combinations of a label and the predictions of every predictor.

    Attributes:
        labels: True class of each cell, shape ``(cells,)``; or which labels it has, 0/1 of shape
            ``(cells, classes)``; or its number, doubles of shape ``(cells,)``.
        predictions: Predicted class by predictor and cell, shape ``(predictors, cells)``; or one value a class,
            ``(predictors, cells, classes)``, where each example is a cell of its own. That is also the form of
            predictions where an example has several labels: 0 or 1, or one value a label. Of numbers the predicted
            ones, ``(predictors, cells)``, each example a cell of its own.
        counts: Examples in each cell, shape ``(cells,)``.
        classes: Number of classes; 1 for numbers.
    """

    labels: np.ndarray
    predictions: np.ndarray
    counts: np.ndarray
    classes: int

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.counts.sum())


def joint_counts(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> JointCounts:
    """Count the distinct combinations.

    Args:
        labels: Integers of shape ``(n,)``; or 0/1 of shape ``(n, classes)``, where an example has several labels;
            or doubles of shape ``(n,)``, where it has a number.
        predictions: Predicted classes of shape ``(predictors, n)``, or ``(n,)`` for one predictor; or one value a
            class, of shape ``(predictors, n, classes)``.
        classes: Number of classes; labels and predicted classes lie in ``range(classes)``.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    labels, predictions = np.asarray(labels), np.atleast_2d(np.asarray(predictions))
    if labels.ndim == 2:
        return _counts_of_sets(labels, predictions, classes=classes)
    if classes == 1 and _are_numbers(labels):
        return _counts_of_numbers(labels, predictions)
    values = predictions.ndim == 3
    shape = (predictions.shape[1], predictions.shape[2] if values else classes)
    if labels.ndim != 1 or predictions.ndim > 3 or shape != (len(labels), classes) or not predictions.size:
        raise ValueError(
            "labels (n,) and predictions (n,), (runs, n) or (runs, n, classes) of the same n >= 1 test examples "
            f"are needed, got {labels.shape} and {predictions.shape}"
        )
    if classes < 2:
        raise ValueError(f"at least 2 classes are needed, got {classes}")
    for name, found in (("labels", labels), *(() if values else (("predictions", predictions),))):
        if not np.issubdtype(found.dtype, np.integer) or found.min() < 0 or found.max() >= classes:
            raise ValueError(f"{name} must be integers from 0 to {classes - 1}")
    if values:
        return JointCounts(labels, finite(predictions, name="predictions", ndim=3), np.ones_like(labels), classes)
    codes = labels.astype(np.int64)
    for row in predictions:  # renumbered at each step, so that the codes stay small for any number of rows
        codes = np.unique(codes * classes + row, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return JointCounts(labels[first], predictions[:, first], counts, classes)


def _counts_of_sets(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> JointCounts:
    """Return the counts of examples with several labels: each example is a combination of its own."""
    predictions = predictions[None] if predictions.ndim == 2 else predictions  # of one predictor
    if (
        predictions.ndim != 3
        or labels.shape[1] != classes
        or predictions.shape[1:] != labels.shape
        or not labels.size
    ):
        raise ValueError(
            "labels (n, classes) and predictions (runs, n, classes) of the same n >= 1 test examples are needed, "
            f"got {labels.shape} and {predictions.shape}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return JointCounts(
        labels, finite(predictions, name="predictions", ndim=3), np.ones(len(labels), dtype=np.int64), classes
    )


def _are_numbers(labels: np.ndarray) -> bool:
    return labels.ndim == 1 and np.issubdtype(labels.dtype, np.floating)


def _counts_of_numbers(labels: np.ndarray, predictions: np.ndarray) -> JointCounts:
    """Return the counts of examples with numbers: each example is a combination of its own."""
    if predictions.shape[1:] != labels.shape or not labels.size:
        raise ValueError(
            "numbers (n,) and predictions (runs, n) of the same n >= 1 test examples are needed, "
            f"got {labels.shape} and {predictions.shape}"
        )
    labels, predictions = finite(labels, name="labels"), finite(predictions, name="predictions", ndim=2)
    return JointCounts(labels, predictions, np.ones(len(labels), dtype=np.int64), 1)


def score_counts(cells: JointCounts, counts: np.ndarray, metric: Measure) -> np.ndarray:
    """Score every predictor on every resample.

    Args:
        cells: The cells.
        counts: Examples per resample and cell, shape ``(resamples, cells)``.
        metric: What to compute.

    Returns:
        Shape ``(resamples, predictors)``; NaN where the metric is not defined.
    """
    weights = np.asarray(counts, dtype=np.float64)
    columns = [metric.weighted_scores(cells.labels, row, weights, cells.classes) for row in cells.predictions]
    return np.column_stack(columns)


def observed_scores(cells: JointCounts, metric: Measure) -> np.ndarray:
    """Return the score of every predictor on the examples as they are, shape ``(predictors,)``."""
    return np.asarray(score_counts(cells, cells.counts[None], metric)[0])


def influence(cells: JointCounts, metric: Measure) -> np.ndarray | None:
    """Return what one more example of each cell would do to each score, in units of ``1 / n``.

    The empirical influence function ``n d(score) / d(count)``, of mean 0 over the examples. Delta-method
    covariances (:func:`score_covariance`) and BCa's acceleration come from it (Efron 1987).

    Returns:
        Shape ``(predictors, cells)``; None where the metric has no closed form.
    """
    if metric.influence is None:
        return None
    return np.array([metric.influence(cells.labels, row, cells.counts, cells.classes) for row in cells.predictions])


def score_covariance(cells: JointCounts, metric: Measure, *, contrast: np.ndarray | None = None) -> np.ndarray:
    """Return the covariance of the predictors' scores under sampling of test examples.

    By the delta method where the metric has a closed form; else the covariance of :data:`DRAWS` resamples, always
    the same ones, so that the result is a function of its arguments.

    Args:
        cells: The cells.
        metric: What to score.
        contrast: Weights of the predictors in the quantity of interest, positive for the leading group.
            Where no example could change that quantity, :func:`with_pseudo_examples` is used instead.

    Returns:
        Shape ``(predictors, predictors)``.
    """
    effects = _effects(cells, metric)
    # Scores with a unit may be of any size.
    least = _NO_EFFECT * max(1.0, float(np.abs(effects).max()))
    if contrast is not None and np.abs(contrast @ effects).max() < least:
        effects = _effects(with_pseudo_examples(cells, int((contrast > 0).sum())), metric)
    return np.asarray(effects @ effects.T)


def _effects(cells: JointCounts, metric: Measure) -> np.ndarray:
    """Return deviations of each score whose products sum up to the covariance, ``(predictors, parts)``."""
    found = influence(cells, metric)
    if found is not None:
        return np.asarray(found * np.sqrt(cells.counts) / cells.n)
    draws = resampled_scores(cells, metric=metric, resamples=DRAWS, rng=np.random.default_rng(0))
    return np.asarray((draws - draws.mean(0)).T / np.sqrt(len(draws) - 1))


def never_differ(draws: np.ndarray) -> bool:
    """Tell whether scores of resamples are all the same, up to rounding."""
    return bool(np.ptp(draws) < _EQUAL * max(1.0, float(np.abs(draws).max())))


def resampled_scores(
    cells: JointCounts, *, metric: Measure, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Score every predictor on the same resamples of the test examples.

    Args:
        cells: The cells.
        metric: What to compute.
        resamples: Number of resamples.
        rng: Source of randomness.

    Returns:
        Shape ``(resamples, predictors)``. Rows are joint: differences of columns are paired. Resamples in which
        the metric is not defined for some predictor are left out.
    """
    step = max(1, _CHUNK // len(cells.counts))
    shares = cells.counts / cells.n
    parts = [
        score_counts(cells, rng.multinomial(cells.n, shares, size=min(step, resamples - start)), metric)
        for start in range(0, resamples, step)
    ]
    draws = np.concatenate(parts)
    return np.asarray(draws[~np.isnan(draws).any(1)])


def with_pseudo_examples(cells: JointCounts, first: int) -> JointCounts:
    """Add, for each class, one example that only the first predictors get right and one that only the rest do.

    Predictions without any error, or two equal sets of predictions, give a bootstrap whose draws do not vary,
    which would claim certainty from any number of examples. One imagined discordant example each way,
    as Bonett and Price (2012) add to a paired table, gives an interval whose width is of the order of
    the rule of three, ``3 / n``. Where predictions are one value a class, an imagined example has the mean
    ranked values of the real ones, the largest at its predicted class. Where examples have several labels, an
    imagined one has a single label, which is found or missed. Where they have numbers, the imagined ones lie a
    standard deviation above and below the mean, and who misses them predicts the mean.

    Args:
        cells: The cells.
        first: How many predictors (the leading ones) form the first group.
    """
    if _are_numbers(cells.labels):
        return _with_pseudo_numbers(cells, first)
    label = np.repeat(np.arange(cells.classes), 2)
    first_right = np.tile([True, False], cells.classes)
    leads = np.arange(len(cells.predictions))[:, None] < first
    if cells.labels.ndim == 2:
        return _with_pseudo_sets(cells, label, leads == first_right)
    predictions = np.where(leads == first_right, label, (label + 1) % cells.classes)
    if cells.predictions.ndim == 3:
        ranked = -np.sort(-cells.predictions, axis=2).mean((0, 1))
        places = (np.arange(cells.classes) - predictions[..., None]) % cells.classes
        predictions = ranked[places]
    return JointCounts(
        np.concatenate([cells.labels, label]),
        np.concatenate([cells.predictions, predictions], axis=1),
        np.concatenate([cells.counts, np.ones_like(label)]),
        cells.classes,
    )


def _with_pseudo_sets(cells: JointCounts, label: np.ndarray, right: np.ndarray) -> JointCounts:
    """Add examples with one label each, which predictors find where they are right ``(predictors, examples)``.

    A label that is found has the largest value that a predictor gives that label, a label that is missed the
    smallest; others have the smallest of theirs.
    """
    low, high = cells.predictions.min(1), cells.predictions.max(1)
    own = np.eye(cells.classes, dtype=cells.labels.dtype)[label]
    found = (own[None] == 1) & right[..., None]
    predictions = np.where(found, high[:, None], low[:, None])
    if set(np.unique(cells.predictions)) <= {0, 1}:
        predictions = found.astype(cells.predictions.dtype)
    return JointCounts(
        np.concatenate([cells.labels, own]),
        np.concatenate([cells.predictions, predictions], axis=1),
        np.concatenate([cells.counts, np.ones_like(label)]),
        cells.classes,
    )


def _with_pseudo_numbers(cells: JointCounts, first: int) -> JointCounts:
    mean, spread = cells.labels.mean(), cells.labels.std()
    label = np.array([mean + spread, mean - spread])
    right = (np.arange(len(cells.predictions))[:, None] < first) == np.array([True, False])
    return JointCounts(
        np.concatenate([cells.labels, label]),
        np.concatenate([cells.predictions, np.where(right, label, mean)], axis=1),
        np.concatenate([cells.counts, np.ones(2, dtype=cells.counts.dtype)]),
        cells.classes,
    )
