"""Scores as the statistics see them: functions of weighted examples, and what one more example would change.

A resample of the test examples is a row of weights, so each score is computed for all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tunebench.stats.results import Bounds

#: Takes labels ``(cells,)``; predicted classes ``(cells,)``, or one value a class ``(cells, classes)``; weights
#: ``(resamples, cells)``; and the number of classes. Returns one score a resample; NaN where it is not defined.
WeightedScore = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
#: Takes labels and predictions as above, and counts ``(cells,)``. Returns the influence of each cell:
#: ``n d(score) / d(count)``, whose mean over the examples is 0.
Influence = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


class Measure(Protocol):
    """A score; :class:`tunebench.tasks.metric.Metric` is one.

    Attributes:
        bounds: The range of its values; None where a side has no bound.
        influence: None where no closed form is known; a bootstrap takes its place.
    """

    @property
    def bounds(self) -> Bounds:
        """The range of its values."""

    @property
    def influence(self) -> Influence | None:
        """Its influence function."""

    def weighted_scores(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, classes: int
    ) -> np.ndarray:
        """Return one score a row of weights; see :data:`WeightedScore`."""


@dataclass(frozen=True)
class ClosedForm:
    """A score of predicted classes between 0 and 1 whose influence function is known."""

    weighted: WeightedScore
    influence: Influence
    bounds: Bounds = (0.0, 1.0)

    def weighted_scores(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, classes: int
    ) -> np.ndarray:
        """Return one score a row of weights."""
        return self.weighted(labels, predictions, weights, classes)


# Means over examples ----------------------------------------------------------------------------------


def mean_of(values: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> tuple[WeightedScore, Influence]:
    """Return the weighted form and the influence of a score that is a mean over examples.

    Args:
        values: Takes labels, predictions and the number of classes, and returns one value an example.
    """

    def weighted(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
        return np.asarray(weights @ values(labels, predictions, classes) / weights.sum(1))

    def influence(labels: np.ndarray, predictions: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
        found = values(labels, predictions, classes)
        return np.asarray(found - counts @ found / counts.sum())

    return weighted, influence


def hits(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return 1 where the prediction is right, else 0."""
    return np.asarray(labels == predicted, dtype=np.float64)


# Scores of the confusion matrix -----------------------------------------------------------------------


def _per_class(
    labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hits, true and predicted examples of each class, ``(resamples, classes)`` each."""
    identity, weights = np.eye(classes), np.asarray(weights, dtype=np.float64)
    truth = identity[labels]
    found = weights @ (truth * hits(labels, predicted, classes)[:, None])
    return found, weights @ truth, weights @ identity[predicted]


def f1_of(found: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return ``2 found / total``; 0 where the total is 0."""
    return np.asarray(np.divide(2 * found, total, out=np.zeros_like(total), where=total > 0))


def macro_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the unweighted mean over all classes of ``2 hits / (true + predicted)``.

    0 for a class that is neither true nor predicted: scikit-learn's, with ``zero_division=0``.
    """
    found, true, given = _per_class(labels, predicted, weights, classes)
    return np.asarray(f1_of(found, true + given).mean(1))


def macro_f1_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean over classes of ``n (2 hit_c - f1_c (true_c + predicted_c)) / total_c``."""
    identity, n = np.eye(classes), counts.sum()
    truth = identity[labels]
    marks = truth + identity[predicted]
    found = 2 * truth * hits(labels, predicted, classes)[:, None]
    total = counts @ marks
    inverse = np.divide(n, total, out=np.zeros_like(total), where=total > 0)
    f1 = (counts @ found) * inverse / n
    return np.asarray(((found - f1 * marks) * inverse).mean(1))


def weighted_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean F1 of the classes, weighted by their true examples."""
    found, true, given = _per_class(labels, predicted, weights, classes)
    return np.asarray((f1_of(found, true + given) * true).sum(1) / true.sum(1))


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean recall of the classes that have examples (Brodersen et al. 2010)."""
    found, true, _ = _per_class(labels, predicted, weights, classes)
    recall = np.divide(found, true, out=np.zeros_like(true), where=true > 0)
    return np.asarray(recall.sum(1) / (true > 0).sum(1))


def matthews(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return Matthews' correlation coefficient (1975), for several classes after Gorodkin (2004)."""
    found, true, given = _per_class(labels, predicted, weights, classes)
    n = true.sum(1)
    above = found.sum(1) * n - (true * given).sum(1)
    below = np.sqrt((n**2 - (given**2).sum(1)) * (n**2 - (true**2).sum(1)))
    return np.asarray(np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0))


# Scores of one value a class --------------------------------------------------------------------------


def _one_vs_rest(
    truth: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Average a ranking score over the classes that have positive and negative examples.

    Args:
        truth: Which examples are of which class, bool of shape ``(cells, classes)``.
        values: Shape ``(cells, classes)``.
        weights: Shape ``(resamples, cells)``.
        score: Takes the weights of positives and of negatives by distinct value, from the largest down,
            ``(resamples, values)`` each.
    """
    found = np.full((len(weights), truth.shape[1]), np.nan)
    for column in range(truth.shape[1]):
        order = np.argsort(-values[:, column], kind="stable")
        ranked, positive = values[order, column], truth[order, column]
        starts = np.flatnonzero(np.r_[True, np.diff(ranked) != 0])
        ordered = np.asarray(weights, dtype=np.float64)[:, order]
        up, down = (np.add.reduceat(ordered * side, starts, axis=1) for side in (positive, ~positive))
        defined = (up.sum(1) > 0) & (down.sum(1) > 0)
        found[defined, column] = score(up[defined], down[defined])
    known = ~np.isnan(found)
    total = np.where(known, found, 0.0).sum(1)
    return np.asarray(np.divide(total, known.sum(1), out=np.full(len(found), np.nan), where=known.any(1)))


def auroc(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the area under the ROC curve of each class against the others, averaged; ties count half."""
    return auroc_of(labels[:, None] == np.arange(classes), values, weights)


def auroc_of(truth: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean area under the ROC curve of columns ``(cells, classes)``; ties count half."""

    def area(up: np.ndarray, down: np.ndarray) -> np.ndarray:
        below = down.sum(1, keepdims=True) - np.cumsum(down, axis=1)
        return np.asarray((up * (below + down / 2)).sum(1) / (up.sum(1) * down.sum(1)))

    return _one_vs_rest(truth, values, weights, area)


def average_precision(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the step-wise area under the precision-recall curve of each class against the others, averaged."""
    return average_precision_of(labels[:, None] == np.arange(classes), values, weights)


def average_precision_of(truth: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of the step-wise areas under the precision-recall curves of columns ``(cells, classes)``."""

    def area(up: np.ndarray, down: np.ndarray) -> np.ndarray:
        above = np.cumsum(up, axis=1)
        named = above + np.cumsum(down, axis=1)
        precision = np.divide(above, named, out=np.zeros_like(above), where=named > 0)
        return np.asarray((up * precision).sum(1) / up.sum(1))

    return _one_vs_rest(truth, values, weights, area)


MACRO_F1 = ClosedForm(macro_f1, macro_f1_influence)
ACCURACY = ClosedForm(*mean_of(hits))
