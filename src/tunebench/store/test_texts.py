"""Which texts a study scores on, as hashes (``test_texts.json``): a ledger counts by them how often each was used.

No text is stored. A hash of 64 bits tells two texts apart; only who has a text can tell whether it was used.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tunebench.errors import StoreError
from tunebench.files import read_json, write_json
from tunebench.schema import Part
from tunebench.store.seal import seal, unseal

#: Where a ledger notes, in a study's folder, how often its test texts were scored.
NOTE = "ledger.json"


def text_hashes(texts: Iterable[object]) -> np.ndarray:
    """Return a hash of each text, or of each tuple of texts, as unsigned integers of 64 bits."""
    digests = (hashlib.sha256(repr(text).encode("utf-8", "surrogatepass")).digest()[:8] for text in texts)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


class TextsFile:
    """The file in a study's folder.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "test_texts.json"

    def write(self, rows: np.ndarray, hashes: np.ndarray) -> None:
        """Write the row numbers and hashes of the test texts, in the order in which runs are scored on them."""
        values = {"rows": _packed(rows.astype("<u8")), "hashes": _packed(hashes.astype("<u8"))}
        write_json(self.path, seal({"texts": len(rows), **values}))

    def read(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return row numbers and hashes; None of a study from before they were stored.

        Raises:
            StoreError: The file is damaged.
        """
        if not self.path.exists():
            return None
        raw = unseal(read_json(self.path), self.path)
        try:
            rows, hashes = (np.frombuffer(base64.b64decode(raw[key]), dtype="<u8") for key in ("rows", "hashes"))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"The hashes of the test texts are damaged: {error}", value=str(self.path)) from None
        return rows, hashes


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


class LedgerNote(Part):
    """How often the test texts of a study were scored, as a ledger counted it.

    Attributes:
        time: When it was counted.
        texts: Distinct test texts of the study.
        runs: Runs that were scored on some of them.
        studies: How many studies these belong to.
        times: How many runs a text was scored by, on average.
    """

    time: str
    texts: int
    runs: int
    studies: int
    times: float


def write_note(folder: Path, note: LedgerNote) -> None:
    """Write a note into a study's folder."""
    write_json(folder / NOTE, seal(note.model_dump(mode="json")))


def read_note(folder: Path) -> LedgerNote | None:
    """Return the note in a study's folder; None without one.

    Raises:
        StoreError: The file is damaged.
    """
    path = folder / NOTE
    if not path.exists():
        return None
    try:
        return LedgerNote.model_validate(unseal(read_json(path), path))
    except ValidationError as error:
        raise StoreError(f"The ledger's note is damaged: {error.errors()[0]['msg']}", value=str(path)) from None
