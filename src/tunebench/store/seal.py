"""A hash that a JSON file holds of itself, so that a changed digit is found.

It shows damage and careless edits. Whoever means to deceive can compute it as well; see
:mod:`tunebench.store.rescore` for what is recomputed in any case.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tunebench.errors import StoreError

#: The key under which a file holds the hash of everything else in it.
KEY = "sha256"


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """Return JSON values with the hash of themselves."""
    return {**value, KEY: _digest(value)}


def unseal(raw: Any, path: Path) -> Any:
    """Check the hash of what was read from a file, and return the values without it.

    Files from before there were hashes have none, and are returned as they are.

    Raises:
        StoreError: The values are not those that were written.
    """
    if not isinstance(raw, dict) or KEY not in raw:
        return raw
    value = {key: part for key, part in raw.items() if key != KEY}
    if raw[KEY] != _digest(value):
        raise StoreError(
            "The file was changed after it was written: it no longer has the hash that it holds of itself.",
            value=str(path),
        )
    return value


def _digest(value: dict[str, Any]) -> str:
    # As it will be read: a key that is a number becomes text, a tuple a list.
    read = json.loads(json.dumps(value))
    canonical = json.dumps(read, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
