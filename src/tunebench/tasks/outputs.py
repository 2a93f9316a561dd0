"""How the logits of a head are read: predictions, probabilities, and which labels go with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import scipy

#: What a metric's function is given beside the labels.
Needs = Literal["labels", "probabilities", "logits"]


class Outputs(ABC):
    """How logits are read. Axes before those of one text, such as runs, are kept.

    Attributes:
        in_units: Whether the outputs are in a unit of the data.
    """

    in_units: ClassVar[bool] = False

    @abstractmethod
    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the predictions of logits ``(..., outputs)``, in the form that labels have."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities of logits ``(..., outputs)``, in their type."""

    @abstractmethod
    def of_truth(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the probability that is given to each text's own labels, ``(..., n)``."""

    @abstractmethod
    def stand_ins(self, predicted: np.ndarray, outputs: int) -> np.ndarray:
        """Return logits ``(n, outputs)`` that are read as these predictions.

        They serve metrics that need no more than predictions; their probabilities mean nothing.
        """

    @abstractmethod
    def named(self, predicted: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return predictions ``(n, ...)`` with the names of their labels in place of numbers, ``(n,)``."""

    @abstractmethod
    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check labels of some texts against logits ``(n, outputs)`` that are known to be finite.

        Raises:
            ValueError: The labels do not fit.
        """

    def truth(self, stored: np.ndarray) -> np.ndarray:
        """Return labels as they are stored in the type that metrics take."""
        return np.asarray(stored, dtype=np.int64)

    def right(self, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Tell for each text whether its prediction is its label, ``(..., n)``."""
        return np.asarray(labels == predicted)

    def same(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Tell for each text, ``(n,)``, whether two models predict the same by their logits ``(n, outputs)``."""
        return self.right(self.predicted(first), self.predicted(second))

    def spread(self, logits: np.ndarray) -> float:
        """Return what a difference of logits is measured by: 1, unless logits have a unit."""
        return 1.0

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

    def at(self, thresholds: tuple[float, ...]) -> Outputs:
        """Return the same outputs with other thresholds, one a label.

        Raises:
            ValueError: Predictions rest on no thresholds.
        """
        raise ValueError("these predictions rest on no thresholds")

    def decode(self, logits: np.ndarray, needs: Needs) -> np.ndarray:
        """Return what a metric needs: predictions, probabilities in double precision, or the logits."""
        if needs == "labels":
            return self.predicted(logits)
        return np.asarray(logits if needs == "logits" else self.probabilities(logits.astype(np.float64)))


class OneLabel(Outputs):
    """One label a text: an integer. The largest logit says which, and the softmax is its probability.

    Args:
        thresholds: Of two classes, the probability above which a text is of the second; None is 0.5.
    """

    def __init__(self, thresholds: tuple[float, ...] | None = None) -> None:
        self.thresholds = thresholds
        self._cut = np.float32(0) if thresholds is None else np.float32(scipy.special.logit(thresholds[0]))

    def at(self, thresholds: tuple[float, ...]) -> OneLabel:
        """Return the same outputs with another threshold; for two classes.

        Raises:
            ValueError: It is not one number between 0 and 1.
        """
        if len(thresholds) != 1 or not 0 < thresholds[0] < 1:
            raise ValueError("two classes have one threshold, between 0 and 1")
        return OneLabel(thresholds)

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the class of the largest logit, or by the threshold; of shape ``(...,)``.

        Raises:
            ValueError: There is a threshold, and there are not two classes.
        """
        if self.thresholds is None:
            return np.asarray(logits.argmax(-1))
        if logits.shape[-1] != 2:
            raise ValueError("a threshold is for two classes")
        return np.asarray(logits[..., 1] - logits[..., 0] > self._cut, dtype=np.int64)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax; a text's probabilities sum to 1."""
        return np.asarray(scipy.special.softmax(logits, axis=-1))

    def of_truth(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the probability of each text's class."""
        return np.asarray(probabilities[..., np.arange(len(labels)), labels])

    def stand_ins(self, predicted: np.ndarray, outputs: int) -> np.ndarray:
        """Return 1 for the predicted class and 0 for the others."""
        return np.asarray(np.eye(outputs, dtype=np.float32)[predicted])

    def named(self, predicted: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the name of each class."""
        return np.asarray(np.asarray(names)[predicted])

    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check that labels are integers of classes, of shape ``(n,)``."""
        if labels.ndim != 1:
            raise ValueError(
                f"labels (n,) and logits (n, classes) with n >= 1 are needed, got {labels.shape} and {logits.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")


class SeveralLabels(Outputs):
    """Any number of labels a text: a row of 0 and 1.

    Each logit decides by itself, and the sigmoid is its probability.

    Args:
        thresholds: One a label, above which it is given; None is 0.5 for all.
    """

    def __init__(self, thresholds: tuple[float, ...] | None = None) -> None:
        self.thresholds = thresholds
        self._cuts = (
            np.float32(0) if thresholds is None else scipy.special.logit(np.asarray(thresholds)).astype(np.float32)
        )

    def at(self, thresholds: tuple[float, ...]) -> SeveralLabels:
        """Return the same outputs with other thresholds."""
        return SeveralLabels(thresholds)

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return 1 for each label whose probability is above its threshold, else 0; in the shape of the logits."""
        return np.asarray(logits > self._cuts, dtype=np.int64)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the sigmoid; a text's probabilities do not sum to 1."""
        return np.asarray(scipy.special.expit(logits))

    def right(self, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Tell for each text whether all its labels are right, ``(..., n)``."""
        return np.asarray((labels == predicted).all(-1))

    def same(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Tell of each decision, ``(n, labels)``, whether two models make it alike.

        With many labels a text, some decision of it lies near its threshold: rounding would change most texts.
        """
        return np.asarray(self.predicted(first) == self.predicted(second))

    def of_truth(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return the mean probability of the right decision over a text's labels."""
        return np.asarray(np.where(labels == 1, probabilities, 1 - probabilities).mean(-1))

    def stand_ins(self, predicted: np.ndarray, outputs: int) -> np.ndarray:
        """Return 1 for a label that is given and -1 for one that is not."""
        return np.where(predicted, 1, -1).astype(np.float32)

    def named(self, predicted: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return a tuple of the names of each text's labels, which may be empty."""
        found = np.empty(len(predicted), dtype=object)
        found[:] = [tuple(names[label] for label in np.flatnonzero(row).tolist()) for row in predicted]
        return found

    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check that labels are 0 or 1, one a logit."""
        if labels.shape != logits.shape:
            raise ValueError(
                f"labels and logits (n, labels) with n >= 1 are needed, got {labels.shape} and {logits.shape}"
            )
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("labels must be 0 or 1")


class OneNumber(Outputs):
    """One number a text: the one output, in the unit of the data."""

    in_units: ClassVar[bool] = True

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the numbers in double precision, of shape ``(...,)``."""
        return np.asarray(logits[..., 0], dtype=np.float64)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Refuse: a number has no probability.

        Raises:
            ValueError: Always.
        """
        raise ValueError("numbers have no probabilities")

    def of_truth(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Refuse, as :meth:`probabilities` does.

        Raises:
            ValueError: Always.
        """
        raise ValueError("numbers have no probabilities")

    def stand_ins(self, predicted: np.ndarray, outputs: int) -> np.ndarray:
        """Return the numbers themselves, which are the outputs."""
        return np.asarray(predicted, dtype=np.float32)[:, None]

    def named(self, predicted: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the numbers."""
        return predicted

    def truth(self, stored: np.ndarray) -> np.ndarray:
        """Return the numbers in double precision."""
        return np.asarray(stored, dtype=np.float64)

    def same(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Tell for each text whether two predictions are nearer than :data:`SAME_NUMBER` of the :meth:`spread`."""
        gap = np.abs(self.predicted(first) - self.predicted(second))
        return np.asarray(gap <= SAME_NUMBER * self.spread(first))

    def spread(self, logits: np.ndarray) -> float:
        """Return the standard deviation of the predictions; where they do not vary, their size."""
        found = self.predicted(logits)
        return float(found.std()) or float(np.abs(found).max()) or 1.0

    def check(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Check that labels are finite numbers, and that there is one output."""
        if labels.ndim != 1 or logits.shape[1] != 1:
            raise ValueError(f"numbers (n,) and outputs (n, 1) are needed, got {labels.shape} and {logits.shape}")
        if not np.issubdtype(labels.dtype, np.number) or not np.isfinite(labels).all():
            raise ValueError("labels must be finite numbers")


#: Share of the standard deviation of predictions below which two numbers are the same.
SAME_NUMBER = 0.05
#: One label a text.
ONE_LABEL = OneLabel()
#: Several labels a text.
SEVERAL_LABELS = SeveralLabels()
#: One number a text.
ONE_NUMBER = OneNumber()
