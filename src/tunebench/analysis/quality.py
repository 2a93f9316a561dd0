"""How far probabilities can be believed, and which test texts are hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from tunebench.analysis.evidence import SEED, Entry
from tunebench.stats import Calibration, calibration


@dataclass(frozen=True)
class Agreement:
    """How strategies share their errors at one size; a strategy's answer is that of its mean probabilities.

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
    """Return the calibration of each seed's run on the test part."""
    return [calibration(entry.labels, logits, rng=np.random.default_rng(SEED)) for logits in entry.logits]


def mean_probabilities(entry: Entry) -> np.ndarray:
    """Return probabilities averaged over seeds, shape ``(n, classes)``."""
    logs = log_softmax(entry.logits.astype(np.float64), axis=2)
    return np.asarray(np.exp(logsumexp(logs, axis=0) - np.log(len(logs))))


def agreement(entries: Sequence[Entry]) -> Agreement | None:
    """Compare the answers of several strategies at one size; None for fewer than two."""
    if len(entries) < 2:
        return None
    labels = entries[0].labels
    probabilities = np.stack([mean_probabilities(entry) for entry in entries])
    right = probabilities.argmax(2) == labels
    truth = probabilities[:, np.arange(len(labels)), labels]
    wrong = np.flatnonzero(~right.any(0))
    mixed = np.flatnonzero((probabilities.argmax(2) != probabilities[0].argmax(1)).any(0))
    return Agreement(
        entries[0].train_size,
        tuple(entry.label for entry in entries),
        int(right.all(0).sum()),
        wrong[np.argsort(truth[:, wrong].mean(0), kind="stable")],
        mixed[np.argsort(-np.ptp(truth[:, mixed], axis=0), kind="stable")],
    )
