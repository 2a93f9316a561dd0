"""What an axis of scores shows, and where values lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.ticker import MaxNLocator

#: An interval is shown whole up to so far beyond the values, even where it is many times as wide as they are apart.
_WHOLE = 0.1


def domain(shown: Sequence[float], ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, and most intervals whole.

    The interval of two seeds may hold all values there are, and would press all others together: it is cut.

    Args:
        shown: Values that must be seen; at least one.
        ends: Ends of the intervals.
    """
    room = max(max(shown) - min(shown), 0.01)
    usual = median((high - low) / 2 for low, high in ends) if ends else 0.0
    more = max(room / 2, min(1.3 * usual, _WHOLE))
    low = max(min((low for low, _ in ends), default=min(shown)), min(shown) - more)
    high = min(max((high for _, high in ends), default=max(shown)), max(shown) + more)
    return min(low, *shown) - room / 20, max(high, *shown) + room / 20


class Axis:
    """Places on an axis in percent, within it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Return where a span begins, and how wide it is."""
        return self(low), round(self(high) - self(low), 2)


def ticks(low: float, high: float) -> list[float]:
    """Return about four round values between the ends of an axis."""
    found = (round(float(tick), 10) for tick in MaxNLocator(4).tick_values(low, high))
    return [tick for tick in found if low <= tick <= high]
