"""A study's folder as a comparison."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.errors import ConfigError, did_you_mean
from tunebench.store.cell import Cell
from tunebench.store.confirmation import ConfirmationFile
from tunebench.store.imported import ImportedStudy, is_imported
from tunebench.store.looks import LookLog
from tunebench.store.study_folder import StudyStore
from tunebench.store.test_texts import read_note
from tunebench.study.config import StudyConfig
from tunebench.study.looks import design_of
from tunebench.tasks.registry import TASKS


def load_comparison(folder: Path, *, metric: str | None = None) -> Comparison:
    """Load a study's cells for tables and figures; needs no torch.

    Args:
        folder: Of the study.
        metric: Name of the metric to speak of; by default the study's own.

    Raises:
        ConfigError: There is no such metric.
        StoreError: No study is there, or its files are damaged.
    """
    store = StudyStore.open(folder)
    audit, study, cells = store.audit(), store.study(), store.cells()
    if metric is not None and cells:
        metrics = TASKS[cells[0].spec.task].metrics
        if metric not in metrics:
            near = did_you_mean(metric.lower(), metrics)
            raise ConfigError("There is no such metric.", value=metric, allowed=", ".join(metrics), fix=near)
    return Comparison(
        name=study.name,
        cells=cells,
        audit=audit,
        metric=metric or study.metric,
        margin=study.margin,
        pairs=study.pairs,
        reference=study.reference,
        alpha=study.alpha,
        design=None if isinstance(study, ImportedStudy) else design_of(study),
        looks=LookLog(folder).read(),
        sealed=not isinstance(study, ImportedStudy) and study.sealed,
        confirmation=ConfirmationFile(folder).read(),
        ledger=read_note(folder),
        chosen_by_seed=_chosen_by_seed(study, cells),
    )


def _chosen_by_seed(study: StudyConfig | ImportedStudy, cells: Sequence[Cell]) -> Collection[str]:
    """Return the strategies of which each seed chose its own setting: all that were trained here, or none.

    A strategy that is no longer in the study's file has its runs here still.
    """
    if isinstance(study, ImportedStudy) or study.search.seeds != "each":
        return ()
    return {cell.spec.label for cell in cells if not is_imported(cell.spec)}
