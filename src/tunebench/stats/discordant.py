"""McNemar's tests: do two fixed sets of predictions have the same accuracy?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.stats.results import Interval, check_level


@dataclass(frozen=True)
class McNemar:
    """McNemar's tests of equal accuracy of two fixed sets of predictions.

    Attributes:
        only_first: Examples that only the first gets right.
        only_second: Examples that only the second gets right.
        discordance: Share of examples that exactly one of the two gets right.
        exact_p: Two-sided p of the exact binomial test (never too small, often too large).
        mid_p: Two-sided mid-p (close to its nominal level; the one to prefer for few discordant pairs).
        interval: Difference of the accuracies with the interval of Bonett and Price.
    """

    only_first: int
    only_second: int
    discordance: float
    exact_p: float
    mid_p: float
    interval: Interval


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> McNemar:
    """Test whether two fixed sets of predictions have the same accuracy, over test examples.

    Given ``m`` examples that exactly one of the two gets right, the number that the first gets right is
    binomial (m, 1/2) if they are equally accurate. Exact: ``min(1, 2 P(X <= k))`` with ``k`` the smaller
    count (McNemar 1947); mid-p: less ``P(X = k)`` (Fagerland, Lydersen and Laake 2013). The interval is
    Bonett and Price's (2012): Wald's with one discordant example added each way.

    Args:
        labels: Classes of shape ``(n,)``.
        first: Predictions of shape ``(n,)``.
        second: Predictions of shape ``(n,)``.
        level: Confidence of the interval.

    Raises:
        ValueError: The shapes differ, or there are no examples.
    """
    check_level(level)
    labels, first, second = np.asarray(labels), np.asarray(first), np.asarray(second)
    if labels.ndim != 1 or not labels.size or labels.shape != first.shape or labels.shape != second.shape:
        raise ValueError(
            f"labels and both predictions must be of the same test examples, shape (n,), got {labels.shape}, "
            f"{first.shape} and {second.shape}"
        )
    n = len(labels)
    one = int(((first == labels) & (second != labels)).sum())
    other = int(((first != labels) & (second == labels)).sum())
    fewer, both = min(one, other), one + other
    tail = float(scipy.special.bdtr(fewer, both, 0.5))
    centre = (one - other) / (n + 2)
    share = (one + other + 2) / (n + 2)
    reach = float(scipy.special.ndtri((1 + level) / 2)) * np.sqrt((share - centre**2) / (n + 2))
    interval = Interval(
        (one - other) / n,
        float(max(centre - reach, -1.0)),
        float(min(centre + reach, 1.0)),
        level,
        "Bonett-Price",
        "test examples",
        n_examples=n,
    )
    exactly = tail - (float(scipy.special.bdtr(fewer - 1, both, 0.5)) if fewer else 0.0)
    mid = 2 * tail - exactly
    return McNemar(one, other, both / n, min(1.0, 2 * tail), min(1.0, mid), interval)
