"""Where a function of one number is zero, without scipy.optimize: its import takes longer than a study's tables."""

from __future__ import annotations

import sys
from collections.abc import Callable

_EPSILON = sys.float_info.epsilon


def root(function: Callable[[float], float], low: float, high: float, *, xtol: float = 0.0) -> float:
    """Return where a continuous function is zero, by Chandrupatla's method (1997, Adv. Eng. Softw. 28, 145).

    Each step is one of inverse quadratic interpolation where the three last points allow it, else of bisection.

    Args:
        function: It has different signs at the two ends, or is zero at one.
        low: One end.
        high: The other end.
        xtol: How far off the answer may be, beside what a float can tell.

    Raises:
        ValueError: The signs at the ends are the same.
    """
    new, old = high, low
    at_new, at_old = function(new), function(old)
    if at_new == 0 or at_old == 0:
        return new if at_new == 0 else old
    if (at_new > 0) == (at_old > 0):
        raise ValueError(f"the function has the same sign at {low} and {high}")
    share = 0.5
    while True:
        tried = new + share * (old - new)
        at_tried = function(tried)
        if (at_tried > 0) == (at_new > 0):
            last, at_last = new, at_new
        else:
            last, at_last, old, at_old = old, at_old, new, at_new
        new, at_new = tried, at_tried
        best, at_best = (new, at_new) if abs(at_new) < abs(at_old) else (old, at_old)
        least = (2 * _EPSILON * abs(best) + xtol / 2) / abs(old - new) if old != new else 1.0
        if least > 0.5 or at_best == 0:
            return best
        share = min(max(_share((new, at_new), (old, at_old), (last, at_last)), least), 1 - least)


def _share(new: tuple[float, float], old: tuple[float, float], last: tuple[float, float]) -> float:
    """Return how far to go from the newest point to the one across the zero."""
    (a, at_a), (b, at_b), (c, at_c) = new, old, last
    xi, phi = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
    if not (phi**2 < xi and (1 - phi) ** 2 < 1 - xi):
        return 0.5
    first = at_a / (at_b - at_a) * at_c / (at_b - at_c)
    return first + (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
