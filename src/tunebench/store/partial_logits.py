"""Logits of the test part as far as a run got before it was stopped: it scores the rest when it resumes."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path

import numpy as np

from tunebench.files import read_regular, replacing
from tunebench.machine.clock import Clock

#: Most bytes that are read of a file.
_MOST_BYTES = 2**31


class PartialLogits:
    """Logits of a part's texts, not all of them known yet, and what scoring them took.

    They are of use only to the weights and texts that they were computed with. A file of others, or a damaged one,
    is passed over: the part is then scored from its first text on.

    Args:
        path: The file; it need not be there.
        weights: Hash of the weights that score.
        indices: Row numbers of the part, ``(texts,)``.
        classes: Logits a text.
        save_seconds: At most this much work is lost by a kill.

    Attributes:
        rows: float32 ``(texts, classes)``; NaN where a text is not scored yet.
        earlier_wall: Wall seconds of scoring in earlier attempts.
        earlier_cpu: Their CPU seconds.
    """

    def __init__(
        self, path: Path, *, weights: str, indices: np.ndarray, classes: int, save_seconds: float = 300.0
    ) -> None:
        self.path, self._weights, self._indices, self._every = path, weights, np.asarray(indices), save_seconds
        self.rows = np.full((len(self._indices), classes), np.nan, dtype=np.float32)
        self.earlier_wall = self.earlier_cpu = 0.0
        self._take_stored()
        self._clock, self._saved = Clock(), time.monotonic()

    def save(self, *, only_if_due: bool = False) -> None:
        """Write what is known, by rename; on request only where the last time is ``save_seconds`` ago."""
        if only_if_due and time.monotonic() - self._saved < self._every:
            return
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                logits=self.rows,
                indices=self._indices,
                weights=np.array(self._weights),
                seconds=np.array([self.earlier_wall + self._clock.wall, self.earlier_cpu + self._clock.cpu]),
            )
        self._saved = time.monotonic()

    def _take_stored(self) -> None:
        try:
            with np.load(BytesIO(read_regular(self.path, limit=_MOST_BYTES)), allow_pickle=False) as stored:
                logits, seconds = stored["logits"], stored["seconds"]
                ours = str(stored["weights"]) == self._weights and np.array_equal(stored["indices"], self._indices)
        except Exception:
            # Mostly there is no file. For damage zipfile, zlib and NumPy raise errors without a common base.
            return
        if ours and logits.shape == self.rows.shape and logits.dtype == self.rows.dtype and seconds.shape == (2,):
            self.rows[:] = logits
            self.earlier_wall, self.earlier_cpu = map(float, seconds)
