"""What became of the sealed part of a study's test texts: ``sealed.json``, and the predictions beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tunebench.errors import StoreError
from tunebench.files import StoredFile, read_json, stored_file, write_json
from tunebench.schema import Part
from tunebench.store.seal import seal, unseal


class Confirmation(Part):
    """The one opening of a sealed part.

    It is written before the texts are scored, and once more with what the scoring gave.

    Attributes:
        time: When it was opened.
        strategy: The strategy that was recommended then.
        train_size: At which size.
        runs: Ids of the runs that are scored.
        undefined: For how many of them the metric is not defined on the sealed texts; the score leaves them out.
        metric: Name of the metric.
        texts: How many were sealed.
        score: Mean over the runs; None while the scoring has not ended, or where the metric is defined for none.
        low: Lower end of its interval.
        high: Upper end.
        level: Of the interval.
        over: The sources of variation that the interval holds.
        on_test: The mean of the same runs on the open test part.
        file: The stored predictions.
    """

    time: str
    strategy: str
    train_size: int
    runs: tuple[str, ...]
    metric: str
    texts: int
    score: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    over: str | None = None
    on_test: float | None = None
    file: StoredFile | None = None
    undefined: int = 0

    @property
    def ended(self) -> bool:
        """Whether the scoring has ended."""
        return self.score is not None or self.undefined == len(self.runs)


class ConfirmationFile:
    """The file in a study's folder.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sealed.json"
        self.predictions = folder / "sealed.npz"

    def read(self) -> Confirmation | None:
        """Return what was written; None where the part is still sealed.

        Raises:
            StoreError: The file is damaged, or was edited.
        """
        if not self.path.exists():
            return None
        try:
            return Confirmation.model_validate(unseal(read_json(self.path), self.path))
        except ValidationError as error:
            what = f"The file of the sealed part is damaged: {error.errors()[0]['msg']}"
            raise StoreError(what, value=str(self.path)) from None

    def write(self, confirmation: Confirmation) -> None:
        """Write the opening, or its result."""
        write_json(self.path, seal(confirmation.model_dump(mode="json")))

    def write_predictions(self, *, logits: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> StoredFile:
        """Write what was predicted on the sealed texts: logits of each run, ``(runs, n, classes)``."""
        np.savez_compressed(self.predictions, logits=logits, labels=labels, indices=indices)
        return stored_file(self.predictions)
