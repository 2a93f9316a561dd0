"""Calibration: do predictions of confidence 0.8 come true in 80 % of the cases?

With one label a text, the confidence of a prediction is its largest probability, and it comes true if the label is
right. With several labels a text, every label of every text is a decision of its own: its confidence is the
probability of the label, and it comes true if the text has the label. The decisions of all labels are pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from tunebench.stats.intervals import wilson_interval
from tunebench.stats.methods import t_ends
from tunebench.stats.results import Interval, Over, check_level, finite
from tunebench.stats.softmax import log_softmax

Scheme = Literal["equal width", "equal mass"]
#: Most draws that are in memory at once.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram; the bin is ``low < confidence <= high``.

    Attributes:
        low: Lower edge of the confidence.
        high: Upper edge.
        count: Test examples in it; of several labels a text, decisions.
        confidence: Their mean confidence; None in an empty bin.
        accuracy: Share that came true, with Wilson's interval; None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: Interval | None


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with the bins it was taken from.

    Attributes:
        value: Mean over the examples, or decisions, of their bin's ``|accuracy - confidence|``.
        if_calibrated: What a perfectly calibrated classifier of the same confidences would stay under
            with probability ``level``: an error below it is no sign of miscalibration. ECE is never
            negative, so it has no interval of the usual kind (Broecker and Smith 2007).
        level: That probability.
        scheme: How the bins were cut.
        bins: The reliability data.
    """

    value: float
    if_calibrated: float
    level: float
    scheme: Scheme
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Calibration:
    """Calibration of one run on the test split.

    Attributes:
        equal_width: ECE with bins of equal width (Guo et al. 2017).
        equal_mass: ECE with bins of (nearly) equal numbers of examples (Nguyen and O'Connor 2015).
        brier: Mean of ``sum over classes (p - [label])^2``, between 0 and 2 (Brier 1950); of several labels a text,
            of the mean over labels, between 0 and 1.
        log_loss: Mean cross-entropy in nats; of several labels a text, binary and averaged over labels.
        n_examples: Test examples.
        exclusive: Whether each example has one label, and so one confidence.
        over: The source of variation of all intervals.
    """

    equal_width: CalibrationError
    equal_mass: CalibrationError
    brier: Interval
    log_loss: Interval
    n_examples: int
    exclusive: bool = True
    over: Over = "test examples"


def calibration(
    labels: np.ndarray,
    logits: np.ndarray,
    *,
    rng: np.random.Generator,
    bins: int = 15,
    level: float = 0.95,
    resamples: int = 200,
) -> Calibration:
    """Compare confidences with how often they come true.

    Args:
        labels: Integers of shape ``(n,)``, n at least 2; or, for several labels a text, 0 and 1 of shape
            ``(n, classes)``.
        logits: Shape ``(n, classes)``; log probabilities serve as well for one label a text.
        rng: Source of randomness, for what a calibrated classifier would show.
        bins: Number of bins; fewer where many confidences are equal (equal mass).
        level: Confidence of all intervals. Intervals of bins take the decisions about one text for independent.
        resamples: Simulated sets of labels behind ``if_calibrated``.

    Raises:
        ValueError: Shapes or values do not fit, or ``bins`` is not positive.
    """
    check_level(level)
    labels, logits = np.asarray(labels), finite(logits, name="logits", ndim=2)
    if labels.shape not in (logits.shape[:1], logits.shape) or len(labels) < 2 or bins < 1:
        raise ValueError(
            "labels (n,) or (n, classes) and logits (n, classes) with n >= 2, and at least 1 bin are needed, got "
            f"{labels.shape}, {logits.shape} and {bins}"
        )
    decided = _one_label(labels, logits) if labels.ndim == 1 else _several_labels(labels, logits)
    # In order of confidence every bin is a run of neighbours.
    order = np.argsort(decided.confidence, kind="stable")
    confidence, hit = decided.confidence[order], decided.hit[order]
    quantiles = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    cuts: dict[Scheme, np.ndarray] = {
        "equal width": np.linspace(0, 1, bins + 1),
        "equal mass": np.unique(np.concatenate([[0.0], quantiles, [1.0]])),
    }
    binned = [_binned(confidence, hit, edges, scheme) for scheme, edges in cuts.items()]
    fakes = _fake_errors(binned, confidence, resamples, rng)
    width, mass = (_error(one, fake, level) for one, fake in zip(binned, fakes, strict=True))
    squares, losses = (_mean(values, level) for values in (decided.squares, decided.losses))
    return Calibration(width, mass, squares, losses, len(labels), exclusive=labels.ndim == 1)


