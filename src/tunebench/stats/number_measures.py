"""Scores of numbers as functions of weighted examples; see :mod:`tunebench.stats.measures`.

Labels and predictions are numbers, ``(cells,)`` each. All of these scores have an influence function in closed
form.
"""

from __future__ import annotations

import numpy as np

#: A variance below this share of that of all examples is 0 up to rounding.
_CONSTANT = 1e-12


def squared_errors(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the squared error of each example."""
    return np.asarray((predicted - labels) ** 2)


def absolute_errors(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the absolute error of each example."""
    return np.asarray(np.abs(predicted - labels))


def rmse(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the root of the mean squared error."""
    return np.asarray(np.sqrt(weights @ squared_errors(labels, predicted, classes) / weights.sum(1)))


def rmse_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return ``(e^2 - mse) / (2 rmse)``; 0 where there is no error."""
    squares = squared_errors(labels, predicted, classes)
    mean = counts @ squares / counts.sum()
    return np.asarray((squares - mean) / (2 * np.sqrt(mean)) if mean > 0 else np.zeros_like(squares))


def r2(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return ``1 - mse / variance of the labels``; NaN where the labels are all the same."""
    total = weights.sum(1)
    unit, spread = _unit(labels)
    variance = weights @ unit**2 / total - (weights @ unit / total) ** 2
    errors = weights @ squared_errors(labels, predicted, classes) / total
    return 1 - _ratio(errors, variance * spread**2, defined=variance > _CONSTANT)


def r2_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return ``(mse ((y - mean)^2 - variance) / variance - (e^2 - mse)) / variance``."""
    n, squares = counts.sum(), squared_errors(labels, predicted, classes)
    from_mean = (labels - counts @ labels / n) ** 2
    variance, mean = counts @ from_mean / n, counts @ squares / n
    return np.asarray((mean * (from_mean - variance) / variance - (squares - mean)) / variance)


def pearson(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return Pearson's correlation; NaN where the labels or the predictions are all the same."""
    (x, _), (y, _), total = _unit(labels), _unit(predicted), weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    variances = weights @ x**2 / total - mean_x**2, weights @ y**2 / total - mean_y**2
    return _correlation(weights @ (x * y) / total - mean_x * mean_y, *variances)


def pearson_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return ``x y - r (x^2 + y^2) / 2`` of standardised labels and predictions (Devlin et al. 1975)."""
    x, y = (_standard(values, counts) for values in (labels, predicted))
    return np.asarray(x * y - (counts @ (x * y) / counts.sum()) * (x**2 + y**2) / 2)


def spearman(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return Spearman's correlation: Pearson's of ranks, equal values having the mean of their ranks."""
    total = weights.sum(1, keepdims=True)
    # Shares of the examples below each, less the mean share.
    x, y = (_middle_ranks(values, weights) / total - 0.5 for values in (labels, predicted))
    both, own, other = ((weights * a * b).sum(1) / total[:, 0] for a, b in ((x, y), (x, x), (y, y)))
    return _correlation(both, own, other)


def spearman_influence(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return what an example does by its own ranks, and by those of examples above it (Croux and Dehon 2010)."""
    n, row = counts.sum(), counts[None].astype(np.float64)
    x, y = (_middle_ranks(values, row)[0] / n - 0.5 for values in (labels, predicted))
    both, own, other = (counts @ (a * b) / n for a, b in ((x, y), (x, x), (y, y)))
    root = np.sqrt(own * other)

    def moved(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return how an example changes the mean product of its column's ranks and other ones."""
        return _mean_above(values, ranks, counts)

    to_both = x * y + moved(labels, y) + moved(predicted, x)
    to_own, to_other = x**2 + 2 * moved(labels, x), y**2 + 2 * moved(predicted, y)
    found = to_both / root - both / root * (to_own / own + to_other / other) / 2
    return np.asarray(found - counts @ found / n)


def _mean_above(values: np.ndarray, weighted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return for each value the mean over all examples of what larger ones have, and half of what equal ones do."""
    order, starts, place = _groups(values)
    sums = np.add.reduceat((counts * weighted)[order], starts)
    above = sums.sum() - np.cumsum(sums) + sums / 2
    return np.asarray(above[place] / counts.sum())


def _middle_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weight below each value and half of its own, ``(resamples, cells)``."""
    order, starts, place = _groups(values)
    own = np.asarray(weights, dtype=np.float64)[:, order]
    if len(starts) < len(order):
        own = np.add.reduceat(own, starts, axis=1)
    return np.asarray((np.cumsum(own, axis=1) - own / 2)[:, place])


def _groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an ascending order, where each distinct value begins in it, and the group of each value."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    return order, starts, place


def _unit(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return values with mean 0 and standard deviation 1, and that deviation; zeros and 0 of equal ones."""
    values = np.asarray(values, dtype=np.float64)
    if np.ptp(values) == 0:
        return np.zeros_like(values), 0.0
    spread = float(values.std())
    return (values - values.mean()) / spread, spread


def _standard(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n = counts.sum()
    centred = values - counts @ values / n
    return np.asarray(centred / np.sqrt(counts @ centred**2 / n))


def _correlation(both: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    defined = (own > _CONSTANT) & (other > _CONSTANT)
    # Rounding may lift the largest correlation above 1.
    return np.asarray(np.clip(_ratio(both, np.sqrt(np.where(defined, own * other, 1.0)), defined=defined), -1, 1))


def _ratio(above: np.ndarray, below: np.ndarray, *, defined: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=defined))
