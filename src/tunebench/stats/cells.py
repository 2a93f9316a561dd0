"""Resampling test examples through the distinct joint cells of label and predictions.

Examples with the same label and the same predictions are interchangeable, so drawing ``n`` examples
with replacement is drawing the cells' counts from a multinomial with their shares: the same
distribution as resampling indices, at the price of the number of cells (8 for a pair of binary
classifiers) and not of the number of examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunebench.stats.results import Metric

#: Default number of bootstrap resamples; one less than a round number, so that the ends of the usual
#: intervals fall on order statistics (Davison and Hinkley 1997, section 5.2).
RESAMPLES = 1999
#: Effects of an example, of the order of 1, below this are 0 up to rounding.
_NO_EFFECT = 1e-9
#: Counts held in memory at a time.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Cells:
    """Distinct combinations of a label and the predictions of every predictor.

    Attributes:
        labels: True class of each cell, shape ``(cells,)``.
        predictions: Predicted class by predictor and cell, shape ``(predictors, cells)``.
        counts: Examples in each cell, shape ``(cells,)``.
        classes: Number of classes.
    """

    labels: np.ndarray
    predictions: np.ndarray
    counts: np.ndarray
    classes: int

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.counts.sum())


def joint_cells(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> Cells:
    """Count the distinct combinations.

    Args:
        labels: Integers of shape ``(n,)``.
        predictions: Integers of shape ``(predictors, n)``, or ``(n,)`` for one.
        classes: Number of classes; labels and predictions lie in ``range(classes)``.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    labels, predictions = np.asarray(labels), np.atleast_2d(np.asarray(predictions))
    if labels.ndim != 1 or predictions.ndim != 2 or predictions.shape[1:] != labels.shape or not predictions.size:
        raise ValueError(
            "labels (n,) and predictions (n,) or (runs, n) of the same n >= 1 test examples are needed, "
            f"got {labels.shape} and {predictions.shape}"
        )
    if classes < 2:
        raise ValueError(f"at least 2 classes are needed, got {classes}")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= classes:
            raise ValueError(f"{name} must be integers from 0 to {classes - 1}")
    codes = labels.astype(np.int64)
    for row in predictions:  # renumbered at each step, so that the codes stay small for any number of rows
        codes = np.unique(codes * classes + row, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return Cells(labels[first], predictions[:, first], counts, classes)


def score_counts(cells: Cells, counts: np.ndarray, metric: Metric) -> np.ndarray:
    """Score every predictor on every resample.

    Macro F1 is the unweighted mean over all classes of ``2 tp / (true + predicted)``, 0 for a class
    that is neither true nor predicted: scikit-learn's, with ``zero_division=0``.

    Args:
        cells: The cells.
        counts: Examples per resample and cell, shape ``(resamples, cells)``.
        metric: What to compute.

    Returns:
        Shape ``(resamples, predictors)``.

    Raises:
        ValueError: Unknown metric.
    """
    weights = np.asarray(counts, dtype=np.float64)
    hits = (cells.predictions == cells.labels).astype(np.float64)
    if metric == "accuracy":
        return np.asarray(weights @ hits.T / weights.sum(1, keepdims=True))
    if metric != "macro_f1":
        raise ValueError(f"metric must be 'macro_f1' or 'accuracy', got {metric!r}")
    identity = np.eye(cells.classes)
    truth = identity[cells.labels]  # (cells, classes)
    true = weights @ truth
    scores = np.empty((len(weights), len(cells.predictions)))
    for column, (row, hit) in enumerate(zip(cells.predictions, hits, strict=True)):
        total = true + weights @ identity[row]
        found = 2 * (weights @ (truth * hit[:, None]))
        scores[:, column] = np.divide(found, total, out=np.zeros_like(total), where=total > 0).mean(1)
    return scores


def observed_scores(cells: Cells, metric: Metric) -> np.ndarray:
    """Return the score of every predictor on the examples as they are, shape ``(predictors,)``."""
    return np.asarray(score_counts(cells, cells.counts[None], metric)[0])


def influence(cells: Cells, metric: Metric) -> np.ndarray:
    """Return what one more example of each cell would do to each score, in units of ``1 / n``.

    The empirical influence function ``n d(score) / d(count)``, of mean 0 over the examples; accuracy's is
    ``hit - accuracy``, that of the F1 of class c ``n (2 hit_c - f1_c (true_c + predicted_c)) / total_c``.
    Delta-method covariances (:func:`score_covariance`) and BCa's acceleration come from it (Efron 1987).

    Returns:
        Shape ``(predictors, cells)``.
    """
    hits = (cells.predictions == cells.labels).astype(np.float64)
    if metric == "accuracy":
        return np.asarray(hits - observed_scores(cells, metric)[:, None])
    if metric != "macro_f1":
        raise ValueError(f"metric must be 'macro_f1' or 'accuracy', got {metric!r}")
    identity = np.eye(cells.classes)
    truth = identity[cells.labels]
    result = np.empty(cells.predictions.shape)
    for row, hit in enumerate(hits):
        marks = truth + identity[cells.predictions[row]]
        found = 2 * truth * hit[:, None]
        total = cells.counts @ marks
        inverse = np.divide(cells.n, total, out=np.zeros_like(total), where=total > 0)
        f1 = (cells.counts @ found) * inverse / cells.n
        result[row] = ((found - f1 * marks) * inverse).mean(1)
    return result


def score_covariance(cells: Cells, metric: Metric, *, contrast: np.ndarray | None = None) -> np.ndarray:
    """Return the covariance of the predictors' scores under sampling of test examples (delta method).

    Args:
        cells: The cells.
        metric: What to score.
        contrast: Weights of the predictors in the quantity of interest, positive for the leading group.
            Where no example could change that quantity, :func:`with_pseudo_examples` is used instead.

    Returns:
        Shape ``(predictors, predictors)``.
    """
    effects = influence(cells, metric)
    if contrast is not None and np.abs(contrast @ effects).max() < _NO_EFFECT:
        cells = with_pseudo_examples(cells, int((contrast > 0).sum()))
        effects = influence(cells, metric)
    return np.asarray((effects * cells.counts) @ effects.T / cells.n**2)


def resampled_scores(cells: Cells, *, metric: Metric, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Score every predictor on the same resamples of the test examples.

    Args:
        cells: The cells.
        metric: What to compute.
        resamples: Number of resamples.
        rng: Source of randomness.

    Returns:
        Shape ``(resamples, predictors)``. Rows are joint: differences of columns are paired.
    """
    step = max(1, _CHUNK // len(cells.counts))
    shares = cells.counts / cells.n
    parts = [
        score_counts(cells, rng.multinomial(cells.n, shares, size=min(step, resamples - start)), metric)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def with_pseudo_examples(cells: Cells, first: int) -> Cells:
    """Add, for each class, one example that only the first predictors get right and one that only the rest do.

    Predictions without any error, or two equal sets of predictions, give a bootstrap without spread,
    which would claim certainty from any number of examples. One imagined discordant example each way,
    as Bonett and Price (2012) add to a paired table, gives an interval whose width is of the order of
    the rule of three, ``3 / n``.

    Args:
        cells: The cells.
        first: How many predictors (the leading ones) form the first group.
    """
    label = np.repeat(np.arange(cells.classes), 2)
    first_right = np.tile([True, False], cells.classes)
    leads = np.arange(len(cells.predictions))[:, None] < first
    predictions = np.where(leads == first_right, label, (label + 1) % cells.classes)
    return Cells(
        np.concatenate([cells.labels, label]),
        np.concatenate([cells.predictions, predictions], axis=1),
        np.concatenate([cells.counts, np.ones_like(label)]),
        cells.classes,
    )
