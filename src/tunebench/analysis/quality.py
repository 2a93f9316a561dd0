"""How far probabilities can be believed, and which test texts are hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.analysis.evidence import SEED, Entry
from tunebench.stats import Bin, Calibration, calibration
from tunebench.stats.softmax import log_softmax


@dataclass(frozen=True)
class Agreement:
    """How strategies share their errors at one size.

    A strategy's answer is that of its mean probabilities; of several labels a text, those that most seeds give.

    Attributes:
        size: Training size.
        labels: Strategies.
        all_right: Texts every strategy gets right.
        all_wrong: Texts every strategy gets wrong, as positions in the test part, surest errors first.
        disputed: Texts on which strategies differ, as positions, the widest apart first.
    """

    size: int
    labels: tuple[str, ...]
    all_right: int
    all_wrong: np.ndarray
    disputed: np.ndarray


def calibrations(entry: Entry) -> list[Calibration]:
    """Return the calibration of each seed's run on the test part; none where there are no probabilities."""
    if not entry.task.labelled or entry.logits is None:
        return []
    return [calibration(entry.labels, logits, rng=np.random.default_rng(SEED)) for logits in entry.logits]


def shown_bins(found: Calibration) -> tuple[Bin, ...]:
    """Return the bins that a reliability diagram shows, without empty ones.

    Most probabilities of several labels a text are near 0. Bins of equal numbers would all lie there, so theirs
    are of equal width.
    """
    error = found.equal_mass if found.exclusive else found.equal_width
    return tuple(one for one in error.bins if one.count)


def temperatures(entry: Entry) -> list[float]:
    """Return the temperature of each seed's run; none where probabilities were not scaled."""
    found = {cell.spec.seed: cell.record.temperature for cell in entry.cells if cell.record is not None}
    own = [found.get(seed) for seed in entry.seeds]
    return [1.0 if one is None else one for one in own] if any(own) else []


def mean_probabilities(entry: Entry) -> np.ndarray:
    """Return probabilities averaged over seeds, shape ``(n, classes)``.

    Where no probabilities are known, it is the share of seeds that give each label.
    """
    if entry.logits is None:
        return votes(entry.predictions, entry.classes)
    if entry.labels.ndim > 1:
        return np.asarray(entry.metric.outputs.probabilities(entry.logits.astype(np.float64)).mean(0))
    logs = log_softmax(entry.logits.astype(np.float64), axis=2)
    return np.asarray(np.exp(scipy.special.logsumexp(logs, axis=0) - np.log(len(logs))))


def votes(predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of runs that give each label, ``(n, classes)``.

    Args:
        predictions: A run a row: classes ``(runs, n)``, or 0 and 1 of shape ``(runs, n, classes)``.
        classes: How many classes there are.
    """
    given = np.eye(classes)[predictions] if predictions.ndim == 2 else predictions
    return np.asarray(given.mean(0), dtype=np.float64)


def answer_of(entry: Entry, probabilities: np.ndarray | None = None) -> np.ndarray:
    """Return the answer of all seeds together: the likeliest class, or by thresholds what most of them give.

    Args:
        entry: The runs.
        probabilities: Their :func:`mean_probabilities`, if they are known.
    """
    if entry.labels.ndim > 1 or entry.config.cells[0].spec.thresholds == "tuned":
        return np.asarray(entry.predictions.mean(0) > 0.5, dtype=np.int64)
    return np.asarray((mean_probabilities(entry) if probabilities is None else probabilities).argmax(1))


def agreement(entries: Sequence[Entry]) -> Agreement | None:
    """Compare the answers of several strategies at one size; None for fewer than two, and for numbers."""
    if len(entries) < 2 or not entries[0].task.labelled:
        return None
    labels = entries[0].labels
    probabilities = np.stack([mean_probabilities(entry) for entry in entries])
    outputs = entries[0].metric.outputs
    answers = np.stack([answer_of(entry, shares) for entry, shares in zip(entries, probabilities, strict=True)])
    # What has no probabilities would seem sure of everything: it has no say in the order.
    known = [place for place, entry in enumerate(entries) if entry.logits is not None]
    sure = probabilities[known] if len(known) > 1 else probabilities
    right, truth = outputs.right(labels, answers), outputs.of_truth(labels, sure)
    wrong = np.flatnonzero(~right.any(0))
    mixed = np.flatnonzero(~outputs.right(answers[0], answers).all(0))
    return Agreement(
        entries[0].train_size,
        tuple(entry.label for entry in entries),
        int(right.all(0).sum()),
        wrong[np.argsort(truth[:, wrong].mean(0), kind="stable")],
        mixed[np.argsort(-np.ptp(truth[:, mixed], axis=0), kind="stable")],
    )
