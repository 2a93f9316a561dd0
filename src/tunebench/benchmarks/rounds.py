"""Rounds of a benchmark: how many there are, how long they still take, and what a stop leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tunebench.formatting import counted, duration

T = TypeVar("T")


def take_rounds(
    take: Callable[[int], T], *, fewest: int, seconds: float = 0.0, tell: Callable[[str], None]
) -> list[T]:
    """Return what each round measured. Ctrl-C leaves out the round that it stops, and returns the others.

    Args:
        take: Does a round, given its number from 1.
        fewest: Rounds to do at least.
        seconds: Time to use for more of them.
        tell: Told after each round how long the others will take.

    Raises:
        KeyboardInterrupt: The first round was stopped.
    """
    found: list[T] = []
    began = time.monotonic()
    while True:
        try:
            found.append(take(len(found) + 1))
        except KeyboardInterrupt:
            if not found:
                raise
            tell(f"stopped; the result is of {counted(len(found), 'whole round')}")
            return found
        each = (time.monotonic() - began) / len(found)
        planned = max(fewest, int(seconds / each))
        if len(found) >= planned:
            return found
        tell(f"{len(found)} of {planned} rounds done, about {duration(each * (planned - len(found)))} left")
