"""What every backend gives."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt
from tunebench.training.estimate import Estimate, EstimateContext

#: Logits of the test part, its labels, and the seconds that scoring took.
Predicted = tuple[np.ndarray, np.ndarray, float]


class Backend(Protocol):
    """One way to train a run. Strategies name theirs, and :mod:`tunebench.training.registry` finds it.

    A module with these functions is a backend.
    """

    def train(self, attempt: Attempt, /) -> RunRecord:
        """Train, select, score on the test part if the attempt says so, and return the record uncommitted.

        Raises:
            Interrupted: ``attempt.stop`` turned true.
        """

    def estimate(self, spec: RunSpec, context: EstimateContext, /) -> Estimate:
        """Say what a run will take."""

    def load(self, spec: RunSpec, folder: RunFolder, /, *, device: str) -> Any:
        """Return the trained model that a run's folder holds."""

    def predict_test(
        self, spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str, /
    ) -> Predicted:
        """Score the test part with the stored model."""
