"""Metrics of a classifier by name: functions of labels and predictions, with what has to be known of each.

To add one here, write a function and register it. A package of your own adds one with an entry point in the
group ``tunebench.metrics`` that names a :class:`Metric`; see ``examples/extending``.
"""

from __future__ import annotations

import numpy as np
import scipy

from tunebench.registry import Registry
from tunebench.stats import measures
from tunebench.stats.measures import WeightedScore
from tunebench.stats.softmax import log_softmax
from tunebench.tasks.metric import Metric, MetricFunction, averaged, member, plain

#: All metrics by name, those of installed packages included.
METRICS: Registry[Metric] = Registry("tunebench.metrics", "metric", member)
#: The metric of a study that names none.
DEFAULT_METRIC = "macro_f1"
#: Metrics that stand beside the study's own in its tables.
ALWAYS_SHOWN = (DEFAULT_METRIC, "accuracy")
#: Bins of the expected calibration error.
BINS = 15


def register(metric: Metric) -> Metric:
    """Add a metric to :data:`METRICS`.

    Raises:
        ValueError: Its name is taken.
    """
    METRICS.add(metric.name, metric)
    return metric


def _log_losses(labels: np.ndarray, logits: np.ndarray, classes: int) -> np.ndarray:
    """Return cross-entropies in nats (Good 1952).

    They come from the logits: clipping probabilities would cap what a confident error costs.
    """
    return np.asarray(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels])


def _ranked(weighted: WeightedScore) -> MetricFunction:
    """Return the plain form of a metric of each class against the others: NaN where a class cannot be ranked."""
    unranked = plain(weighted)

    def function(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> float:
        counts = np.bincount(labels, minlength=classes)
        return (
            float("nan") if 0 in counts or counts.max() == len(labels) else unranked(labels, probabilities, classes)
        )

    return function


def _squares(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Return ``sum over classes (p - [label])^2``, between 0 and 2 (Brier 1950)."""
    return np.asarray(((probabilities - np.eye(classes)[labels]) ** 2).sum(1))


def bins_of(shares: np.ndarray) -> np.ndarray:
    """Return which of :data:`BINS` bins of equal width each probability lies in; a bin holds its upper edge."""
    return np.asarray(np.clip(np.ceil(shares * BINS).astype(int) - 1, 0, BINS - 1))


def _calibration_gaps(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's bin of confidence, and whether it is right minus its confidence."""
    confidence = np.minimum(scipy.special.softmax(logits.astype(np.float64), axis=1).max(1), 1.0)
    hits = logits.argmax(1) == labels  # two logits may differ where their probabilities do not
    return bins_of(confidence), hits - confidence


def _weighted_ece(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the expected calibration error of each row of weights (Guo et al. 2017)."""
    place, gaps = _calibration_gaps(labels, logits)
    return np.asarray(np.abs(weights @ (np.eye(BINS)[place] * gaps[:, None])).sum(1) / weights.sum(1))


_ABSENT = "a class has no test example, or all of them"
register(
    Metric(
        "macro_f1",
        "macro F1",
        "max",
        plain(measures.macro_f1),
        weighted=measures.macro_f1,
        influence=measures.macro_f1_influence,
    )
)
register(Metric("micro_f1", "micro F1", "max", averaged(measures.hits), per_example=measures.hits))
register(Metric("weighted_f1", "weighted F1", "max", plain(measures.weighted_f1), weighted=measures.weighted_f1))
register(Metric("accuracy", "accuracy", "max", averaged(measures.hits), per_example=measures.hits))
register(
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "max",
        plain(measures.balanced_accuracy),
        short="Balanced acc.",
        weighted=measures.balanced_accuracy,
    )
)
register(
    Metric(
        "mcc",
        "Matthews correlation",
        "max",
        plain(measures.matthews),
        short="MCC",
        bounds=(-1.0, 1.0),
        undefined="the labels or the predictions hold one class only",
        weighted=measures.matthews,
    )
)
register(
    Metric(
        "log_loss",
        "log loss",
        "min",
        averaged(_log_losses),
        needs="logits",
        unit="nats",
        bounds=(0.0, None),
        points=False,
        per_example=_log_losses,
    )
)
register(
    Metric(
        "auroc",
        "AUROC (one-vs-rest)",
        "max",
        _ranked(measures.auroc),
        needs="probabilities",
        short="AUROC",
        undefined=_ABSENT,
        weighted=measures.auroc,
    )
)
register(
    Metric(
        "average_precision",
        "average precision (one-vs-rest)",
        "max",
        _ranked(measures.average_precision),
        needs="probabilities",
        short="Avg. precision",
        undefined=_ABSENT,
        weighted=measures.average_precision,
    )
)
register(
    Metric(
        "brier",
        "Brier score",
        "min",
        averaged(_squares),
        needs="probabilities",
        short="Brier",
        bounds=(0.0, 2.0),
        points=False,
        per_example=_squares,
    )
)
register(
    Metric(
        "ece",
        "expected calibration error",
        "min",
        plain(_weighted_ece),
        needs="logits",
        short="ECE",
        points=False,
        weighted=_weighted_ece,
    )
)


#: Metrics that every record holds. A metric of another package joins them where a study names it.
BUILT_IN = METRICS.known
