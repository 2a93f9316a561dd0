"""One run of a linear classifier on fixed features, to the same record as any other.

Such a run has no checkpoint. If it is interrupted, it begins again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data import Split, TextDataset
from tunebench.data.splits import Parts
from tunebench.store.live import Progress
from tunebench.store.record import Parameters, RunRecord, Selected
from tunebench.study.spec import RunSpec
from tunebench.tasks.temperature import tempered
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.backend import Predicted
from tunebench.training.imbalance import said_weights
from tunebench.training.linear.choose import Choice, choose_by_cross_validation
from tunebench.training.linear.folds import FOLDS
from tunebench.training.linear.heads import require_classes
from tunebench.training.measurements import RunMeasurements, Trained, selection_task, temperature_of
from tunebench.training.parts import run_parts, split_of_test, split_of_validation


class LinearRun(ABC):
    """What differs from one kind of linear classifier to another, in one run.

    Attributes:
        learner: Fits on the labelled texts (:class:`~tunebench.training.linear.learner.Learner`).
        frozen: Parameters that the classifier has besides those of the regression.
        seconds: Time of making the labelled texts' features, as far as the fits do not hold it.
        flops: Operations of that.
        settings: What else the record says of how it was done.
    """

    learner: Any
    frozen: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    settings: dict[str, Any]

    @abstractmethod
    def choose(self, tick: Callable[[], None]) -> Choice:
        """Choose C, and fit."""

    @abstractmethod
    def logits(self, model: Any, split: Split, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Return a model's logits of some texts of a split, and the seconds that takes."""

    @abstractmethod
    def tokens(self, choice: Choice) -> tuple[int, int]:
        """Return the tokens trained on, and the same with padding."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> Sequence[Path]:
        """Write a model into the run's folder, and return the files."""


#: Makes one of an attempt and its parts. The last argument is told phase, steps done and all steps, and may raise.
MakeRun = Callable[[Attempt, Parts, Callable[[str, int, int], None]], LinearRun]


def labelled_parts(spec: RunSpec, dataset: TextDataset) -> tuple[Parts, np.ndarray]:
    """Return a run's parts with all its labels to train on, and which of these are its validation part.

    A cross-validation needs no part of its own. So a validation part that was drawn from the training subset is
    trained on as well, and every strategy of a study is given the same labels. A validation part that the data
    brings is not trained on.

    With the folds of a study every label is judged, by the cross-validation that chooses C.

    Returns:
        The parts, and positions in their ``train``; none where nothing is selected on such a part.
    """
    parts, none = run_parts(spec, dataset), np.empty(0, dtype=np.int64)
    if parts.validation_from == "validation":
        return parts, none
    rows = np.concatenate([parts.train, parts.validation])
    first = 0 if spec.folds else len(parts.train)
    judged = np.arange(first, len(rows)) if spec.selection == "validation" else none
    return replace(parts, train=rows, validation=parts.validation[:0]), judged


def cross_validated(
    learner: Any, spec: RunSpec, dataset: TextDataset, parts: Parts, judged: np.ndarray, tick: Callable[[], None]
) -> Choice:
    """Choose C by cross-validation on all labels of a run; see :func:`labelled_parts`."""
    require_classes(learner.labels, learner.classes)
    grouped = spec.splits is not None and spec.splits.groups is not None
    groups = dataset.group_of if grouped else None
    groups = (dataset.copies_of if groups is None else groups)[parts.train]
    params, task = spec.strategy_params, selection_task(spec)
    return choose_by_cross_validation(
        learner,
        params.c,
        groups=groups,
        judged=judged,
        task=task,
        metric=task.metrics[spec.metric],
        compare_by=params.compare_by,
        tick=tick,
    )


def fits_planned(grid: Sequence[float]) -> int:
    """Return how many fits a choice by cross-validation takes at most."""
    return FOLDS * len(grid) + 1


def train_linear(attempt: Attempt, parts: Parts, make: MakeRun, *, fits: int, device: str = "cpu") -> RunRecord:
    """Fit, choose C, score once, and describe; see :mod:`tunebench.training.encoder.run`.

    ``selected.step`` is the number of solver iterations, each of which is a pass over the training part,
    so it is the epoch too. All coefficients count as head.

    Args:
        attempt: What to train.
        parts: What is trained on and scored.
        make: Makes what differs between kinds.
        fits: Fits at most, for the progress.
        device: Where the features are computed.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
    """
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    measured, done = RunMeasurements(attempt, engine="reference", device=device), 0

    def look(phase: Any, step: int, total: int) -> None:
        attempt.report(Progress(spec.run_id, phase, step, total, None, None))
        if attempt.stop():
            raise Interrupted("stopped; a run of this kind begins again")

    def tick() -> None:
        nonlocal done
        done += 1
        look("train", min(done, fits), fits)

    measured.contention.start()
    run = make(attempt, parts, look)
    choice = run.choose(tick)
    if choice.by == "cross_validation" and spec.own_validation and len(parts.validation):
        _judge(run, choice, split_of_validation(dataset, parts), parts.validation, spec)
    measured.contention.stop()
    attempt.report(Progress(spec.run_id, "train", fits, fits, None, choice.score))

    model, head = choice.model, choice.model.head
    weights = run.save(model, folder.path)
    temperature = temperature_of(spec, choice.validated)
    test: Predicted | None = None
    if attempt.scores_test:
        split = split_of_test(dataset, parts)
        logits, seconds = run.logits(model, split, parts.test)
        logits = tempered(logits, temperature)
        test = (logits, split.labels[parts.test], seconds)
        folder.write_predictions(logits=logits, labels=test[1], indices=parts.test)
    tokens, padded = run.tokens(choice)
    trained = Trained(
        parameters=Parameters(
            total=run.frozen + head.parameters, trainable=head.parameters, adapter=0, head=head.parameters
        ),
        selected=Selected(by=choice.by, step=head.iterations, epoch=float(head.iterations), score=choice.score),
        weights=weights,
        train_seconds=run.seconds + choice.seconds,
        eval_seconds=choice.eval_seconds,
        tokens=tokens,
        tokens_padded=padded,
        train_flops=run.flops + choice.flops,
        log_history=choice.history,
        packages=("scikit-learn",),
        settings=run.settings | said_weights(run.learner.weigh(run.learner.labels), dataset.label_names),
        validated=choice.validated,
        temperature=temperature,
    )
    return measured.finish(trained, dataset=dataset, parts=parts, test=test)


def _judge(run: LinearRun, choice: Choice, split: Split, rows: np.ndarray, spec: RunSpec) -> None:
    """Score the chosen classifier on the validation part that the data brings; it has no other part in the run."""
    logits, seconds = run.logits(choice.model, split, rows)
    value = selection_task(spec).selection_metrics(split.labels[rows], logits, spec.metric)[spec.metric]
    choice.validated = split.labels[rows], logits
    choice.score, choice.eval_seconds = value if np.isfinite(value) else None, choice.eval_seconds + seconds
