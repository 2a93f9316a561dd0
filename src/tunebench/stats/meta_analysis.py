"""One effect over several data sets: a random-effects mean, how much the effect differs, and a prediction.

Each data set has its own true effect, and the mean is over data sets like these. The variance between data sets is
that of Paule and Mandel (1982). The interval of the mean is that of Hartung and Knapp (2001): it keeps its level
with few data sets, where that of DerSimonian and Laird does not. It is never taken as narrower than the variances
alone make it (Roever, Knapp and Friede 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.stats.methods import t_ends
from tunebench.stats.results import Bounds, Difference, Interval, Refusal, check_level, finite
from tunebench.stats.roots import root

#: Data sets from which on a variance between them, a prediction and ranks are spoken of.
FEWEST_DATA_SETS = 5
#: What the interval of the mean is called.
METHOD = "random effects (Paule-Mandel, Hartung-Knapp)"
#: A variance of a difference below this is taken as this: predictions that never differ are no certainty.
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Heterogeneity:
    """How much an effect differs between data sets.

    Attributes:
        tau: Standard deviation of the true effects.
        share: Part of the variance of the estimates that is between data sets (I squared), from 0 to 1.
        q: Cochran's Q.
        p_value: Of Q, if the true effect were the same on all data sets.
    """

    tau: float
    share: float
    q: float
    p_value: float


@dataclass(frozen=True)
class MetaMean:
    """A mean effect over data sets.

    Attributes:
        estimate: The mean.
        low: Lower end of its interval.
        high: Upper end.
        level: Confidence.
        standard_error: Of the mean, after Hartung and Knapp.
        degrees_of_freedom: Data sets less one.
        p_value: Two-sided, of a mean of 0.
        weights: Of the data sets, with sum 1.
        heterogeneity: How the effect differs; a refusal with few data sets.
        prediction: Ends of the interval for the true effect on one more data set like these; a refusal likewise.
        bounds: The range that an effect cannot leave; all intervals are cut to it.
    """

    estimate: float
    low: float
    high: float
    level: float
    standard_error: float
    degrees_of_freedom: int
    p_value: float
    weights: tuple[float, ...]
    heterogeneity: Heterogeneity | Refusal
    prediction: tuple[float, float] | Refusal
    bounds: Bounds = (None, None)

    @property
    def data_sets(self) -> int:
        """How many data sets are behind it."""
        return len(self.weights)

    def as_difference(self) -> Difference:
        """Return the mean of differences as a difference, for tests of equivalence and for words."""
        interval = Interval(self.estimate, self.low, self.high, self.level, METHOD, "data sets")
        parts = ((self.standard_error**2, float(self.degrees_of_freedom)),)
        return Difference(
            interval, self.p_value, self.standard_error, self.degrees_of_freedom, parts, bounds=self.bounds
        )


def random_effects(
    effects: np.ndarray, variances: np.ndarray, *, level: float = 0.95, bounds: Bounds = (None, None)
) -> MetaMean | Refusal:
    """Put the effects of several data sets together.

    Args:
        effects: One a data set, shape ``(k,)``.
        variances: Of their estimates, shape ``(k,)``; taken as known.
        level: Confidence of the intervals.
        bounds: The range that an effect cannot leave.

    Returns:
        The mean, or a refusal for one data set.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    check_level(level)
    effects, variances = finite(effects, name="effects"), finite(variances, name="variances")
    if effects.shape != variances.shape or variances.min() < 0:
        raise ValueError(
            f"variances must be one for each effect, none negative: {effects.shape}, {variances.shape}"
        )
    k = len(effects)
    if k < 2:
        return Refusal("one data set: how much others differ from it is not known")
    variances = np.maximum(variances, _LEAST_VARIANCE)
    tau2 = between_variance(effects, variances)
    weights = 1 / (variances + tau2)
    total = float(weights.sum())
    mean = float(weights @ effects) / total
    stretch = float(weights @ (effects - mean) ** 2) / (k - 1)
    error = math.sqrt(max(1.0, stretch) / total)
    return MetaMean(
        mean,
        *t_ends(mean, ((error**2, k - 1.0),), level, bounds=bounds),
        level,
        error,
        k - 1,
        float(2 * scipy.special.stdtr(k - 1, -abs(mean) / error)),
        tuple((weights / total).tolist()),
        _heterogeneity(effects, variances, tau2),
        _prediction(mean, error, tau2, k, level, bounds),
        bounds,
    )


def between_variance(effects: np.ndarray, variances: np.ndarray) -> float:
    """Return the variance between data sets at which the weighted squares are as many as expected, or 0.

    It solves ``sum((effect - mean)^2 / (variance + tau^2)) = k - 1`` (Paule and Mandel 1982); the left side falls
    as ``tau^2`` grows.
    """
    k = len(effects)

    def excess(tau2: float) -> float:
        weights = 1 / (variances + tau2)
        mean = weights @ effects / weights.sum()
        return float(weights @ (effects - mean) ** 2) - (k - 1)

    if excess(0.0) <= 0:
        return 0.0
    high = float(np.ptp(effects)) ** 2
    while excess(high) > 0:
        high *= 2
    return root(excess, 0.0, high, xtol=1e-14)


def _heterogeneity(effects: np.ndarray, variances: np.ndarray, tau2: float) -> Heterogeneity | Refusal:
    k = len(effects)
    if k < FEWEST_DATA_SETS:
        return Refusal(f"{k} data sets are too few to say how much they differ ({FEWEST_DATA_SETS} are needed)")
    weights = 1 / variances
    q = float(weights @ (effects - weights @ effects / weights.sum()) ** 2)
    typical = (k - 1) * weights.sum() / (weights.sum() ** 2 - (weights**2).sum())
    return Heterogeneity(math.sqrt(tau2), float(tau2 / (tau2 + typical)), q, float(scipy.special.chdtrc(k - 1, q)))


def _prediction(
    mean: float, error: float, tau2: float, k: int, level: float, bounds: Bounds
) -> tuple[float, float] | Refusal:
    """Return where the true effect on another data set lies (Higgins, Thompson and Spiegelhalter 2009)."""
    if k < FEWEST_DATA_SETS:
        return Refusal(f"{k} data sets are too few to predict another ({FEWEST_DATA_SETS} are needed)")
    return t_ends(mean, ((tau2 + error**2, k - 2.0),), level, bounds=bounds)
