"""Calibration: do predictions of confidence 0.8 come true in 80 % of the cases?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from tunebench.stats.intervals import wilson_interval
from tunebench.stats.methods import t_ends
from tunebench.stats.results import Interval, Over, check_level, finite

Scheme = Literal["equal width", "equal mass"]


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram; the bin is ``low < confidence <= high``.

    Attributes:
        low: Lower edge of the confidence.
        high: Upper edge.
        count: Test examples in it.
        confidence: Their mean confidence; None in an empty bin.
        accuracy: Share predicted correctly, with Wilson's interval; None in an empty bin.
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
        value: Mean over the examples of their bin's ``|accuracy - confidence|``.
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
        brier: Mean of ``sum over classes (p - [label])^2``, between 0 and 2 (Brier 1950).
        log_loss: Mean cross-entropy in nats.
        n_examples: Test examples.
        over: The source of variation of all intervals.
    """

    equal_width: CalibrationError
    equal_mass: CalibrationError
    brier: Interval
    log_loss: Interval
    n_examples: int
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
    """Compare confidences, the largest softmax probabilities, with how often the predictions are right.

    Args:
        labels: Integers of shape ``(n,)``, n at least 2.
        logits: Shape ``(n, classes)``; log probabilities serve as well.
        rng: Source of randomness, for what a calibrated classifier would show.
        bins: Number of bins; fewer where many confidences are equal (equal mass).
        level: Confidence of all intervals.
        resamples: Simulated sets of labels behind ``if_calibrated``.

    Raises:
        ValueError: Shapes or values do not fit, or ``bins`` is not positive.
    """
    check_level(level)
    labels, logits = np.asarray(labels), finite(logits, name="logits", ndim=2)
    if labels.shape != logits.shape[:1] or len(labels) < 2 or bins < 1:
        raise ValueError(
            f"labels (n,) and logits (n, classes) with n >= 2, and at least 1 bin are needed, got {labels.shape}, "
            f"{logits.shape} and {bins}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be integers from 0 to {logits.shape[1] - 1}")
    logs = scipy.special.log_softmax(logits, axis=1)
    probabilities = np.exp(logs)
    truth = np.eye(logits.shape[1])[labels]
    confidence = np.minimum(probabilities.max(1), 1.0)
    # In order of confidence every bin is a run of neighbours.
    order = np.argsort(confidence, kind="stable")
    confidence, hit = confidence[order], (logits.argmax(1) == labels)[order]
    fake = rng.random((resamples, len(labels)), dtype=np.float32) < confidence
    quantiles = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    edges: dict[Scheme, np.ndarray] = {
        "equal width": np.linspace(0, 1, bins + 1),
        "equal mass": np.unique(np.concatenate([[0.0], quantiles, [1.0]])),
    }
    width, mass = (_error(confidence, hit, fake, cuts, level, scheme) for scheme, cuts in edges.items())
    return Calibration(
        width,
        mass,
        _mean(((probabilities - truth) ** 2).sum(1), level),
        _mean(-logs[np.arange(len(labels)), labels], level),
        len(labels),
    )


def _error(
    confidence: np.ndarray, hit: np.ndarray, fake: np.ndarray, edges: np.ndarray, level: float, scheme: Scheme
) -> CalibrationError:
    number = len(edges) - 1
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, number - 1)
    counts = np.bincount(place, minlength=number)
    sums = np.bincount(place, weights=confidence, minlength=number)
    hits = np.bincount(place, weights=hit, minlength=number)
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    fake_hits = np.add.reduceat(fake, starts, axis=1, dtype=np.int32)
    fake_errors = np.abs(fake_hits - sums[filled]).sum(1) / len(hit)
    rows = tuple(
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(sums[i] / counts[i]) if counts[i] else None,
            wilson_interval(int(hits[i]), int(counts[i]), level=level) if counts[i] else None,
        )
        for i in range(number)
    )
    value = float(np.abs(hits - sums).sum() / len(hit))
    return CalibrationError(value, float(np.quantile(fake_errors, level)), level, scheme, rows)


def _mean(losses: np.ndarray, level: float) -> Interval:
    n, mean = len(losses), float(losses.mean())
    low, high = t_ends(mean, ((float(losses.var(ddof=1)) / n, n - 1.0),), level)
    return Interval(mean, max(low, 0.0), high, level, "t", "test examples", n_examples=n)
