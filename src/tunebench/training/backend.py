"""What every backend gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import Text
from tunebench.data.tokens import Cut
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt
from tunebench.training.estimate import Estimate, EstimateContext

#: Logits of the test part, its labels, and the seconds that scoring took.
Predicted = tuple[np.ndarray, np.ndarray, float]


class TextModel(Protocol):
    """A trained classifier that reads texts by itself, without a Transformers classification head."""

    features_name: ClassVar[str]

    @property
    def head(self) -> Any:
        """The classifier of the features: ``coefficients`` and ``intercepts``."""

    @property
    def max_length(self) -> int | None:
        """Most tokens that are read of a text, special ones included; None where whole texts are read."""

    @property
    def cut(self) -> Cut | None:
        """Which tokens of a longer text these are; None where whole texts are read."""

    def use_bf16(self) -> bool:
        """Compute the encoder's matrix products in bf16 from now on; False where there is no encoder."""

    def encode(self, texts: Sequence[Text], /) -> list[np.ndarray]:
        """Return what is computed of each text: integers, about as many as it takes time."""

    def logits_of(self, rows: Sequence[np.ndarray], /, *, batch_tokens: int) -> np.ndarray:
        """Return the fp32 logits ``(texts, classes)`` of what :meth:`encode` gave."""

    def export(self, folder: Path, weights: str, /) -> dict[str, Any]:
        """Write everything into a folder, the regression to the file ``weights``; return what reading needs."""


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
        """Return the trained model that a run's folder holds: a torch classifier, or a :class:`TextModel`."""

    def predict_test(
        self, spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str, /
    ) -> Predicted:
        """Score the test part with the stored model."""
