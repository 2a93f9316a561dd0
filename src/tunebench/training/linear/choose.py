"""Choosing C: by cross-validation, or on the part that selects the checkpoints of the others."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tunebench.data.held_out import interleaved
from tunebench.data.text import Text
from tunebench.errors import DataError
from tunebench.strategies.base import CompareBy, Head
from tunebench.tasks.base import Task
from tunebench.tasks.metrics import Metric
from tunebench.tasks.temperature import Loss, tuned_temperature
from tunebench.training.imbalance import Weigh, weighted_log_loss
from tunebench.training.linear.heads import LinearHead

#: Parts of the labelled texts in a cross-validation.
FOLDS = 5
#: Used where nothing can choose; scikit-learn's own default.
UNCHOSEN = 1.0
#: How far below all others the logit of a class lies that a fold did not train.
_UNSEEN = 20.0
#: Told of every fit.
Tick = Callable[[], None]


class LinearModel(Protocol):
    """A fitted model: features, and a linear function of them."""

    @property
    def head(self) -> LinearHead:
        """The function of the features."""

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)`` of features."""


class Learner(Protocol):
    """Fits linear classifiers on some of a run's labelled texts.

    Attributes:
        labels: Of the texts, as the task has them.
        classes: Number of classes.
        head: What is fitted.
        weigh: Gives the weight of each label from the labels that are fitted on, or None.
    """

    labels: np.ndarray
    classes: int
    head: Head
    weigh: Weigh

    def fits(self, rows: np.ndarray, grid: Sequence[float]) -> Iterator[Any]:
        """Fit one :class:`LinearModel` a value of C on some of the texts, each when it is asked for."""

    def features(self, model: Any, rows: np.ndarray) -> Any:
        """Return a model's features of some of the texts."""


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
    folds = _folds(learner, grid, groups, task) if len(grid) > 1 or len(judged) or scales else []
    rows = _held_out(folds, learner, task)
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


@dataclass(eq=False)
class _Fold:
    """A part of the texts that is held out, and the models of the others."""

    train: np.ndarray
    held: np.ndarray
    models: Iterator[Any]
    features: Callable[[Any, np.ndarray], Any]
    present: np.ndarray
    classes: int
    _features: Any = None

    def logits(self, model: Any) -> np.ndarray:
        """Return the logits of the texts held out; a class that was not trained lies far below the others."""
        if self._features is None:
            # The same for all values of C.
            self._features = self.features(model, self.held)
        known = model.logits(self._features)
        found = np.repeat(known.min(axis=1, keepdims=True) - np.float32(_UNSEEN), self.classes, axis=1)
        found[:, self.present] = known
        return found


def _folds(learner: Learner, grid: Sequence[float], groups: np.ndarray | None, task: Task) -> list[_Fold]:
    """Cut the texts into folds; those that cannot be trained without are left out."""
    found, labels = [], learner.labels
    # Of several labels a text, one without any counts for none.
    for held in stratified_folds(labels if labels.ndim == 2 else task.strata(labels), groups):
        train = np.setdiff1d(np.arange(len(labels)), held)
        present = task.taught(labels[train], learner.classes)
        if not len(present):
            continue
        fold = _Fold(train, held, iter(()), learner.features, present, learner.classes)
        models = learner.fits(train, grid)
        try:
            fold.models = _after(next(models), models)
        except DataError:  # of so few texts none may have a feature
            continue
        found.append(fold)
    return found


def _after(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def stratified_folds(labels: np.ndarray, groups: np.ndarray | None = None, count: int = FOLDS) -> list[np.ndarray]:
    """Cut texts into folds that hold each class, or each label, in equal shares, as far as its texts go.

    Args:
        labels: Integers of shape ``(texts,)``, or 0/1 of shape ``(texts, labels)``.
        groups: For each text a number that its copies share; copies stay together. None where all differ.
        count: Most folds; of classes, the largest has to have so many texts.

    Returns:
        Positions, each in one fold; no fold where every class has a single text, or there is only one text.
    """
    from sklearn.model_selection import StratifiedKFold

    kinds = np.arange(len(labels)) if groups is None else groups
    _, first, member = np.unique(kinds, return_index=True, return_inverse=True)
    # In the order of the texts.
    order = np.argsort(first)
    first, member = first[order], np.argsort(order)[member]
    fold_of = np.empty(len(first), dtype=np.int64)
    if labels.ndim == 2:
        # A label that is spread evenly along an order has equal shares in all folds.
        count = min(count, len(first))
        order = np.random.default_rng(0).permutation(len(first))
        fold_of[interleaved(labels[first], order)] = np.arange(len(first)) % count
        return [np.flatnonzero(fold_of[member] == number) for number in range(count if count > 1 else 0)]
    count = min(count, int(np.bincount(labels[first]).max()))
    if count < 2:
        return []
    with warnings.catch_warnings():
        # Of a class with fewer texts than folds; it is spread as far as it goes.
        warnings.simplefilter("ignore", UserWarning)
        cut = StratifiedKFold(count, shuffle=True, random_state=0).split(np.zeros(len(first)), labels[first])
        for number, (_, held) in enumerate(cut):
            fold_of[held] = number
    return [np.flatnonzero(fold_of[member] == number) for number in range(count)]


def _held_out(folds: Sequence[_Fold], learner: Learner, task: Task) -> np.ndarray:
    """Return the positions of the texts that were held out.

    A text whose class its fold did not train says nothing about C, and is left out.
    """
    held = [fold.held[task.known(learner.labels[fold.held], fold.present)] for fold in folds]
    return np.concatenate(held) if held else np.empty(0, dtype=np.int64)


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
