"""Seed variances of several configurations, each moderated by the others (empirical Bayes, Smyth 2004).

A variance between two or three seeds is a poor estimate, and a small one by chance makes a test too sure. Where
several configurations ran with the same seeds, their variances are taken as draws from one distribution, whose
mean and spread the data give. Each is then moved towards the mean, the more the less the variances differ.

Few seeds do not show that one configuration varies more than the others. Moved down to their mean, its variance
would make its tests too sure. So no variance becomes smaller than it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.stats.tails import Parts

#: Configurations from which on their variances are moderated: with two there is nothing to learn a spread from.
FEWEST = 3
#: Correlation of the logarithms of two sample variances of differences that share one configuration.
_SHARED = 0.25


@dataclass(frozen=True)
class Pool:
    """The distribution of the variances: what each is moderated by.

    Attributes:
        variance: Its middle.
        df: Degrees of freedom that it is worth; infinite where the variances differ no more than chance makes them.
        most: Degrees of freedom of all variances together; no moderated one can have more.
    """

    variance: float
    df: float
    most: float

    def moderate(self, variance: float, df: float) -> tuple[float, float]:
        """Return a variance moved up towards the middle, or the variance itself; with its degrees of freedom."""
        if np.isinf(self.df):
            return max(self.variance, variance), self.most
        moved = (self.df * self.variance + df * variance) / (self.df + df)
        return max(moved, variance), min(self.df + df, self.most)


def fit_pool(variances: np.ndarray, df: float, *, most: float, overlap: float = 0.0) -> Pool:
    """Fit the distribution by the moments of the logarithms (Smyth 2004, section 6.2).

    Args:
        variances: Estimates with ``df`` degrees of freedom each, positive.
        df: Degrees of freedom of each.
        most: Degrees of freedom of all together.
        overlap: Mean correlation of their logarithms, which makes them differ less than independent ones.
    """
    logs = np.log(variances) - scipy.special.digamma(df / 2) + np.log(df / 2)
    spread = float(logs.var(ddof=1)) / (1 - overlap) - float(scipy.special.polygamma(1, df / 2))
    if spread <= 0:
        return Pool(float(variances.mean()), np.inf, most)
    prior = 2 * _trigamma_inverse(spread)
    middle = float(np.exp(logs.mean() + scipy.special.digamma(prior / 2) - np.log(prior / 2)))
    return Pool(middle, prior, most)


def moderated_scores(scores: np.ndarray) -> list[Parts]:
    """Return the variance between seeds of one run's score, of several configurations with the same seeds.

    What a seed does to all configurations alike is one part, with as many degrees of freedom as there are seeds
    less one; what it does to each by itself is the other part, and that one is moderated.

    Args:
        scores: Shape ``(configurations, seeds)``, at least :data:`FEWEST` and 2.

    Returns:
        Parts of the variance of each.
    """
    count, seeds = scores.shape
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    alike = float(scores.mean(0).var(ddof=1))
    own = (rest**2).sum(1) / (seeds - 1) * count / (count - 1)
    pool = fit_pool(_positive(own), seeds - 1, most=(count - 1) * (seeds - 1))
    pooled = float(own.mean())
    found: list[Parts] = []
    for variance in own.tolist():
        moderated, df = pool.moderate(variance, seeds - 1)
        # The means over configurations hold a share of what is each one's own.
        found.append(((alike, seeds - 1.0), (max(moderated - pooled / count, 0.0), df)))
    return found


def moderated_pairs(scores: np.ndarray) -> np.ndarray:
    """Return the variance between seeds of the difference of two runs of one seed, for all pairs.

    Args:
        scores: As of :func:`moderated_scores`.

    Returns:
        Variance and degrees of freedom of each pair, shape ``(configurations, configurations, 2)``.
    """
    count, seeds = scores.shape
    first, second = np.triu_indices(count, 1)
    variances = (scores[first] - scores[second]).var(axis=1, ddof=1)
    pairs = len(first)
    overlap = _SHARED * 2 * (count - 2) / (pairs - 1)
    pool = fit_pool(_positive(variances), seeds - 1, most=(count - 1.0) * (seeds - 1), overlap=overlap)
    found = np.zeros((count, count, 2))
    for i, j, variance in zip(first, second, variances.tolist(), strict=True):
        found[i, j] = found[j, i] = pool.moderate(variance, seeds - 1)
    return found


def _positive(variances: np.ndarray) -> np.ndarray:
    """Keep the logarithm finite where two scores happen to be equal."""
    return np.asarray(np.maximum(variances, 1e-5 * np.median(variances) + 1e-300))


def _trigamma_inverse(value: float) -> float:
    """Solve ``trigamma(x) = value`` by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(scipy.special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(scipy.special.polygamma(2, x))
        x += step
        if -step / x < 1e-9:
            break
    return x
