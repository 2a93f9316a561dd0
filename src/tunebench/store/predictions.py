"""What a run predicted on the test part, as a file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from tunebench.errors import StoreError
from tunebench.files import StoredFile, of_bytes, read_regular, replacing

#: Most bytes of predictions, unpacked: a million examples of five hundred classes.
_MOST_BYTES = 2**31


#: What a file holds: labels, row numbers, and what was predicted: logits, or predictions alone.
_ALWAYS, _EITHER = ("labels", "indices"), ("logits", "predicted")


def write_predictions(
    path: Path,
    *,
    labels: np.ndarray,
    indices: np.ndarray,
    logits: np.ndarray | None = None,
    predicted: np.ndarray | None = None,
) -> None:
    """Write predictions by rename; see :meth:`~tunebench.store.run_folder.RunFolder.write_predictions`."""
    if (logits is None) == (predicted is None):
        raise ValueError("predictions are stored as logits, or alone where no logits are known")
    told = {"predicted": predicted} if logits is None else {"logits": logits}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, labels=labels, indices=indices, **told)


def read_predictions(path: Path, expected: StoredFile | None = None) -> dict[str, np.ndarray]:
    """Return labels, indices, and logits; ``predicted`` in place of logits where they are not known.

    Args:
        path: The file.
        expected: What a record says of it; None where there is no record.

    Raises:
        StoreError: The file is missing, damaged, or another one.
    """
    try:
        # Read once: the bytes that are parsed are those that were checked.
        raw = read_regular(path, limit=_MOST_BYTES if expected is None else expected.bytes)
    except (OSError, StoreError) as error:
        why = error.what if isinstance(error, StoreError) else error.strerror
        raise StoreError(f"The predictions cannot be read: {why}", value=str(path)) from None
    if expected is not None and of_bytes(raw) != expected:
        raise StoreError("A file of a complete run is damaged.", value=str(path))
    try:
        with np.load(BytesIO(raw), allow_pickle=False) as stored:
            # What a few bytes can claim to unpack to has no bound.
            if sum(part.file_size for part in stored.zip.infolist()) > _MOST_BYTES:
                raise ValueError("they are larger than any that are written")
            told = [name for name in _EITHER if name in stored]
            if len(told) != 1:
                raise ValueError("it holds neither logits nor predictions" if not told else "it holds both")
            return {name: stored[name] for name in (*told, *_ALWAYS)}
    except Exception as error:
        # zipfile, zlib and NumPy's parser raise errors without a common base for damage.
        raise StoreError(f"The predictions cannot be read: {error}", value=str(path)) from None
