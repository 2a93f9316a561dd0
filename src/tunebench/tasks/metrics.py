"""Metrics of a classifier: functions of labels and logits, and the scores of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from tunebench.tasks.scores import ClassScore, Scores


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        function: Takes labels of shape ``(n,)`` and logits of shape ``(n, classes)``; returns a float.
        direction: Whether larger (``max``) or smaller (``min``) is better.
        label: Name for people.
        unit: Unit; None for a share between 0 and 1.
    """

    function: Callable[[np.ndarray, np.ndarray], float]
    direction: Literal["max", "min"]
    label: str
    unit: str | None = None


def macro_f1(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the unweighted mean of the F1 of all classes; a class without any hit counts 0.

    Every column of ``logits`` is a class, also one that the labels do not hold.

    Args:
        labels: Integers of shape ``(n,)``.
        logits: Shape ``(n, classes)``.

    Raises:
        ValueError: Shapes or labels do not fit, there are no examples, or a logit is not finite.
    """
    from sklearn.metrics import f1_score

    labels, logits = _checked(labels, logits)
    classes = np.arange(logits.shape[1])
    return float(f1_score(labels, logits.argmax(1), labels=classes, average="macro", zero_division=0))


def accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the share of examples whose largest logit is at their label; see :func:`macro_f1`."""
    labels, logits = _checked(labels, logits)
    return float((logits.argmax(1) == labels).mean())


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean cross-entropy in nats, in double precision; see :func:`macro_f1`.

    Taken from the logits, not from probabilities: a confident error costs its true price, where a
    clipped probability would cap it.
    """
    labels, logits = _checked(labels, logits)
    chosen = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return float(-chosen.mean())


#: All metrics by name.
METRICS: dict[str, Metric] = {
    "macro_f1": Metric(macro_f1, "max", "Macro F1"),
    "accuracy": Metric(accuracy, "max", "Accuracy"),
    "log_loss": Metric(log_loss, "min", "Log loss", "nats"),
}


def selection_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return what is logged of every look at the selection split: ``loss``, ``macro_f1`` and ``accuracy``.

    Args:
        labels: Integers of shape ``(n,)``.
        logits: Shape ``(n, classes)``.
    """
    names = {"loss": "log_loss", "macro_f1": "macro_f1", "accuracy": "accuracy"}
    return {name: METRICS[metric].function(labels, logits) for name, metric in names.items()}


def score(labels: np.ndarray, logits: np.ndarray, label_names: Sequence[str]) -> Scores:
    """Score predictions: all of :data:`METRICS`, each class, and the confusion matrix.

    Args:
        labels: Integers of shape ``(n,)``.
        logits: Shape ``(n, classes)``.
        label_names: One name a class.

    Raises:
        ValueError: As :func:`macro_f1`, or the names are not one a class.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels, logits = _checked(labels, logits)
    classes = np.arange(logits.shape[1])
    if len(label_names) != len(classes):
        raise ValueError(f"{len(label_names)} label names for {len(classes)} classes")
    predicted = logits.argmax(1)
    table = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return Scores(
        **{name: metric.function(labels, logits) for name, metric in METRICS.items()},
        per_class=[
            ClassScore(label=name, precision=float(p), recall=float(r), f1=float(f), support=int(n))
            for name, p, r, f, n in zip(label_names, *table, strict=True)
        ],
        confusion=confusion_matrix(labels, predicted, labels=classes).tolist(),
    )


def _checked(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(labels), np.asarray(logits)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"labels (n,) and logits (n, classes) with n >= 1 are needed, got {labels.shape} and {logits.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")
    # argmax would call a NaN the winner.
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    return labels, logits
