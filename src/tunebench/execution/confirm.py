"""The sealed part of the test texts opens once, to confirm the recommended strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import Entry
from tunebench.analysis.load import load_comparison
from tunebench.analysis.looks import between_looks
from tunebench.analysis.outcome import outcome_of
from tunebench.analysis.recommend import recommend
from tunebench.data import TextDataset
from tunebench.errors import StoreError
from tunebench.execution.resolve import Request, resolve
from tunebench.formatting import command, counted
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.cell import Cell
from tunebench.store.confirmation import Confirmation, ConfirmationFile
from tunebench.store.imported import ImportedStudy, trained_here
from tunebench.store.record import now
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.tasks.temperature import tempered
from tunebench.training.parts import run_parts
from tunebench.training.registry import backend_of


def confirm_study(folder: Path, *, execution: Execution, tell: Callable[[str], None]) -> Confirmation:
    """Score the recommended strategy on the sealed part, once.

    What is recommended, and whether the part was opened before, is read under the lock of the test part. The
    opening is written down before the first text is scored. If the scoring is cut short, the next call completes
    it: the same runs, as the same opening.

    Args:
        folder: Of the study.
        execution: Device and threads.
        tell: Called with a line for each step.

    Raises:
        StoreError: The study has no sealed part, it is not complete, the part was opened before, or a run has no
            weights any more.
    """
    store = StudyStore.open(folder)
    study = store.study()
    if isinstance(study, ImportedStudy) or not study.sealed:
        raise StoreError(
            "The study has no sealed part, so there is nothing to confirm on.",
            value=str(folder),
            fix="set sealed: true in a new study, before its first run",
        )
    dataset = resolve(study, Request(execution=execution, folder=folder, tell=tell)).dataset
    with store.test_part_locked(waits=lambda: tell("waiting for another process that scores on test")):
        return _confirm(store, study, dataset, execution, tell)


def _confirm(
    store: StudyStore,
    study: StudyConfig,
    dataset: TextDataset,
    execution: Execution,
    tell: Callable[[str], None],
) -> Confirmation:
    file, analysis = ConfirmationFile(store.folder), analyse(load_comparison(store.folder))
    opened = file.read()
    if opened is not None and opened.ended:
        raise StoreError(
            "The sealed part was opened before. It opens once: a second look would choose by it.",
            value=f"{opened.time}, for {opened.strategy}",
            fix=f"{command('recommend', store.folder)} shows what it gave",
        )
    if opened is None:
        _check_complete(analysis, study)
    entry = _recommended(analysis) if opened is None else _opened_for(analysis, opened)
    for cell in entry.cells:
        run = store.run_folder(cell.spec.run_id)
        assert cell.record is not None
        run.require_weights(cell.record)
    sealed = run_parts(trained_here(entry.cells[0].spec), dataset).sealed
    if opened is None:
        opened = Confirmation(
            time=now(),
            strategy=entry.label,
            train_size=entry.train_size,
            runs=tuple(cell.spec.run_id for cell in entry.cells),
            metric=entry.metric.name,
            texts=len(sealed),
        )
        file.write(opened)
    tell(f"scoring {entry.label} on {len(sealed):,} sealed texts ({counted(len(entry.cells), 'run')})")
    found, logits, labels = _scored(entry, store, dataset, execution)
    stored = file.write_predictions(logits=logits, labels=labels, indices=sealed)
    confirmed = opened.model_copy(update={"file": stored, **_result(entry, found)})
    file.write(confirmed)
    return confirmed


def _check_complete(analysis: Analysis, study: StudyConfig) -> None:
    """Refuse a study that another ``tunebench run`` would go on with."""
    comparison, total = analysis.comparison, len(study.seeds)
    open_ = [cell for cell in comparison.cells if cell.to_come]
    left_out = [cell for cell in _left_out(comparison) if cell.spec.seed in study.seeds]
    planned = len({cell.spec.seed for cell in comparison.cells} & set(study.seeds))
    if open_ or left_out:
        value = f"{len(open_) + len(left_out)} of {len(comparison.cells)} runs"
        value += f"; the budget left out {len(left_out)}" if left_out else ""
    elif planned < total and not _ended_at_look(analysis):
        value = f"{planned} of {total} seeds have run"
        value += "" if comparison.design is None else ", and no look has ended the study"
    else:
        return
    raise StoreError(
        "Runs are still to come. The sealed part opens once, so it waits for the final recommendation.",
        value=value,
        fix="finish the study with tunebench run",
    )


def _left_out(comparison: Comparison) -> Iterator[Cell]:
    """Yield what a budget left out of the chosen runs, and of strategies of which nothing ran."""
    for group in comparison.groups():
        if group.selected is not None:
            yield from (cell for cell in group.lacking if cell.status == "left_out")
        elif all(cell.status == "left_out" for cell in group.cells):
            yield from group.cells


def _ended_at_look(analysis: Analysis) -> bool:
    """Tell whether a study that is read more than once has ended before its last seed."""
    comparison = analysis.comparison
    return comparison.design is not None and not between_looks(comparison) and outcome_of(analysis).decided


def _recommended(analysis: Analysis) -> Entry:
    """Return the recommended runs."""
    found = recommend(analysis)
    return next(entry for entry in analysis.at(found.train_size) if entry.label == found.strategy)


def _opened_for(analysis: Analysis, opened: Confirmation) -> Entry:
    """Return the runs that an opening which was cut short is for."""
    for entry in analysis.at(opened.train_size):
        if tuple(cell.spec.run_id for cell in entry.cells) == opened.runs:
            return entry
    raise StoreError(
        "The sealed part was opened for runs that the study no longer shows. It opens once.",
        value=f"{opened.time}, for {opened.strategy}",
    )


@devices.kept_threads()
def _scored(
    entry: Entry, store: StudyStore, dataset: TextDataset, execution: Execution
) -> tuple[Entry, np.ndarray, np.ndarray]:
    """Return the runs as an entry on the sealed texts, their logits and the labels."""
    device = devices.resolve_device(execution.device)
    devices.set_threads(devices.threads_of(execution))
    logits, predicted, labels = [], [], np.empty(0)
    for cell in entry.cells:
        spec, record = trained_here(cell.spec), cell.record
        assert record is not None
        parts = run_parts(spec, dataset)
        sealed = replace(parts, test=parts.sealed)
        found, labels, _ = backend_of(spec.kind).predict_test(
            spec, dataset, sealed, store.run_folder(spec.run_id), device
        )
        found = tempered(found, record.temperature)
        logits.append(found)
        predicted.append(record.task.outputs.predicted(found))
    stacked = np.stack(logits)
    truth = entry.task.outputs.truth(labels)
    on_sealed = Entry(entry.config, entry.seeds, truth, np.stack(predicted), stacked, entry.metric)
    return on_sealed, stacked, labels


def _result(entry: Entry, found: Entry) -> dict[str, Any]:
    """Return what the runs for which the metric is defined gave on the sealed texts, for the file.

    Args:
        entry: The runs on the open test part.
        found: The same runs on the sealed texts.
    """
    assert found.logits is not None
    defined = ~np.isnan(found.seed_scores(found.metric))
    if not defined.any():
        return {"undefined": len(defined)}
    seeds = tuple(seed for seed, known in zip(found.seeds, defined, strict=True) if known)
    predictions, logits = found.predictions[defined], found.logits[defined]
    interval = Entry(found.config, seeds, found.labels, predictions, logits, found.metric).interval()
    return {
        "score": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
        "over": interval.over,
        "on_test": float(entry.seed_scores(entry.metric)[defined].mean()),
        "undefined": int((~defined).sum()),
    }
