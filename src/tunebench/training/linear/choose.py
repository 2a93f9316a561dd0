"""Choosing C: by cross-validation, or on the part that selects the checkpoints of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tunebench.data.text import Text
from tunebench.strategies.base import CompareBy
from tunebench.tasks.base import Task
from tunebench.tasks.metric import Metric
from tunebench.tasks.temperature import Loss, tuned_temperature
from tunebench.training.imbalance import weighted_log_loss
from tunebench.training.linear.folds import folds_of, held_out
from tunebench.training.linear.heads import LinearHead
from tunebench.training.linear.learner import Learner

#: Used where nothing can choose; scikit-learn's own default.
UNCHOSEN = 1.0
#: Told of every fit.
Tick = Callable[[], None]


@dataclass(eq=False)
class Choice:
    """What was fitted, and which of it is kept.

    Attributes:
        model: The classifier to keep.
        score: The metric that selected, or would have; None where there is no part to select on.
        by: What chose C.
        history: A log, one entry a value of C.
        seconds: Of all fits.
        eval_seconds: Of scoring what chooses.
        flops: Operations of all fits.
        validated: Labels and logits of the texts that selected, or would have, of predictions made without them;
            None where there are none.
        passes: Solver iterations of all fits, each counted by the share of the texts that it goes over.
    """

    by: str
    model: Any = None
    score: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    eval_seconds: float = 0.0
    flops: float = 0.0
    passes: float = 0.0
    validated: tuple[np.ndarray, np.ndarray] | None = None

    def count(self, head: LinearHead, share: float = 1.0) -> None:
        """Add the cost of a fit.

        Args:
            head: What was fitted.
            share: Of the labelled texts, how many it was fitted on.
        """
        self.seconds += head.seconds
        self.flops += head.flops
        self.passes += share * head.iterations


def unchosen(grid: Sequence[float]) -> float:
    """Return the value of C to take where nothing can choose: the nearest to scikit-learn's default."""
    return min(grid, key=lambda c: (abs(c - UNCHOSEN), c))


def choose_on_selection(
    learner: Learner,
    grid: Sequence[float],
    rows: np.ndarray,
    *,
    selection: tuple[Sequence[Text], np.ndarray] | None,
    by: str,
    task: Task,
    metric: Metric,
    tick: Tick,
) -> Choice:
    """Fit every C on the training part, and keep the best by a metric; of equals, the more regularised one.

    Args:
        learner: Fits.
        grid: Values of C, ascending.
        rows: Of the learner's texts, the training part.
        selection: Texts and labels to select on; None fits one value alone.
        by: What these texts are called in records.
        task: What is learned.
        metric: The metric.
        tick: Told of every fit.
    """
    if selection is None:
        found = Choice("last")
        (found.model,) = learner.fits(rows, (unchosen(grid),))
        tick()
        found.count(found.model.head)
        found.history = [_entry(found.model.head)]
        return found
    found, features = Choice(by), None
    for model in learner.fits(rows, grid):
        tick()
        found.count(model.head)
        begin = time.monotonic()
        # The same for all: they share the vocabulary.
        features = model.features(selection[0]) if features is None else features
        logits = model.logits(features)
        temperature = _temperature(learner, task, selection[1], logits)
        if temperature is not None:
            model = _over(model, temperature)
            logits = model.logits(features)
        scores = task.selection_metrics(selection[1], logits, metric.name)
        found.eval_seconds += time.monotonic() - begin
        found.history.append(_entry(model.head, temperature) | logged(scores))
        if found.model is None or metric.better(scores[metric.name], found.score):
            found.model, found.validated = model, (selection[1], logits)
            found.score = found.history[-1][f"selection_{metric.name}"]
    return found


