"""A study's folder as a comparison."""

from __future__ import annotations

from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.errors import ConfigError, did_you_mean
from tunebench.store.study_folder import StudyStore
from tunebench.tasks.metrics import METRICS


def load_comparison(folder: Path, *, metric: str | None = None) -> Comparison:
    """Load a study's cells for tables and figures; needs no torch.

    Args:
        folder: Of the study.
        metric: Name of the metric to speak of; by default the study's own.

    Raises:
        ConfigError: There is no such metric.
        StoreError: No study is there, or its files are damaged.
    """
    if metric is not None and metric not in METRICS:
        near = did_you_mean(metric.lower(), METRICS)
        raise ConfigError("There is no such metric.", value=metric, allowed=", ".join(METRICS), fix=near)
    store = StudyStore.open(folder)
    audit, study = store.audit(), store.study()
    return Comparison.from_cells(
        store.cells(),
        name=study.name,
        audit=audit,
        metric=metric or study.metric,
        margin=study.margin,
        pairs=study.pairs,
        reference=study.reference,
    )
