"""One number a text."""

from __future__ import annotations

import numpy as np

from tunebench.tasks.base import Task
from tunebench.tasks.number_metrics import NUMBER_BUILT_IN, NUMBER_METRICS
from tunebench.tasks.outputs import ONE_NUMBER
from tunebench.tasks.scale import Scale

#: Most parts of equal size that the numbers of a split are cut into, to spread them evenly.
QUANTILES = 10


class Regression(Task):
    """Each text has one number; labels are doubles of shape ``(n,)``, and there is a single output."""

    def __reduce__(self) -> str:
        return "REGRESSION"

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Return the numbers, as the mean squared error wants them."""
        return np.asarray(labels, dtype=np.float32)

    def scale(self, labels: np.ndarray) -> Scale:
        """Return the scale on which the numbers of the training part have mean 0 and standard deviation 1."""
        return Scale.of(labels)

    def any_labels(self, texts: int, classes: int) -> np.ndarray:
        """Return 0 for each."""
        return np.zeros(texts)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return which of :data:`QUANTILES` quantiles each number lies in; equal numbers lie in the same one."""
        last = -(-np.arange(1, QUANTILES) * len(labels) // QUANTILES) - 1
        edges = np.unique(np.sort(labels)[last])
        return np.asarray(np.searchsorted(edges, labels, side="left")[:, None] == np.arange(len(edges) + 1))

    def counts(self, labels: np.ndarray, classes: int) -> list[int]:
        """Return nothing: there are no labels to count."""
        return []

    def summary(self, labels: np.ndarray) -> dict[str, float]:
        """Describe the numbers; nothing where there are none."""
        if not len(labels):
            return {}
        found = {"mean": labels.mean(), "sd": labels.std(), "minimum": labels.min()}
        found |= {"median": np.median(labels), "maximum": labels.max()}
        return {name: float(value) for name, value in found.items()}

    def linear_rows(self, classes: int) -> int:
        """Return one row."""
        return 1

    def taught(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the one output, unless all numbers are the same."""
        return np.arange(1 if np.ptp(labels) else 0)

    def known(self, labels: np.ndarray, taught: np.ndarray) -> np.ndarray:
        """Mark all texts."""
        return np.ones(len(labels), dtype=bool)

    def guessing_loss(self, labels: np.ndarray, classes: int) -> float:
        """Return the loss of the mean, which is the unit of the loss: the targets have variance 1."""
        return 1.0

    def confusion(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return no row."""
        return np.zeros((0, 0), dtype=np.int64)

    def tallies(self, labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return nothing: there are no labels to find."""
        none = np.zeros(0)
        return none, none, none


REGRESSION = Regression(
    name="regression",
    label="one number a text",
    problem_type="regression",
    outputs=ONE_NUMBER,
    metrics=NUMBER_METRICS,
    default_metric="spearman",
    always_shown=("mae", "rmse"),
    built_in=NUMBER_BUILT_IN,
    quick=NUMBER_BUILT_IN,
    loss="mse",
    loss_unit="share of the variance",
    smooths_labels=False,
    exclusive=False,
    labelled=False,
    thresholded=False,
    guess="answering the mean of the training texts",
)
