"""Thresholds chosen on validation: of several labels one a label, of two classes one for the second."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy

from tunebench.tasks.base import Task

#: Where a label's probability has to lie for the label to be given: above 0.5, or above what validation chose.
Thresholds = Literal["fixed", "tuned"]
#: The threshold of labels for which validation cannot choose.
HALF = 0.5
#: A larger logit has a probability that is written as 1, and no probability lies above that.
_LARGEST_CUT = 36.0
#: Thresholds of two classes that are compared at the most.
_MOST_CUTS = 1_000


def tuned_thresholds(labels: np.ndarray, logits: np.ndarray) -> tuple[float, ...]:
    """Return for each label the threshold with the best F1 on these texts; of equal ones the nearest to 0.5.

    A threshold lies in the middle between two neighbouring logits. A label that no text has, or all have, keeps
    0.5; so does one whose logit is the same for all texts, as that of a label without a text to train on may be.

    Args:
        labels: 0/1 of shape ``(n, labels)``.
        logits: Of the same shape.
    """
    found = []
    for truth, values in zip(np.asarray(labels).T, np.asarray(logits, dtype=np.float64).T, strict=True):
        if 0 < truth.sum() < len(truth) and np.ptp(values) > 0:
            found.append(float(scipy.special.expit(np.clip(_best_cut(truth, values), -_LARGEST_CUT, _LARGEST_CUT))))
        else:
            found.append(HALF)
    return tuple(found)


def _best_cut(truth: np.ndarray, values: np.ndarray) -> float:
    """Return the logit above which a label is to be given."""
    distinct = np.unique(values)
    cuts = (distinct[1:] + distinct[:-1]) / 2
    # The usual cut is one of them: it is kept where it is as good as any.
    cuts = np.concatenate([[0.0], cuts, [distinct[0] - 1.0]])
    order = np.argsort(values)
    below = np.searchsorted(values[order], cuts, side="right")
    found = np.concatenate([[0], np.cumsum(truth[order])])
    f1 = 2 * (found[-1] - found[below]) / (found[-1] + len(values) - below)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(cuts[best[np.abs(cuts[best]).argmin()]])


def tuned_threshold(task: Task, labels: np.ndarray, logits: np.ndarray, metric: str) -> tuple[float]:
    """Return the threshold of the second of two classes with the best score; of equal ones the nearest to 0.5.

    Args:
        task: What was learned.
        labels: 0 or 1 of shape ``(n,)``.
        logits: Of shape ``(n, 2)``.
        metric: What is to be best. Where it does not depend on which class is predicted, macro F1 is.
    """
    score = task.metrics[metric if task.metrics[metric].needs == "labels" else task.default_metric]
    distinct = np.unique(np.diff(np.asarray(logits, dtype=np.float64))[:, 0])
    middle = (distinct[1:] + distinct[:-1]) / 2
    places = np.unique(np.linspace(0, len(middle) - 1, min(len(middle), _MOST_CUTS)).round().astype(np.int64))
    # Beyond both ends all texts are of one class, which may be as good as it gets.
    cuts = np.concatenate([[0.0], middle[places], [distinct[0] - 1, distinct[-1] + 1]])
    cuts = np.clip(cuts, -_LARGEST_CUT, _LARGEST_CUT)
    # Nearest to 0 first: of equal scores it is kept.
    nearest = cuts[np.argsort(np.abs(cuts), kind="stable")]
    found = [(HALF,), *((float(scipy.special.expit(cut)),) for cut in nearest)]
    scores = [score.merit(task.at(one).metric(score.name)(labels, logits)) for one in found]
    return found[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
