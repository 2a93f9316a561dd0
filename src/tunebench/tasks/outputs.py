"""How the logits of a head are read: predictions, probabilities, and which labels go with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from scipy.special import softmax

#: What a metric's function is given beside the labels.
Needs = Literal["labels", "probabilities", "logits"]


class Outputs(ABC):
    """How logits are read. Axes before those of one text, such as runs, are kept."""

    @abstractmethod
    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the predictions of logits ``(..., outputs)``, in the form that labels have."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities of logits ``(..., outputs)``, in their type."""

    @abstractmethod
    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check labels of some texts against logits ``(n, outputs)`` that are known to be finite.

        Raises:
            ValueError: The labels do not fit.
        """

    def right(self, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Tell for each text whether its prediction is its label, ``(..., n)``."""
        return np.asarray(labels == predicted)

    def checked(self, labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and logits as arrays.

        Raises:
            ValueError: Shapes or labels do not fit, there are no examples, or a logit is not finite.
        """
        labels, logits = np.asarray(labels), np.asarray(logits)
        if logits.ndim != 2 or labels.shape[:1] != logits.shape[:1] or not len(labels):
            raise ValueError(
                f"labels (n,) and logits (n, classes) with n >= 1 are needed, got {labels.shape} and {logits.shape}"
            )
        self.check(labels, logits)
        # argmax would call a NaN the winner.
        if not np.isfinite(logits).all():
            raise ValueError("a logit is not finite")
        return labels, logits

    def decode(self, logits: np.ndarray, needs: Needs) -> np.ndarray:
        """Return what a metric needs: predictions, probabilities in double precision, or the logits."""
        if needs == "labels":
            return self.predicted(logits)
        return np.asarray(logits if needs == "logits" else self.probabilities(logits.astype(np.float64)))


class OneLabel(Outputs):
    """One label a text: an integer. The largest logit says which, and the softmax is its probability."""

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the class of the largest logit, of shape ``(...,)``."""
        return np.asarray(logits.argmax(-1))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax; a text's probabilities sum to 1."""
        return np.asarray(softmax(logits, axis=-1))

    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check that labels are integers of classes, of shape ``(n,)``."""
        if labels.ndim != 1:
            raise ValueError(
                f"labels (n,) and logits (n, classes) with n >= 1 are needed, got {labels.shape} and {logits.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")


#: One label a text.
ONE_LABEL = OneLabel()
