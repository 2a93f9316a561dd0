"""A difference of a design that is read more than once."""

from __future__ import annotations

from dataclasses import replace

from tunebench.stats.methods import t_ends
from tunebench.stats.results import Difference
from tunebench.stats.sequential import REPEATED, Look, overall_tail
from tunebench.stats.tails import tail_of


def at_look(difference: Difference, look: Look | None) -> Difference:
    """Return a difference as it stands at a look of a design that is read more than once.

    The interval is a repeated confidence interval, and the p value one of the whole design: the smallest level at
    which the design would have ended at this look.

    Args:
        difference: As if it were read once.
        look: The look; None leaves the difference as it is, and so does one that does not vary at all.
    """
    if look is None or not difference.standard_error:
        return difference
    interval = difference.interval
    low, high = t_ends(interval.estimate, difference.parts, interval.level, look, difference.bounds)
    ratio = abs(interval.estimate) / difference.standard_error
    return replace(
        difference,
        interval=replace(interval, low=low, high=high, method=interval.method + REPEATED),
        p_value=min(1.0, 2 * overall_tail(look, tail_of(difference.parts, ratio))),
        look=look,
    )
