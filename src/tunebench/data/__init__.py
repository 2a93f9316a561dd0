"""Data sets: packaged ones by name, files and folders, and the Hub.

To add a packaged one: an entry in :data:`DATASETS`; the tests run over it.
"""

from __future__ import annotations

from tunebench.data.load import load_dataset
from tunebench.data.packaged import DATASETS, PackagedDataset
from tunebench.data.types import Split, TextDataset

__all__ = ["DATASETS", "PackagedDataset", "Split", "TextDataset", "load_dataset"]
