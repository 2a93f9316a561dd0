"""One label a text."""

from __future__ import annotations

import math

import numpy as np

from tunebench.tasks.base import Task
from tunebench.tasks.metrics import ALWAYS_SHOWN, BUILT_IN, DEFAULT_METRIC, METRICS
from tunebench.tasks.outputs import ONE_LABEL


class Classification(Task):
    """Each text has one of several labels; labels are integers of shape ``(n,)``."""

    def __reduce__(self) -> str:
        return "CLASSIFICATION"

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes, as cross-entropy wants them."""
        return np.asarray(labels, dtype=np.int64)

    def any_labels(self, texts: int, classes: int) -> np.ndarray:
        """Return the first class for each."""
        return np.zeros(texts, dtype=np.int64)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes."""
        return labels

    def counts(self, labels: np.ndarray, classes: int) -> list[int]:
        """Return how many texts each class has."""
        return [int(n) for n in np.bincount(labels, minlength=classes)]

    def linear_rows(self, classes: int) -> int:
        """Return one row a class, or one in all for two classes."""
        return 1 if classes == 2 else classes

    def taught(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the classes that the labels hold; a single one teaches nothing."""
        present = np.unique(labels)
        return present if len(present) > 1 else present[:0]

    def known(self, labels: np.ndarray, taught: np.ndarray) -> np.ndarray:
        """Mark the texts of these classes."""
        return np.isin(labels, taught)

    def guessing_loss(self, labels: np.ndarray, classes: int) -> float:
        """Return the loss of equal probabilities."""
        return math.log(classes)

    def confusion(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return how many examples of each class (row) were given each class (column)."""
        classes = logits.shape[1]
        pairs = labels.astype(np.int64) * classes + self.outputs.predicted(logits)
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def tallies(self, labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how often each class is found, is true, and is given."""
        confusion = self.confusion(labels, logits)
        return np.diag(confusion), confusion.sum(1), confusion.sum(0)


CLASSIFICATION = Classification(
    name="single_label",
    label="one label a text",
    problem_type="single_label_classification",
    outputs=ONE_LABEL,
    metrics=METRICS,
    default_metric=DEFAULT_METRIC,
    always_shown=ALWAYS_SHOWN,
    built_in=BUILT_IN,
    quick=(DEFAULT_METRIC, "accuracy", "log_loss"),
    loss="log_loss",
    loss_unit="nats",
    smooths_labels=True,
    exclusive=True,
    labelled=True,
    thresholded=False,
    guess=None,
)
