"""The folds of a cross-validation on fixed features."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tunebench.data.held_out import interleaved
from tunebench.errors import DataError
from tunebench.tasks.base import Task
from tunebench.training.linear.learner import Learner

#: Parts of the labelled texts in a cross-validation.
FOLDS = 5


#: How far below all others the logit of a class lies that a fold did not train.
_UNSEEN = 20.0


@dataclass(eq=False)
class Fold:
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


def folds_of(learner: Learner, grid: Sequence[float], groups: np.ndarray | None, task: Task) -> list[Fold]:
    """Cut the texts into folds; those that cannot be trained without are left out."""
    found, labels = [], learner.labels
    # Of several labels a text, one without any counts for none.
    for held in stratified_folds(labels if labels.ndim == 2 else task.strata(labels), groups):
        train = np.setdiff1d(np.arange(len(labels)), held)
        present = task.taught(labels[train], learner.classes)
        if not len(present):
            continue
        fold = Fold(train, held, iter(()), learner.features, present, learner.classes)
        models = learner.fits(train, grid)
        try:
            fold.models = chain((next(models),), models)
        except DataError:  # of so few texts none may have a feature
            continue
        found.append(fold)
    return found


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


def held_out(folds: Sequence[Fold], learner: Learner, task: Task) -> np.ndarray:
    """Return the positions of the texts that were held out.

    A text whose class its fold did not train says nothing about C, and is left out.
    """
    held = [fold.held[task.known(learner.labels[fold.held], fold.present)] for fold in folds]
    return np.concatenate(held) if held else np.empty(0, dtype=np.int64)