@dataclass(frozen=True)
class _Decisions:
    """Confidences and whether they came true, one a decision; Brier scores and losses, one a text."""

    confidence: np.ndarray
    hit: np.ndarray
    squares: np.ndarray
    losses: np.ndarray


def _one_label(labels: np.ndarray, logits: np.ndarray) -> _Decisions:
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")
    logs = log_softmax(logits, axis=1)
    probabilities = np.exp(logs)
    truth = np.eye(logits.shape[1])[labels]
    return _Decisions(
        np.minimum(probabilities.max(1), 1.0),
        logits.argmax(1) == labels,
        ((probabilities - truth) ** 2).sum(1),
        -logs[np.arange(len(labels)), labels],
    )


def _several_labels(labels: np.ndarray, logits: np.ndarray) -> _Decisions:
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels of shape (n, classes) must be 0 or 1")
    probabilities = scipy.special.expit(logits)
    return _Decisions(
        probabilities.ravel(),
        labels.ravel() == 1,
        ((probabilities - labels) ** 2).mean(1),
        # log(1 + exp(z)) - y z, stable for both signs.
        (np.logaddexp(0.0, logits) - labels * logits).mean(1),
    )


@dataclass(frozen=True)
class _Binned:
    """Decisions in order of confidence, cut into bins: their number, and sums of confidences and hits, a bin."""

    scheme: Scheme
    edges: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    hits: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        return np.flatnonzero(self.counts)

    @property
    def starts(self) -> np.ndarray:
        """Places of the first decisions of bins that are not empty."""
        return np.asarray((np.cumsum(self.counts) - self.counts)[self.filled])


def _binned(confidence: np.ndarray, hit: np.ndarray, edges: np.ndarray, scheme: Scheme) -> _Binned:
    number = len(edges) - 1
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, number - 1)
    counts = np.bincount(place, minlength=number)
    sums, hits = (np.bincount(place, weights=values, minlength=number) for values in (confidence, hit))
    return _Binned(scheme, edges, counts, sums, hits)


def _fake_errors(
    binned: list[_Binned], confidence: np.ndarray, resamples: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the errors of outcomes drawn by the confidences, ``(resamples,)`` for each way to cut bins."""
    rows = max(1, _AT_ONCE // len(confidence))
    errors: list[list[np.ndarray]] = [[] for _ in binned]
    for first in range(0, resamples, rows):
        fake = rng.random((min(rows, resamples - first), len(confidence)), dtype=np.float32) < confidence
        for one, found in zip(binned, errors, strict=True):
            fake_hits = np.add.reduceat(fake, one.starts, axis=1, dtype=np.int32)
            found.append(np.abs(fake_hits - one.sums[one.filled]).sum(1) / len(confidence))
    return [np.concatenate(found) for found in errors]


def _error(binned: _Binned, fake_errors: np.ndarray, level: float) -> CalibrationError:
    edges, counts, sums, hits = binned.edges, binned.counts, binned.sums, binned.hits
    rows = tuple(
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(sums[i] / counts[i]) if counts[i] else None,
            wilson_interval(int(hits[i]), int(counts[i]), level=level) if counts[i] else None,
        )
        for i in range(len(counts))
    )
    value = float(np.abs(hits - sums).sum() / counts.sum())
    return CalibrationError(value, float(np.quantile(fake_errors, level)), level, binned.scheme, rows)


def _mean(losses: np.ndarray, level: float) -> Interval:
    n, mean = len(losses), float(losses.mean())
    low, high = t_ends(mean, ((float(losses.var(ddof=1)) / n, n - 1.0),), level)
    return Interval(mean, max(low, 0.0), high, level, "t", "test examples", n_examples=n)
