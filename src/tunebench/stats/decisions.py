"""From p values and intervals to statements: Holm's correction, and equivalence within a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tunebench.stats.methods import t_ends
from tunebench.stats.results import Difference, Interval, Over, check_level, finite
from tunebench.stats.sequential import overall_tail
from tunebench.stats.tails import tail_of

Verdict = Literal[
    "equivalent",
    "different",
    "equivalent and different (small but real)",
    "inconclusive",
    "equivalent on these runs",
    "different on these runs",
    "equivalent and different on these runs (small but real)",
]
#: What can be said by (equivalent, different); with one seed, of the runs alone.
_OF_STRATEGIES: dict[tuple[bool, bool], Verdict] = {
    (True, True): "equivalent and different (small but real)",
    (True, False): "equivalent",
    (False, True): "different",
    (False, False): "inconclusive",
}
_OF_RUNS: dict[tuple[bool, bool], Verdict] = {
    (True, True): "equivalent and different on these runs (small but real)",
    (True, False): "equivalent on these runs",
    (False, True): "different on these runs",
    (False, False): "inconclusive",
}


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
        verdict: What can be said. Where the difference holds test examples alone, it speaks of these runs: other
            seeds of the same strategies may differ otherwise.
        margin: Differences smaller than this do not matter.
        alpha: Level of both tests, for all comparisons together.
        interval: Of the difference, at ``1 - 2 alpha / comparisons``: inside the margin is equivalence.
        joint: Of the difference, at ``1 - alpha / comparisons``: those of all comparisons hold together.
        tost_p: The larger p of the two one-sided tests, times the number of comparisons; at most ``alpha`` exactly
            for equivalence.
        p_value: Two-sided, of no difference, as used for "different".
        over: The source of variation that all of it holds.
        comparisons: How many equivalences are tested together (Bonferroni).
        within: Probability that the true difference lies within the margin, of this comparison by itself. The prior
            takes all differences as equally likely before the study.
    """

    verdict: Verdict
    margin: float
    alpha: float
    interval: Interval
    joint: Interval
    tost_p: float
    p_value: float
    over: Over
    comparisons: int = 1
    within: float | None = None

    @property
    def equivalent(self) -> bool:
        """Whether a difference that matters is ruled out."""
        return self.tost_p <= self.alpha

    @property
    def different(self) -> bool:
        """Whether no difference at all is ruled out."""
        return self.p_value <= self.alpha


def holm(p_values: Sequence[float] | np.ndarray, *, alpha: float = 0.05, comparisons: int | None = None) -> Holm:
    """Correct p values for their number by Holm's (1979) step-down method.

    The i-th smallest of m is multiplied by ``m - i + 1``, and none may fall below a smaller one's. Holds
    the chance of any false rejection at ``alpha`` whatever the dependence between the tests.

    Args:
        p_values: One a comparison; leave out comparisons that were refused.
        alpha: Level for the whole family.
        comparisons: Size of the family, where these are those of its members that were looked at after the data
            told which; the others count as larger. By default the number of p values.

    Raises:
        ValueError: A value is no probability, or there are more of them than comparisons.
    """
    check_level(alpha, name="alpha")
    if not len(p_values):
        return Holm((), (), alpha)
    values = finite(p_values, name="p_values")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("p_values must lie between 0 and 1")
    size = len(values) if comparisons is None else comparisons
    if size < len(values):
        raise ValueError(f"comparisons must be at least the number of p_values, got {size} for {len(values)}")
    order = np.argsort(values, kind="stable")
    steps = np.minimum(np.maximum.accumulate(values[order] * (size - np.arange(len(values)))), 1.0)
    corrected = np.empty_like(values)
    corrected[order] = steps
    return Holm(tuple(corrected.tolist()), tuple((corrected <= alpha).tolist()), alpha)


def equivalence(
    difference: Difference,
    *,
    margin: float,
    alpha: float = 0.05,
    p_value: float | None = None,
    comparisons: int = 1,
) -> Equivalence:
    """Decide by two one-sided tests (Schuirmann 1987) and the test of no difference.

    "No significant difference" is not "equal": equivalent means that the ``1 - 2 alpha`` interval lies
    strictly inside ``(-margin, margin)``. At a look of a design, tests and interval are of the whole design.

    Args:
        difference: From any of the comparisons of :mod:`tunebench.stats.paired`.
        margin: Positive, in the units of the score.
        alpha: Level of each test.
        p_value: Two-sided p of no difference to use instead of the difference's own, as corrected by
            :func:`holm`.
        comparisons: How many equivalences are tested together; each is tested at ``alpha / comparisons``.

    Raises:
        ValueError: The margin is not positive, a level is none, or there is no comparison.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, got {alpha}")
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    p_value = difference.p_value if p_value is None else p_value
    one_sided = max(_one_sided(difference, -margin, "above"), _one_sided(difference, margin, "below"))
    tost_p = min(1.0, one_sided * comparisons)
    verdicts = _OF_RUNS if difference.over == "test examples" else _OF_STRATEGIES
    verdict = verdicts[tost_p <= alpha, p_value <= alpha]
    interval, joint = (_at_level(difference, 1 - share * alpha / comparisons) for share in (2, 1))
    within = _within(difference, margin)
    return Equivalence(
        verdict, margin, alpha, interval, joint, tost_p, p_value, difference.over, comparisons, within
    )


def _at_level(difference: Difference, level: float) -> Interval:
    low, high = t_ends(difference.estimate, difference.parts, level, difference.look, difference.bounds)
    return replace(difference.interval, low=low, high=high, level=level)


def _one_sided(difference: Difference, bound: float, side: Literal["above", "below"]) -> float:
    """Return p of "not on that side of the bound"."""
    sign = 1 if side == "above" else -1
    tail = tail_of(difference.parts, sign * (difference.estimate - bound) / difference.standard_error)
    return overall_tail(difference.look, tail)


def _within(difference: Difference, margin: float) -> float:
    """Return the posterior probability of the margin under a flat prior: what lies between its two tails."""
    beyond = [
        tail_of(difference.parts, (margin + side * difference.estimate) / difference.standard_error)
        for side in (1, -1)
    ]
    return max(0.0, 1 - sum(beyond))
