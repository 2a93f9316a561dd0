"""What can be fitted on fixed features: the protocols that choosing C works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tunebench.strategies.base import Head
from tunebench.training.imbalance import Weigh
from tunebench.training.linear.heads import LinearHead


class LinearModel(Protocol):
    """A fitted model: features, and a linear function of them."""

    @property
    def head(self) -> LinearHead:
        """The function of the features."""

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)`` of features."""


class Learner(Protocol):
    """Fits linear classifiers on some of a run's labelled texts.

    Attributes:
        labels: Of the texts, as the task has them.
        classes: Number of classes.
        head: What is fitted.
        weigh: Gives the weight of each label from the labels that are fitted on, or None.
    """

    labels: np.ndarray
    classes: int
    head: Head
    weigh: Weigh

    def fits(self, rows: np.ndarray, grid: Sequence[float]) -> Iterator[Any]:
        """Fit one :class:`LinearModel` a value of C on some of the texts, each when it is asked for."""

    def features(self, model: Any, rows: np.ndarray) -> Any:
        """Return a model's features of some of the texts."""
