"""Metrics of several labels a text by name; see :mod:`tunebench.tasks.metrics`.

Functions take labels and predictions as 0/1 matrices ``(n, labels)``, or one value a label. A package of your own
adds one with an entry point in the group ``tunebench.label_metrics``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from tunebench.registry import Registry
from tunebench.stats import label_measures
from tunebench.stats.measures import WeightedScore, auroc_of
from tunebench.tasks.metric import Metric, PerExample, averaged, member, plain
from tunebench.tasks.metrics import BINS, METRICS, bins_of
from tunebench.tasks.outputs import SEVERAL_LABELS

#: All metrics by name, those of installed packages included.
LABEL_METRICS: Registry[Metric] = Registry("tunebench.label_metrics", "metric", member)
_UNRANKED = "no label has test examples both with and without it"


def register(metric: Metric) -> Metric:
    """Add a metric to :data:`LABEL_METRICS`; its logits are read as those of several labels a text.

    Raises:
        ValueError: Its name is taken.
    """
    metric = replace(metric, outputs=SEVERAL_LABELS)
    LABEL_METRICS.add(metric.name, metric)
    return metric


def _log_losses(labels: np.ndarray, logits: np.ndarray, classes: int) -> np.ndarray:
    """Return mean binary cross-entropies in nats over the labels, from the logits."""
    # log(1 + exp(z)) - y z, stable for both signs.
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray((np.logaddexp(0.0, values) - labels * values).mean(1))


def _squares(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean of ``(p - [label])^2`` over the labels (Brier 1950)."""
    return np.asarray(((probabilities - labels) ** 2).mean(1))


def _calibration_gaps(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each decision's bin of probability, and whether the label is there minus its probability."""
    shares = scipy.special.expit(np.asarray(logits, dtype=np.float64))
    return bins_of(shares), labels - shares


def _weighted_ece(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    place, gaps = _calibration_gaps(labels, logits)
    sums = np.stack([np.where(place == bin_, gaps, 0.0).sum(1) for bin_ in range(BINS)], axis=1)
    return np.asarray(np.abs(weights @ sums).sum(1) / (weights.sum(1) * classes))


def _auroc(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    return auroc_of(np.asarray(labels, dtype=bool), values, weights)


def _by_weights(name: str, weighted: WeightedScore, **changes: Any) -> Metric:
    """Return the metric of one label a text with this name, computed by this weighted form."""
    forms = {"function": plain(weighted), "weighted": weighted, "per_example": None, "influence": None}
    return replace(METRICS[name], **(forms | changes))


def _by_mean(name: str, per_example: PerExample, **changes: Any) -> Metric:
    """Return the metric of one label a text with this name, computed as the mean of these values."""
    forms = {"function": averaged(per_example), "per_example": per_example, "weighted": None, "influence": None}
    return replace(METRICS[name], **(forms | changes))


register(_by_weights("macro_f1", label_measures.macro_f1, influence=label_measures.macro_f1_influence))
register(_by_weights("micro_f1", label_measures.micro_f1, influence=label_measures.micro_f1_influence))
register(
    Metric(
        "samples_f1",
        "samples F1",
        "max",
        averaged(label_measures.samples_f1),
        per_example=label_measures.samples_f1,
    )
)
register(
    Metric(
        "subset_accuracy",
        "subset accuracy",
        "max",
        averaged(label_measures.all_right),
        per_example=label_measures.all_right,
    )
)
register(
    Metric(
        "mean_average_precision",
        "mean average precision",
        "max",
        plain(label_measures.mean_average_precision),
        needs="probabilities",
        short="mAP",
        undefined=_UNRANKED,
        weighted=label_measures.mean_average_precision,
    )
)
register(_by_weights("auroc", _auroc, undefined=_UNRANKED))
register(_by_mean("log_loss", _log_losses))
register(_by_mean("brier", _squares, bounds=(0.0, 1.0)))
register(_by_weights("ece", _weighted_ece))

#: Metrics that every record of this task holds.
LABEL_BUILT_IN = LABEL_METRICS.known
