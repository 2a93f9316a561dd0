"""The exported model of ``choose``: written once, and again only where another run is to be exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.inference.export.source import ExportSource, recommended_run
from tunebench.inference.export.write import export_run, export_source
from tunebench.inference.stated_facts import EXPORT_FILE
from tunebench.store.study_folder import StudyStore


def export_chosen(comparison: Comparison, folder: Path, *, title: str, tell: Callable[[str], None]) -> Path:
    """Export the best run of the recommended strategy as it is, and return the model's folder.

    Args:
        comparison: The study's runs.
        folder: The study.
        title: What the model card calls it.
        tell: Told what is being done.
    """
    run_id, *_ = recommended_run(comparison)
    model = folder / "model"
    if not _is_export_of(model, run_id):
        _clear(model)
        export_run(folder, out=model, recommended=True, title=title, tell=tell)
    return model


def export_refit(source: ExportSource, folder: Path, *, title: str, tell: Callable[[str], None]) -> Path:
    """Export the last training; for the arguments see :func:`export_chosen`."""
    model = folder / "model"
    if not _is_export_of(model, source.record.run_id):
        _clear(model)
        export_source(source, out=model, title=title, tell=tell)
    return model


def forget_other_refit(place: Path, run_id: str, tell: Callable[[str], None]) -> None:
    """Remove a last training that is not this one: a resumed study may have another answer, or other epochs."""
    begun = [spec.run_id for spec in StudyStore(place).begun()]
    if begun and run_id not in begun:
        tell("the study's answer has changed since the last training, so that is done again")
        shutil.rmtree(place)


def _is_export_of(model: Path, run_id: str) -> bool:
    try:
        facts = json.loads((model / EXPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("run_id") == run_id


def _clear(model: Path) -> None:
    """Delete our own export before another one replaces it; anything else stays, and the export refuses it."""
    if (model / EXPORT_FILE).exists():
        shutil.rmtree(model)
