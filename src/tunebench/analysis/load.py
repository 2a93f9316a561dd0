"""A study's folder as a comparison."""

from __future__ import annotations

from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.store.study_folder import StudyStore


def load_comparison(folder: Path) -> Comparison:
    """Load a study's cells for tables and figures; needs no torch.

    Raises:
        StoreError: No study is there, or its files are damaged.
    """
    store = StudyStore.open(folder)
    audit, study = store.audit(), store.study()
    return Comparison.from_cells(
        store.cells(), name=study.name, audit=audit, margin=study.margin, pairs=study.pairs
    )
