"""Several labels a text, each decided by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from tunebench.tasks.base import Task
from tunebench.tasks.label_metrics import LABEL_BUILT_IN, LABEL_METRICS
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.outputs import SEVERAL_LABELS
from tunebench.tasks.scale import AS_IT_IS, Scale
from tunebench.tasks.thresholds import tuned_thresholds


class MultiLabel(Task):
    """Each text has any number of labels; labels are 0/1 matrices ``(n, labels)``."""

    def __reduce__(self) -> str:
        return "MULTI_LABEL"

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows, as binary cross-entropy wants them."""
        return np.asarray(labels, dtype=np.float32)

    def any_labels(self, texts: int, classes: int) -> np.ndarray:
        """Return no label for each."""
        return np.zeros((texts, classes), dtype=np.int8)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return which labels a text has, and in a last column whether it has none."""
        return np.concatenate([labels > 0, ~(labels > 0).any(1, keepdims=True)], axis=1)

    def counts(self, labels: np.ndarray, classes: int) -> list[int]:
        """Return how many texts have each label."""
        return [int(n) for n in labels.sum(0, dtype=np.int64)]

    def linear_rows(self, classes: int) -> int:
        """Return one row a label."""
        return classes

    def taught(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return all labels: one that no text has is taught by its odds."""
        return np.arange(classes)

    def known(self, labels: np.ndarray, taught: np.ndarray) -> np.ndarray:
        """Mark all texts."""
        return np.ones(len(labels), dtype=bool)

    def guessing_loss(self, labels: np.ndarray, classes: int) -> float:
        """Return the loss of giving each label the probability of its share among the texts."""
        shares = labels.mean(0)
        return float((scipy.special.entr(shares) + scipy.special.entr(1 - shares)).mean())

    def selection_metrics(
        self, labels: np.ndarray, logits: np.ndarray, metric: str, scale: Scale = AS_IT_IS
    ) -> dict[str, float]:
        """Return what is logged of every evaluation; at tuned thresholds where the run tunes them.

        At 0.5 rare labels are given to no text for most of a training, and all checkpoints score alike.
        """
        read = self
        if self.tunes_thresholds:
            read = replace(self, outputs=self.outputs.at(tuned_thresholds(labels, logits)))
        return super(MultiLabel, read).selection_metrics(labels, logits, metric, scale)

    def confusion(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return no row: a text that is given the wrong label does not say which one it took the place of."""
        return np.zeros((0, 0), dtype=np.int64)

    def tallies(self, labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how often each label is found, is true, and is given."""
        predicted = self.outputs.predicted(logits)
        return (labels * predicted).sum(0), labels.sum(0), predicted.sum(0)


MULTI_LABEL = MultiLabel(
    name="multi_label",
    label="several labels a text",
    problem_type="multi_label_classification",
    outputs=SEVERAL_LABELS,
    metrics=LABEL_METRICS,
    default_metric=DEFAULT_METRIC,
    always_shown=(DEFAULT_METRIC, "micro_f1"),
    built_in=LABEL_BUILT_IN,
    quick=(DEFAULT_METRIC, "micro_f1", "subset_accuracy", "log_loss"),
    loss="log_loss",
    loss_unit="nats",
    smooths_labels=False,
    exclusive=False,
    labelled=True,
    thresholded=True,
    guess="guessing each label by how often it occurs",
)
