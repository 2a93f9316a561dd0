"""What a run predicted on the test part, as a file."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np

from tunebench.errors import StoreError
from tunebench.files import StoredFile, of_bytes, read_regular

#: Most bytes of predictions, unpacked: a million examples of five hundred classes.
_MOST_BYTES = 2**31


def write_predictions(path: Path, *, logits: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
    """Write predictions by rename; see :meth:`~tunebench.store.run_folder.RunFolder.write_predictions`."""
    temporary = path.with_name(f".predictions.{os.getpid()}.npz")
    try:
        np.savez_compressed(temporary, logits=logits, labels=labels, indices=indices)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_predictions(path: Path, expected: StoredFile | None = None) -> dict[str, np.ndarray]:
    """Return logits, labels and indices.

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
            return {name: stored[name] for name in ("logits", "labels", "indices")}
    except Exception as error:
        # zipfile, zlib and NumPy's parser raise errors without a common base for damage.
        raise StoreError(f"The predictions cannot be read: {error}", value=str(path)) from None
