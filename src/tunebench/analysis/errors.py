"""How far predicted numbers are off, and on which texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebench.analysis.evidence import Entry


@dataclass(frozen=True)
class NumberErrors:
    """The errors of one run on the test part, in the unit of the data.

    Attributes:
        bias: Mean of predicted less true numbers.
        sd: Standard deviation of that.
        median: Of the absolute errors.
        p95: What 95 % of the absolute errors lie below.
        largest: The largest absolute error.
        slope: Standard deviation of the predictions over that of the true numbers.
    """

    bias: float
    sd: float
    median: float
    p95: float
    largest: float
    slope: float


def number_errors(entry: Entry) -> list[NumberErrors]:
    """Return the errors of each seed's run."""
    return [_errors(entry.labels, predicted) for predicted in entry.predictions]


def _errors(labels: np.ndarray, predicted: np.ndarray) -> NumberErrors:
    off, spread = predicted - labels, labels.std()
    absolute = np.abs(off)
    return NumberErrors(
        bias=float(off.mean()),
        sd=float(off.std()),
        median=float(np.median(absolute)),
        p95=float(np.quantile(absolute, 0.95)),
        largest=float(absolute.max()),
        slope=float(predicted.std() / spread) if spread else float("nan"),
    )


def largest_errors(entries: Sequence[Entry], count: int) -> np.ndarray:
    """Return the positions of the test texts on which some strategy is furthest off, the largest errors first.

    A strategy's prediction is the mean over its seeds.
    """
    off = np.stack([np.abs(entry.predictions.mean(0) - entry.labels) for entry in entries]).max(0)
    return np.argsort(-off, kind="stable")[:count]
