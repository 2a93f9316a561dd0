"""The chosen method, trained again on all labels, ready to be exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.recommend import Recommendation
from tunebench.data import Split, TextDataset
from tunebench.execution.display import Display
from tunebench.execution.runner import Job, Summary, run_plan
from tunebench.inference.artifacts import describe
from tunebench.inference.export.source import ExportSource, open_source
from tunebench.inference.export.write import CHECKED_TEXTS
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.imported import trained_here
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.training.parts import run_parts
from tunebench.training.registry import backend_of, run_one


@dataclass(frozen=True)
class Refit:
    """A run on all labels.

    Attributes:
        spec: The run.
        dataset: All labels to learn from; as test part the one that the study scored.
        measured: Whether its test part is no part of what it learns from.
    """

    spec: RunSpec
    dataset: TextDataset
    measured: bool


def chosen_runs(comparison: Comparison, found: Recommendation) -> Configuration:
    """Return the runs of the recommended strategy."""
    group = comparison.group(found.strategy, found.train_size)
    assert group is not None and group.selected is not None
    return group.selected


def plan_refit(runs: Configuration, dataset: TextDataset) -> Refit:
    """Return the run that repeats chosen runs on all labels: with their rate, and as long as they were planned.

    It does not end where they were best on validation. With few labels that is often early by chance, when rare
    classes are not learned yet (docs/choose.md).

    Args:
        runs: The chosen runs, all of them scored.
        dataset: The study's data.
    """
    cells = runs.scored
    first = cells[0]
    assert first.record is not None and first.predictions is not None
    every = _all_labels(dataset, np.asarray(first.predictions()["indices"]))
    spec = trained_here(first.record.spec)
    changes = {
        "train_size": len(every.train),
        "data": spec.data.model_copy(update={"fingerprint": every.fingerprint}),
        "test_seed": None,
        "test_size": 0 if every.test is None else len(every.test),
        "validation_fraction": 0.0,
        "folds": 0,
        "copies": "anywhere",
        "splits": None,
        "selection": "last",
        "patience": 0,
    }
    return Refit(spec.model_copy(update=changes), every, measured=dataset.test is not None)


def run_refit(
    refit: Refit, study: StudyConfig, folder: Path, *, execution: Execution, display: Display, seconds: float
) -> Summary:
    """Train it, or resume it.

    Args:
        refit: What to train.
        study: The study that chose it.
        folder: Where the run goes.
        execution: Device and threads.
        display: Shows the progress.
        seconds: What it is expected to take.
    """
    spec = refit.spec
    alone = study.model_copy(
        update={
            "name": f"{study.name}-refit",
            "strategies": {spec.label: study.strategies[spec.label]},
            "train_sizes": ("all",),
            "seeds": (spec.seed,),
        }
    )
    store = StudyStore.create(folder, alone, [PlannedRun(spec, seconds=seconds)])
    locked = frozenset() if refit.measured else frozenset({spec.run_id})
    job = Job(store, refit.dataset, execution, display, run_one, {spec.run_id: seconds}, locked=locked)
    return run_plan([spec], job)


def open_refit(
    refit: Refit, folder: Path, *, study_folder: Path, run_id: str, among: tuple[str, ...], said: tuple[str, ...]
) -> ExportSource:
    """Return what is exported: the run on all labels, and the run whose scores stand for it.

    Args:
        refit: A complete run.
        folder: Where it is.
        study_folder: The study that chose it.
        run_id: A chosen run of the study.
        among: Strategies that were compared on the test part.
        said: The recommendation in words.
    """
    store = StudyStore.open(folder)
    run = store.run_folder(refit.spec.run_id)
    record = run.read()
    assert record is not None and refit.dataset.test is not None
    measured = open_source(study_folder, run_id=run_id, recommended=False, texts=CHECKED_TEXTS)
    test = refit.dataset.test
    if refit.measured:
        found = run.read_predictions()
        logits, labels = found["logits"], refit.dataset.task.outputs.truth(found["labels"])
    else:
        parts = run_parts(refit.spec, refit.dataset)
        device = devices.resolve_device("cpu")
        logits, labels, _ = backend_of(refit.spec.kind).predict_test(refit.spec, refit.dataset, parts, run, device)
    return replace(
        measured,
        artifact=describe(run.path),
        record=record,
        labels=labels,
        logits=logits,
        texts=[test.texts[row] for row in measured.chosen],
        recommended_among=among,
        said=said,
        measured=None if refit.measured else measured,
    )


def _all_labels(dataset: TextDataset, tested: np.ndarray) -> TextDataset:
    """Return all labels but those of a test part of the data's own as training texts.

    The held-out texts are the test part too: the scores on them say nothing then, and are not taken. An export is
    checked on them.
    """
    train, scored = dataset.train, dataset.test or dataset.train
    test = Split([scored.texts[row] for row in tested], scored.labels[tested])
    parts = [part for part in (train, dataset.validation) if part is not None]
    return TextDataset(
        source=dataset.source,
        revision=dataset.revision,
        label_names=dataset.label_names,
        task=dataset.task,
        train=Split([text for part in parts for text in part.texts], np.concatenate([p.labels for p in parts])),
        test=test,
        inputs=dataset.inputs,
    )
