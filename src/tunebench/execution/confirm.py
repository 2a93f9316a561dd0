"""The sealed part of the test texts opens once, to confirm the recommended strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.evidence import Entry
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.data import TextDataset
from tunebench.errors import StoreError
from tunebench.execution.resolve import Request, resolve
from tunebench.formatting import command, counted
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.confirmation import Confirmation, ConfirmationFile
from tunebench.store.imported import ImportedStudy, trained_here
from tunebench.store.record import now
from tunebench.store.study_folder import StudyStore
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
        return _confirm(store, dataset, execution, tell)


def _confirm(
    store: StudyStore, dataset: TextDataset, execution: Execution, tell: Callable[[str], None]
) -> Confirmation:
    file, analysis = ConfirmationFile(store.folder), analyse(load_comparison(store.folder))
    opened = file.read()
    if opened is not None and opened.score is not None:
        raise StoreError(
            "The sealed part was opened before. It opens once: a second look would choose by it.",
            value=f"{opened.time}, for {opened.strategy}",
            fix=f"{command('recommend', store.folder)} shows what it gave",
        )
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
    interval = found.interval()
    confirmed = opened.model_copy(
        update={
            "score": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "level": interval.level,
            "over": interval.over,
            "on_test": entry.interval().estimate,
            "file": file.write_predictions(logits=logits, labels=labels, indices=sealed),
        }
    )
    file.write(confirmed)
    return confirmed


def _recommended(analysis: Analysis) -> Entry:
    """Return the recommended runs of a complete study."""
    open_ = [cell for cell in analysis.comparison.cells if cell.status in ("pending", "running")]
    if open_:
        raise StoreError(
            "Runs are still to come. The sealed part opens once, so it waits for the final recommendation.",
            value=f"{len(open_)} of {len(analysis.comparison.cells)} runs",
            fix="finish the study with tunebench run",
        )
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