def choose_by_cross_validation(
    learner: Learner,
    grid: Sequence[float],
    *,
    groups: np.ndarray | None,
    judged: np.ndarray,
    task: Task,
    metric: Metric,
    compare_by: CompareBy,
    tick: Tick,
) -> Choice:
    """Choose C by predictions of texts that were not fitted on, and fit it on all texts.

    Args:
        learner: Fits.
        grid: Values of C, ascending.
        groups: For each text a number that its copies share; copies stay in one fold. None where all differ.
        judged: Positions of texts whose predictions, made without them, give the score; may be empty.
        task: What is learned.
        metric: The metric of that score.
        compare_by: What values of C are compared by: the metric, and of equals the task's loss; or the loss alone.
        tick: Told of every fit.
    """
    found, everything = Choice("cross_validation"), np.arange(len(learner.labels))
    setting, temperature, best = unchosen(grid), None, (-np.inf, -np.inf)
    scales = _scales(learner, task)
    folds = folds_of(learner, grid, groups, task) if len(grid) > 1 or len(judged) or scales else []
    rows = held_out(folds, learner, task)
    for c in grid if folds else ():
        heads, logits = [], np.full((len(everything), learner.classes), np.nan, dtype=np.float32)
        for fold in folds:
            model = next(fold.models)
            tick()
            heads.append(model.head)
            found.count(model.head, len(fold.train) / len(everything))
            begin = time.monotonic()
            logits[fold.held] = fold.logits(model)
            found.eval_seconds += time.monotonic() - begin
        loss, divisor = _loss_of(learner, task, learner.labels[rows], logits[rows])
        logits = logits if divisor is None else logits / np.float32(divisor)
        entry = _entry(max(heads, key=lambda head: head.iterations), divisor) | {"cv_loss": loss}
        validated = None
        # A fold may be left out, and then its texts have no prediction.
        if len(judged) and not np.isnan(logits[judged]).any():
            validated = learner.labels[judged], logits[judged]
            entry |= logged(task.selection_metrics(*validated, metric.name))
        found.history.append(entry)
        merit = _merit(task, metric, learner.labels[rows], logits[rows]) if compare_by == "metric" else 0.0
        if (merit, -loss) > best:
            best, setting, found.score = (merit, -loss), c, entry.get(f"selection_{metric.name}")
            temperature, found.validated = divisor, validated
    (found.model,) = learner.fits(everything, (setting,))
    tick()
    found.count(found.model.head)
    if temperature is not None:
        found.model = _over(found.model, temperature)
    found.history = found.history or [_entry(found.model.head)]
    return found


def _loss_of(learner: Learner, task: Task, labels: np.ndarray, logits: np.ndarray) -> tuple[float, float | None]:
    """Return the mean of the task's loss, weighted as the fits are, and what :func:`_temperature` gives."""
    if not len(labels):
        return float("inf"), None
    temperature = _temperature(learner, task, labels, logits)
    return _loss(learner, task)(labels, logits if temperature is None else logits / temperature), temperature


def _merit(task: Task, metric: Metric, labels: np.ndarray, logits: np.ndarray) -> float:
    """Return a metric of which more is better; the least there is where it is not defined."""
    value = task.selection_metrics(labels, logits, metric.name)[metric.name] if len(labels) else float("nan")
    return metric.merit(value) if np.isfinite(value) else -np.inf


def _loss(learner: Learner, task: Task) -> Loss:
    """Return the loss that the fits lower: the task's, weighted as they are."""
    weights = learner.weigh(learner.labels)
    if weights is None:
        return task.metrics[task.loss]
    return lambda labels, logits: weighted_log_loss(labels, logits, weights)


def _scales(learner: Learner, task: Task) -> bool:
    """Say whether the outputs of the fits are no log odds, but decision values of classes."""
    return learner.head == "svm" and task.labelled


def _temperature(learner: Learner, task: Task, labels: np.ndarray, logits: np.ndarray) -> float | None:
    """Return what decision values are divided by, so that they have the least loss as log odds.

    Args:
        learner: What fitted.
        task: What is learned.
        labels: Of texts that were not fitted on.
        logits: Of these texts.

    Returns:
        A temperature; None where the outputs are log odds, or numbers.
    """
    return tuned_temperature(task, labels, logits, _loss(learner, task)) if _scales(learner, task) else None


def _over(model: Any, temperature: float) -> Any:
    """Return a model whose outputs are divided by a temperature."""
    return replace(model, head=model.head.over(temperature))


def logged(scores: dict[str, float]) -> dict[str, float | None]:
    """Return scores as the log has them; None where a metric is not defined."""
    return {f"selection_{name}": value if np.isfinite(value) else None for name, value in scores.items()}


def _entry(head: LinearHead, temperature: float | None = None) -> dict[str, Any]:
    found = {
        "step": head.iterations,
        "epoch": float(head.iterations),
        "c": head.setting,
        "converged": head.converged,
    }
    return found if temperature is None else found | {"temperature": temperature}
