"""From p values and intervals to statements: Holm's correction, and equivalence within a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from tunebench.stats.methods import percentile_ends, t_ends
from tunebench.stats.results import Difference, Interval, Over, check_level, finite

Verdict = Literal["equivalent", "different", "equivalent and different (small but real)", "inconclusive"]


@dataclass(frozen=True)
class Holm:
    """p values corrected for their number.

    Attributes:
        p_values: Corrected, in the order given.
        rejected: Whether each is at most ``alpha`` after correction.
        alpha: Chance of one false rejection or more among all, at most.
    """

    p_values: tuple[float, ...]
    rejected: tuple[bool, ...]
    alpha: float


@dataclass(frozen=True)
class Equivalence:
    """Whether two strategies are as good as each other, within a margin.

    Attributes:
        verdict: What can be said.
        margin: Differences smaller than this do not matter.
        alpha: Level of both tests.
        interval: Of the difference, at ``1 - 2 alpha``: inside the margin is equivalence.
        tost_p: The larger p of the two one-sided tests; at most ``alpha`` exactly for equivalence.
        p_value: Two-sided, of no difference, as used for "different".
        over: The source of variation that all of it holds.
    """

    verdict: Verdict
    margin: float
    alpha: float
    interval: Interval
    tost_p: float
    p_value: float
    over: Over

    @property
    def equivalent(self) -> bool:
        """Whether a difference that matters is ruled out."""
        return self.tost_p <= self.alpha

    @property
    def different(self) -> bool:
        """Whether no difference at all is ruled out."""
        return self.p_value <= self.alpha


def holm(p_values: Sequence[float] | np.ndarray, *, alpha: float = 0.05) -> Holm:
    """Correct p values for their number by Holm's (1979) step-down method.

    The i-th smallest of m is multiplied by ``m - i + 1``, and none may fall below a smaller one's. Holds
    the chance of any false rejection at ``alpha`` whatever the dependence between the tests.

    Args:
        p_values: One a comparison; leave out comparisons that were refused.
        alpha: Level for the whole family.

    Raises:
        ValueError: A value is no probability.
    """
    check_level(alpha, name="alpha")
    if not len(p_values):
        return Holm((), (), alpha)
    values = finite(p_values, name="p_values")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("p_values must lie between 0 and 1")
    order = np.argsort(values, kind="stable")
    steps = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    corrected = np.empty_like(values)
    corrected[order] = steps
    return Holm(tuple(corrected.tolist()), tuple((corrected <= alpha).tolist()), alpha)


def equivalence(
    difference: Difference, *, margin: float, alpha: float = 0.05, p_value: float | None = None
) -> Equivalence:
    """Decide by two one-sided tests (Schuirmann 1987) and the test of no difference.

    "No significant difference" is not "equal": equivalent means that the ``1 - 2 alpha`` interval lies
    strictly inside ``(-margin, margin)``. The interval is Student's where the difference has degrees of
    freedom, else that of its bootstrap draws.

    Args:
        difference: From any of the comparisons of :mod:`tunebench.stats.paired`.
        margin: Positive, in the units of the score.
        alpha: Level of each test.
        p_value: Two-sided p of no difference to use instead of the difference's own, as corrected by
            :func:`holm`.

    Raises:
        ValueError: The margin is not positive, or a level is none.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, got {alpha}")
    p_value = difference.p_value if p_value is None else p_value
    low, high = _ends(difference, 1 - 2 * alpha)
    tost_p = max(_one_sided(difference, -margin, "above"), _one_sided(difference, margin, "below"))
    verdict: Verdict
    match tost_p <= alpha, p_value <= alpha:
        case True, True:
            verdict = "equivalent and different (small but real)"
        case True, False:
            verdict = "equivalent"
        case False, True:
            verdict = "different"
        case _:
            verdict = "inconclusive"
    seen = difference.interval
    interval = Interval(
        seen.estimate, low, high, 1 - 2 * alpha, seen.method, seen.over, seen.n_examples, seen.n_seeds
    )
    return Equivalence(verdict, margin, alpha, interval, tost_p, p_value, difference.over)


def _ends(difference: Difference, level: float) -> tuple[float, float]:
    if difference.degrees_of_freedom is not None:
        return t_ends(difference.estimate, difference.standard_error, difference.degrees_of_freedom, level)
    return percentile_ends(_draws(difference), level)


def _one_sided(difference: Difference, bound: float, side: Literal["above", "below"]) -> float:
    """Return p of "not on that side of the bound"."""
    sign = 1 if side == "above" else -1
    if difference.degrees_of_freedom is not None:
        distance = sign * (difference.estimate - bound) / difference.standard_error
        return float(scipy.stats.t.sf(distance, difference.degrees_of_freedom))
    draws = _draws(difference)
    return float((1 + (sign * (draws - bound) <= 0).sum()) / (len(draws) + 1))


def _draws(difference: Difference) -> np.ndarray:
    if difference.draws is None:
        raise ValueError("the difference has neither degrees of freedom nor bootstrap draws")
    return difference.draws
