"""Files of other people, read with limits and without trust: JSON, arrays, and the headers of safetensors."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.notes import Notes

#: Larger files are refused: no log, and no predictions of a classifier, are of that size.
MAX_JSON_BYTES = 256 * 2**20
MAX_ARRAY_BYTES = 4 * 2**30
_MAX_HEADER_BYTES = 100 * 2**20
#: The way past a file of a run's own that is damaged: what it told is then not known.
WITHOUT = "repair it, or remove it from the folder; then the run is read without it"
#: How writers of strict JSON spell what JSON has no number for.
_WORDS = frozenset({"NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"})


def checked_file(path: Path, limit: int | None = None) -> Path:
    """Return a path after checking that a plain file of bearable size is there; links are followed.

    Raises:
        StoreError: A link that points to nothing, something that is not a file, or a file that is too large.
    """
    try:
        regular = path.resolve(strict=True).is_file()
        size = path.stat().st_size
    except (OSError, RuntimeError):
        raise StoreError(
            "This link points to nothing.", value=str(path), fix="replace the link with the file"
        ) from None
    if not regular:
        raise StoreError("This is not a file.", value=str(path), allowed="a plain file, or a link to one")
    if limit is not None and size > limit:
        raise StoreError(
            f"The file is too large: {size / 2**20:,.0f} MiB.",
            value=str(path),
            allowed=f"up to {limit / 2**20:,.0f} MiB",
        )
    return path


def sha256_of(path: Path) -> str:
    """Return the hash of a file, read in pieces.

    Raises:
        StoreError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise StoreError(f"The file cannot be read: {error.strerror}.", value=str(path)) from None
    return digest.hexdigest()


def read_json_file(path: Path) -> Any:
    """Read JSON; NaN and Infinity, which Python writes although JSON has none, are read as floats.

    Raises:
        StoreError: Too large, not UTF-8, cut short, or no JSON.
    """
    checked_file(path, MAX_JSON_BYTES)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise StoreError(f"The file is not UTF-8 (byte {error.start}).", value=str(path)) from None
    except json.JSONDecodeError as error:
        raise StoreError(
            f"This is not valid JSON (line {error.lineno}, column {error.colno}): {error.msg}.",
            value=str(path),
            fix=f"the file may be truncated; {WITHOUT}",
        ) from None
    except (RecursionError, ValueError):
        raise StoreError("This is not valid JSON: it is nested too deeply.", value=str(path)) from None
    except OSError as error:
        raise StoreError(f"The file cannot be read: {error.strerror}.", value=str(path)) from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; see :func:`read_json_file`.

    Raises:
        StoreError: As there, or it is something else.
    """
    raw = read_json_file(path)
    if not isinstance(raw, dict):
        raise StoreError("This file holds no JSON object.", value=f"{path}: {type(raw).__name__}")
    return raw


def number(raw: dict[str, Any], key: str, path: Path, notes: Notes, *, whole: bool = False) -> Any:
    """Return a number of an object, or None where it has none.

    Args:
        raw: The object.
        key: Its key.
        path: Where it was read.
        notes: Notes a value that is not a finite number, or not whole; it counts as not known.
        whole: Integers only.
    """
    value = raw.get(key)
    if value is None:
        return None
    if is_not_finite(value):
        notes.not_finite(path, key)
        return None
    if is_number(value) and (not whole or value == int(value)):
        return int(value) if whole else float(value)
    notes.unusable(path, key, value, "a whole number" if whole else "a number")
    return None


def is_number(value: Any) -> bool:
    """Tell numbers, NaN and infinity included, from everything else; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: float) -> bool:
    """Tell whether a number fits a float and is neither NaN nor infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_not_finite(value: Any) -> bool:
    """Tell NaN and infinity, also as the words that some writers of JSON put in their place."""
    return (is_number(value) and not is_finite(value)) or (isinstance(value, str) and value in _WORDS)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file.

    Raises:
        StoreError: Damaged, too large when unpacked, or an array of Python objects, which would have to be
            unpickled.
    """
    checked_file(path, MAX_ARRAY_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_ARRAY_BYTES:
            raise StoreError(
                f"The arrays are too large: {unpacked / 2**20:,.0f} MiB unpacked.",
                value=str(path),
                allowed=f"up to {MAX_ARRAY_BYTES / 2**20:,.0f} MiB",
            )
        with np.load(path, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise StoreError(
                "The file holds Python objects, which are never unpickled.",
                value=str(path),
                allowed="arrays of numbers",
                fix="save the arrays again with a numeric dtype",
            ) from None
        raise StoreError("The arrays cannot be read.", value=f"{path}: {error}") from None
    except StoreError:
        raise
    except (OSError, EOFError, KeyError, MemoryError, NotImplementedError, RuntimeError) as error:
        raise StoreError("The arrays cannot be read.", value=f"{path}: {error}") from None
    except Exception as error:
        # zipfile and zlib raise errors of their own for damage (BadZipFile, zlib.error).
        raise StoreError("The file is damaged, or not an .npz file.", value=f"{path}: {error}") from None


def parameter_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every floating-point tensor in a safetensors file, from its header.

    Raises:
        StoreError: It is damaged.
    """
    checked_file(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError("the header is too long")
            header = json.loads(file.read(length))
        return {
            name: tuple(int(size) for size in tensor["shape"])
            for name, tensor in header.items()
            if name != "__metadata__" and tensor["dtype"].startswith(("F", "BF"))
        }
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError("The safetensors file is damaged.", value=f"{path}: {error}") from None
