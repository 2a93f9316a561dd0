"""One run of a linear classifier on fixed features, to the same record as any other.

Such a run has no checkpoint: interrupted, it is begun again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.files import stored_file
from tunebench.machine import devices, environment, memory
from tunebench.machine.clock import Clock, ContentionMeter
from tunebench.store.live import Progress
from tunebench.store.record import Cost, Environment, Parameters, RunRecord, Selected, TestAccess, Timing, now
from tunebench.study.spec import RunSpec
from tunebench.tasks.metrics import score
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.linear.choose import FOLDS, Choice, choose_by_cross_validation
from tunebench.training.linear.logistic import require_classes
from tunebench.training.parts import describe_parts, run_parts


class Task(ABC):
    """What differs from one kind of linear classifier to another, for one run.

    Attributes:
        learner: Fits on the labelled texts (:class:`~tunebench.training.linear.choose.Learner`).
        frozen: Parameters that the classifier has besides those of the regression.
        seconds: Time of making the labelled texts' features, as far as the fits do not hold it.
        flops: Operations of that.
        packages: Whose versions the record names.
        settings: What else the record says of how it was done.
    """

    learner: Any
    frozen: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    device: str = "cpu"
    packages: tuple[str, ...] = ("scikit-learn",)
    settings: dict[str, Any]

    @abstractmethod
    def choose(self, tick: Callable[[], None]) -> Choice:
        """Choose C, and fit."""

    @abstractmethod
    def test_logits(self, model: Any) -> tuple[np.ndarray, float]:
        """Return a model's logits of the test part, and the seconds that takes."""

    @abstractmethod
    def tokens(self, choice: Choice) -> tuple[int, int]:
        """Return the tokens trained on, and the same with padding."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> Sequence[Path]:
        """Write a model into the run's folder, and return the files."""


#: Makes a task of a run's parts. What it takes last is told phase, step and steps in between, and may raise.
MakeTask = Callable[[Attempt, Parts, Callable[[str, int, int], None]], Task]


def labelled_parts(spec: RunSpec, dataset: TextDataset) -> tuple[Parts, np.ndarray]:
    """Return a run's parts with all its labels to train on, and which of these are its validation part.

    A cross-validation needs no part of its own, so the validation part is trained on as well: every strategy of a
    study is given the same labels.

    Returns:
        The parts, and positions in their ``train``; none where nothing is selected on the validation part.
    """
    parts = run_parts(spec, dataset)
    rows = np.concatenate([parts.train, parts.validation])
    judged = (
        np.arange(len(parts.train), len(rows)) if spec.selection == "validation" else np.empty(0, dtype=np.int64)
    )
    return replace(parts, train=rows, validation=parts.validation[:0]), judged


def cross_validated(
    learner: Any, spec: RunSpec, dataset: TextDataset, parts: Parts, judged: np.ndarray, tick: Callable[[], None]
) -> Choice:
    """Choose C by cross-validation on all labels of a run; see :func:`labelled_parts`."""
    require_classes(learner.labels, learner.classes)
    groups = dataset.copies_of[parts.train]
    return choose_by_cross_validation(learner, spec.strategy_params.c, groups=groups, judged=judged, tick=tick)


def fits_planned(grid: Sequence[float]) -> int:
    """Return how many fits a choice by cross-validation takes at most."""
    return FOLDS * len(grid) + 1


def train_linear(attempt: Attempt, parts: Parts, make: MakeTask, *, fits: int) -> RunRecord:
    """Fit, choose C, score once, and describe; see :mod:`tunebench.training.encoder.run`.

    ``selected.step`` is the number of solver iterations, each of which is a pass over the training part,
    so it is the epoch too. All coefficients count as head.

    Args:
        attempt: What to train.
        parts: What is trained on and scored.
        make: Makes the task.
        fits: Fits at most, for the progress.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
    """
    started, clock, contention = now(), Clock(), ContentionMeter()
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    threads = devices.set_threads(devices.threads_of(attempt.execution))
    # As the other backends: what the run before left is gone, and the allocator is that of a plain script.
    memory.set_memory(attempt.execution, engine="reference", device="cpu")
    memory.release_memory()
    memory.reset_peak_memory()
    done = 0

    def look(phase: Any, step: int, total: int) -> None:
        attempt.report(Progress(spec.run_id, phase, step, total, None, None))
        if attempt.stop():
            raise Interrupted("stopped; a run of this kind begins again")

    def tick() -> None:
        nonlocal done
        done += 1
        look("train", min(done, fits), fits)

    contention.start()
    attempt.report(Progress(spec.run_id, "prepare", 0, 0, None, None))
    task = make(attempt, parts, look)
    choice = task.choose(tick)
    contention.stop()
    attempt.report(Progress(spec.run_id, "train", fits, fits, None, choice.score))

    stored, model = list(task.save(choice.model, folder.path)), choice.model
    artifact_bytes = sum(path.stat().st_size for path in stored)
    logits, labels, test_seconds = None, labels_of_test(dataset, parts), None
    if attempt.scores_test:
        logits, test_seconds = task.test_logits(model)
        folder.write_predictions(logits=logits, labels=labels, indices=parts.test)
        stored.append(folder.predictions)
    tokens, padded = task.tokens(choice)
    head = model.head
    return RunRecord(
        run_id=spec.run_id,
        status="complete",
        spec=spec,
        started=started,
        finished=now(),
        environment=Environment(
            versions=environment.versions(*task.packages),
            machine={**environment.describe(), **task.settings},
            device=task.device,
            threads=threads,
        ),
        parameters=Parameters(
            total=task.frozen + head.parameters, trainable=head.parameters, adapter=0, head=head.parameters
        ),
        examples=describe_parts(dataset, parts),
        scores=None if logits is None else score(labels, logits, dataset.label_names),
        selected=Selected(by=choice.by, step=head.iterations, epoch=float(head.iterations), macro_f1=choice.score),
        timing=Timing(
            train_seconds=task.seconds + choice.seconds,
            eval_seconds=choice.eval_seconds,
            test_seconds=test_seconds,
            wall_seconds=clock.wall,
            cpu_seconds=clock.cpu,
            seconds_per_step=None,
            warmup_steps=0,
            step_seconds=[],
            workers=attempt.execution.workers,
            contended=contention.contended,
            resumed=0,
        ),
        cost=Cost(
            tokens=tokens,
            tokens_padded=padded,
            train_flops=task.flops + choice.flops,
            trainer_total_flos=None,
            peak_memory_bytes=memory.peak_memory_bytes(task.device),
            artifact_bytes=artifact_bytes,
        ),
        log_history=choice.history,
        files={path.name: stored_file(path) for path in stored},
        test_access=[] if logits is None else [TestAccess(time=now(), why="at the end of training")],
    )


def labels_of_test(dataset: TextDataset, parts: Parts) -> np.ndarray:
    """Return the labels of the test part."""
    source = dataset.train if parts.test_from == "train" or dataset.test is None else dataset.test
    return np.asarray(source.labels[parts.test])
