"""What a run does about labels of unequal size: weights in the loss, and texts of small classes repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tunebench.stats.softmax import log_softmax
from tunebench.study.spec import RunSpec

#: From the labels of the texts that are fitted on to the weight of each label; None weighs all alike.
Weigh = Callable[[np.ndarray], np.ndarray | None]


def unweighted(labels: np.ndarray) -> None:
    """Return None: all labels weigh alike."""


def weigher(spec: RunSpec) -> Weigh:
    """Return what gives a run's weights from labels; see :func:`label_weights`."""
    return partial(label_weights, spec.class_weights, label_names=spec.data.label_names)


def label_weights(setting: Any, labels: np.ndarray, label_names: Sequence[str]) -> np.ndarray | None:
    """Return the weight of each label in the loss; None where all weigh alike.

    ``balanced`` gives each class the same part in the loss, and a mean weight of 1 over the texts. Of several
    labels it weighs the texts with a label so that they count as much as those without it.

    Args:
        setting: ``class_weights`` of a recipe; labels that a mapping does not name weigh 1.
        labels: Of the texts that train: classes ``(texts,)``, or 0 and 1, ``(texts, labels)``.
        label_names: One a label.
    """
    if setting is None:
        return None
    if isinstance(setting, Mapping):
        return np.array([setting.get(name, 1.0) for name in label_names], dtype=np.float64)
    texts = len(labels)
    if labels.ndim == 1:
        counts = np.bincount(labels, minlength=len(label_names))
        balanced = texts / (len(label_names) * np.maximum(counts, 1))
    else:
        counts = labels.sum(0, dtype=np.int64)
        balanced = (texts - counts) / np.maximum(counts, 1)
    # A label that no text has, or every text, has nothing to be weighed against.
    return np.where((counts > 0) & (counts < texts), balanced, 1.0)


def said_weights(weights: np.ndarray | None, label_names: Sequence[str]) -> dict[str, Any]:
    """Return what a record says of the weights; nothing where there are none."""
    if weights is None:
        return {}
    return {"class_weights": {name: float(f"{w:.6g}") for name, w in zip(label_names, weights, strict=True)}}


def weighted_log_loss(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> float:
    """Return the loss that weighted training lowers, over the weights of the texts, so that fewer texts compare.

    Args:
        labels: Classes ``(texts,)``, or 0 and 1, ``(texts, labels)``.
        logits: ``(texts, labels)``.
        weights: One a label.
    """
    values = np.asarray(logits, dtype=np.float64)
    if labels.ndim == 1:
        losses = -log_softmax(values, axis=1)[np.arange(len(labels)), labels]
        return float(np.average(losses, weights=weights[labels]))
    found = np.where(labels == 1, weights * np.logaddexp(0.0, -values), np.logaddexp(0.0, values))
    return float(found.sum() / np.where(labels == 1, weights, 1.0).sum())


def oversampled(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return positions of texts, each at least once, that give every class as many texts as the largest has.

    Texts of a class are repeated equally often, and those that a seed draws once more.

    Args:
        labels: Classes of shape ``(texts,)``.
        seed: The run's.
    """
    generator = np.random.default_rng([seed, len(labels)])
    most = int(np.bincount(labels).max())
    found = [np.arange(len(labels))]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        times, rest = divmod(most, len(rows))
        found += [np.tile(rows, times - 1), generator.choice(rows, rest, replace=False)]
    return np.concatenate(found)


def texts_per_epoch(spec: RunSpec, labels: np.ndarray, trained: int) -> int:
    """Return about how many texts an epoch goes over.

    Args:
        spec: The run.
        labels: Of the data set's texts.
        trained: Texts that train.
    """
    if not spec.oversampling:
        return trained
    counts = np.bincount(labels)
    return round(trained * int(counts.max()) * int(np.count_nonzero(counts)) / len(labels))
