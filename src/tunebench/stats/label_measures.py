"""Scores of several labels a text, as functions of weighted examples; see :mod:`tunebench.stats.measures`.

Labels and predictions are 0/1 matrices ``(cells, labels)``, or one value a label.
"""

from __future__ import annotations

import numpy as np

from tunebench.stats.measures import average_precision_of, f1_of


def _counts(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hits of each label, and its true and predicted examples together, ``(resamples, labels)`` each."""
    weights = np.asarray(weights, dtype=np.float64)
    found, total = np.asarray(labels * predicted, np.float64), np.asarray(labels + predicted, np.float64)
    return weights @ found, weights @ total


def macro_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the unweighted mean over all labels of ``2 hits / (true + predicted)``.

    0 for a label that is neither true nor predicted: scikit-learn's, with ``zero_division=0``.
    """
    return np.asarray(f1_of(*_counts(labels, predicted, weights)).mean(1))


def micro_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the F1 of all decisions together: ``2 hits / (true + predicted)``, summed over labels."""
    found, total = _counts(labels, predicted, weights)
    return np.asarray(f1_of(found.sum(1), total.sum(1)))


def macro_f1_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean over labels of ``n (2 hit - f1 (true + predicted)) / total``."""
    return np.asarray(_f1_influence(2.0 * labels * predicted, labels + predicted, counts).mean(1))


def micro_f1_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return ``n (2 hits - f1 (true + predicted)) / total`` of the decisions on an example."""
    found, marks = 2.0 * (labels * predicted).sum(1), (labels + predicted).sum(1)
    return np.asarray(_f1_influence(found[:, None], marks[:, None], counts)[:, 0])


def _f1_influence(found: np.ndarray, marks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n, total = counts.sum(), np.asarray(counts @ marks, dtype=np.float64)
    inverse = np.divide(n, total, out=np.zeros_like(total), where=total > 0)
    f1 = (counts @ found) * inverse / n
    return np.asarray((found - f1 * marks) * inverse)


def samples_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the F1 of each example's own labels; 1 where it has none and is given none."""
    found, total = 2.0 * (labels * predicted).sum(1), np.asarray((labels + predicted).sum(1), dtype=np.float64)
    return np.asarray(np.divide(found, total, out=np.ones_like(total), where=total > 0))


def all_right(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return 1 for each example all of whose labels are right, else 0."""
    return np.asarray((labels == predicted).all(1), dtype=np.float64)


def mean_average_precision(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the average precision of each label, averaged over those with positive and negative examples."""
    return average_precision_of(np.asarray(labels, dtype=bool), values, weights)
