"""Data sets: packaged ones by name, files and folders, and the Hub.

To add a packaged one: an entry in :data:`DATASETS`; the tests run over it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunebench.data.load import load_dataset
    from tunebench.data.packaged import DATASETS, PackagedDataset
    from tunebench.data.types import Split, TextDataset

__all__ = ["DATASETS", "PackagedDataset", "Split", "TextDataset", "load_dataset"]

#: Where the names live; loaded on first use: whoever reads results reads no data set.
_PUBLIC = {
    "DATASETS": "tunebench.data.packaged",
    "PackagedDataset": "tunebench.data.packaged",
    "Split": "tunebench.data.types",
    "TextDataset": "tunebench.data.types",
    "load_dataset": "tunebench.data.load",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tunebench.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
