"""What fitted learning curves may be asked: a score at a size, the labels for a score, where two cross."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunebench.stats.learning_curve import LearningCurve, curve_values
from tunebench.stats.methods import percentile_ends
from tunebench.stats.results import Interval, Over, Refusal, check_level

#: Sizes above this multiple of the largest one, or below the smallest one divided by it, are refused.
EXTRAPOLATION = 4.0


@dataclass(frozen=True)
class Size:
    """A training size with its interval.

    Attributes:
        labels: Number of labelled examples.
        low: Lower end.
        high: Upper end.
        level: Confidence.
        method: Name of the method.
        over: The source of variation the interval holds.
        extrapolated: Whether ``labels`` lies outside the sizes that were run.
    """

    labels: float
    low: float
    high: float
    level: float
    method: str
    over: Over
    extrapolated: bool


@dataclass(frozen=True)
class OutOfReach(Refusal):
    """A score that the fitted curve never reaches.

    Attributes:
        score: The score.
        ceiling: Where the curve levels off.
    """

    score: float
    ceiling: float


@dataclass(frozen=True)
class Crossing:
    """Where the leading strategy changes.

    Attributes:
        size: The training size.
        leads_below: Which of the two curves scores higher at smaller sizes.
    """

    size: Size
    leads_below: Literal["first", "second"]


def score_at(curve: LearningCurve, size: float, *, level: float = 0.95) -> Interval | Refusal:
    """Read the mean score at a training size off the curve.

    Returns:
        The score with its interval, or a refusal beyond :data:`EXTRAPOLATION`.

    Raises:
        ValueError: The size is not positive, or the level is none.
    """
    check_level(level)
    if not size > 0:
        raise ValueError(f"size must be positive, got {size}")
    refusal = _too_far(curve.sizes, size)
    if refusal:
        return refusal
    x = np.array([size / curve.reference])
    low, high = percentile_ends(curve_values(curve.draws, x)[:, 0], level)
    estimate = float(curve_values(curve.parameters, x)[0, 0])
    return Interval(estimate, low, high, level, curve.method, curve.over)


def gain(curve: LearningCurve, size: float, further: float, *, level: float = 0.95) -> Interval | Refusal:
    """Read off the curve how much the mean score changes from one training size to another.

    Both are read off the same curve each time, so the interval is narrower than the two scores' own suggest.

    Args:
        curve: The curve.
        size: Of the present score.
        further: The other size.
        level: Confidence.

    Returns:
        The difference with its interval, or a refusal beyond :data:`EXTRAPOLATION`.
    """
    check_level(level)
    refusal = _too_far(curve.sizes, further) or _too_far(curve.sizes, size)
    if refusal:
        return refusal
    x = np.array([size, further]) / curve.reference
    estimate = float(np.diff(curve_values(curve.parameters, x)[0])[0])
    low, high = percentile_ends(np.diff(curve_values(curve.draws, x))[:, 0], level)
    return Interval(estimate, low, high, level, curve.method, curve.over)


def labels_needed(curve: LearningCurve, score: float, *, level: float = 0.95) -> Size | Refusal:
    """Say how many labels the strategy needs to reach a score.

    Returns:
        The size with its interval, or a refusal: the score lies above the ceiling, the size beyond
        :data:`EXTRAPOLATION`, or its interval spans more than a factor of ten.

    Raises:
        ValueError: The score is not finite, or the level is none.
    """
    check_level(level)
    if not np.isfinite(score):
        raise ValueError(f"score must be finite, got {score}")
    estimate = float(_inverse(curve.parameters, score)[0] * curve.reference)
    if np.isinf(estimate):
        reason = f"{score:.4f} lies above {curve.ceiling:.4f}, where the fitted curve levels off"
        return OutOfReach(reason, score, curve.ceiling)
    low, high = percentile_ends(_inverse(curve.draws, score) * curve.reference, level)
    return _size(estimate, low, high, curve.sizes, level, curve)


def crossing_size(first: LearningCurve, second: LearningCurve, *, level: float = 0.95) -> Crossing | Refusal:
    """Find the training size at which the leading strategy changes.

    The curves are searched from the smallest size both have to :data:`EXTRAPOLATION` times the largest;
    draws that do not cross there count as crossing below or above, by which strategy leads them.

    Args:
        first: One curve.
        second: The other; its noise is taken as independent.
        level: Confidence.

    Returns:
        The size with its interval, or a refusal: no crossing or more than one, an interval without an end
        in that range, or one that spans more than a factor of ten.

    Raises:
        ValueError: The level is none.
    """
    check_level(level)
    low = max(first.sizes[0], second.sizes[0])
    high = min(first.sizes[-1], second.sizes[-1])
    if low >= high:
        return Refusal("the two strategies have no range of sizes in common")
    grid = np.geomspace(low, high * EXTRAPOLATION, 400)
    one, two = grid / first.reference, grid / second.reference
    best = curve_values(first.parameters, one) - curve_values(second.parameters, two)
    ahead = best[0] > 0
    changes = int((ahead[1:] != ahead[:-1]).sum())
    start = 1.0 if ahead[0] else -1.0
    if changes != 1:
        state = "do not cross" if not changes else "cross more than once"
        return Refusal(f"the fitted curves {state} between {grid[0]:,.0f} and {grid[-1]:,.0f} labels")
    estimate = float(_crossings(best, grid, start)[0])
    number = min(len(first.draws), len(second.draws))
    gaps = curve_values(first.draws[:number], one) - curve_values(second.draws[:number], two)
    draws = _crossings(gaps, grid, start)
    undecided = float(np.isnan(draws).mean())
    if undecided > (1 - level) / 2:
        return Refusal(f"{undecided:.0%} of the resampled curves cross the other way round, or more than once")
    lower, upper = percentile_ends(draws[~np.isnan(draws)], level)
    if lower == 0 or np.isinf(upper):
        bound = f"below {upper:,.0f}" if lower == 0 and np.isfinite(upper) else f"above {lower:,.0f}"
        known = "anywhere" if lower == 0 and np.isinf(upper) else bound
        return Refusal(f"the curves cross near {estimate:,.0f} labels, but it may be {known}")
    size = _size(estimate, lower, upper, (low, high), level, first)
    return size if isinstance(size, Refusal) else Crossing(size, "first" if ahead[0] else "second")


def _inverse(parameters: np.ndarray, score: float) -> np.ndarray:
    """Return the size over the reference at which each curve reaches the score; infinite if never."""
    ceiling, drop, exponent = parameters.T
    gap = ceiling - score
    ratio = np.divide(drop, gap, out=np.full_like(gap, np.inf), where=gap > 0)
    with np.errstate(over="ignore"):
        return np.asarray(ratio ** (1 / exponent))


def _crossings(gaps: np.ndarray, grid: np.ndarray, start: float) -> np.ndarray:
    """Return where each row of gaps changes from the sign ``start``: 0 or inf if outside, NaN if otherwise."""
    ahead = gaps * start > 0
    change = ahead[:, 1:] != ahead[:, :-1]
    number = change.sum(1)
    at = change.argmax(1)
    rows = np.arange(len(gaps))
    left, right = gaps[rows, at], gaps[rows, at + 1]
    share = np.divide(left, left - right, out=np.zeros_like(left), where=number == 1)
    sizes = grid[at] * (grid[at + 1] / grid[at]) ** share
    outside = np.where(ahead[:, 0], np.inf, 0.0)
    return np.where(number == 0, outside, np.where((number == 1) & ahead[:, 0], sizes, np.nan))


def _size(
    estimate: float, low: float, high: float, sizes: tuple[int, ...], level: float, curve: LearningCurve
) -> Size | Refusal:
    refusal = _too_far(sizes, estimate)
    if refusal:
        return refusal
    if high > 10 * low:
        end = "no end" if np.isinf(high) else f"{high:,.0f}"
        return Refusal(
            f"about {estimate:,.0f} labels, but the interval goes from {low:,.0f} to {end}: beyond a factor of 10"
        )
    outside = not sizes[0] <= estimate <= sizes[-1]
    return Size(estimate, low, high, level, curve.method, curve.over, outside)


def _too_far(sizes: tuple[int, ...], size: float) -> Refusal | None:
    if size > sizes[-1] * EXTRAPOLATION:
        return Refusal(
            f"{size:,.0f} labels lie beyond {EXTRAPOLATION:g} times the largest size that was run, {sizes[-1]:,}"
        )
    if size < sizes[0] / EXTRAPOLATION:
        return Refusal(
            f"{size:,.0f} labels lie below 1/{EXTRAPOLATION:g} of the smallest size that was run, {sizes[0]:,}"
        )
    return None
