"""What the same work costs from one run to the next: intervals of times, and which of two is cheaper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.analysis.configuration import Configuration
from tunebench.stats import Interval
from tunebench.store.cell import Cell

#: Relative standard deviation of a time that is expected before any run was repeated, and how many degrees of
#: freedom that is worth beside the repeated runs.
EXPECTED, EXPECTED_DF = 0.05, 4
#: The least that is assumed where other work shared the machine.
ASSUMED_SHARED = 0.25


@dataclass(frozen=True)
class Times:
    """The times of one configuration's runs.

    Attributes:
        values: Seconds, one a run; of runs that had the machine to themselves, as far as there are any.
        shared: Whether other work shared the machine in all of them.
    """

    values: tuple[float, ...]
    shared: bool

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return float(np.mean(self.values))


def shared_machine(cell: Cell) -> bool:
    """Whether something else ran on the machine while this run was timed."""
    timing = cell.record.timing if cell.record is not None else None
    return timing is not None and (timing.contended is True or (timing.workers or 1) > 1)


def times_of(config: Configuration, columns: Sequence[str]) -> Times | None:
    """Return the times that a configuration's runs took; None where none was recorded."""
    found = [
        (float(sum(parts)), shared_machine(cell))
        for cell in config.scored
        if None not in (parts := [cell.value(column) for column in columns])
    ]
    alone = [value for value, shared in found if not shared]
    if not found:
        return None
    return Times(tuple(alone or [value for value, _ in found]), not alone)


@dataclass(frozen=True)
class Noise:
    """How much times vary from run to run, as a share of their size.

    Attributes:
        sd: Standard deviation of the logarithm.
        df: Its degrees of freedom.
        repeated: Whether any run was repeated.
    """

    sd: float
    df: float
    repeated: bool

    def error(self, times: Times) -> float:
        """Return the standard error of the logarithm of a mean time."""
        sd = max(self.sd, ASSUMED_SHARED) if times.shared else self.sd
        return sd / math.sqrt(len(times.values))

    def dearer(self, one: Times, other: Times) -> bool:
        """Whether one is shown to take longer than the other, by a two-sided test at 5 %."""
        return dearer_on_average([(self, one, other)])

    def distance(self, one: Times, other: Times) -> tuple[float, float]:
        """Return the logarithm of how many times as long one takes as the other, and its standard error."""
        return math.log(one.mean / other.mean), math.hypot(self.error(one), self.error(other))

    def interval(self, times: Times) -> Interval | None:
        """Return the mean with its 95 % interval; None where no run was repeated."""
        if not self.repeated or times.mean <= 0:
            return None
        factor = math.exp(_reach(self.df) * self.error(times))
        method = "t (logarithms, noise pooled)"
        return Interval(
            times.mean, times.mean / factor, times.mean * factor, 0.95, method, "seeds", n_seeds=len(times.values)
        )


def dearer_on_average(cases: Sequence[tuple[Noise, Times, Times]]) -> bool:
    """Whether one is shown to take longer than another, on average over data sets, by a two-sided test at 5 %.

    Args:
        cases: For each data set how much times vary there, and the times of both.
    """
    if any(min(one.mean, other.mean) <= 0 for _, one, other in cases):
        return sum(one.mean - other.mean for _, one, other in cases) > 0
    found = np.array([noise.distance(one, other) for noise, one, other in cases])
    df = min(noise.df for noise, _, _ in cases)
    return bool(found[:, 0].sum() > _reach(df) * np.linalg.norm(found[:, 1]))


def _reach(df: float) -> float:
    return float(-scipy.special.stdtrit(df, 0.025))


def noise_of(times: Iterable[Times]) -> Noise:
    """Pool the variance of the logarithm over configurations that ran more than once, with the expected one."""
    squares, df = EXPECTED_DF * EXPECTED**2, EXPECTED_DF
    for one in times:
        if len(one.values) > 1 and not one.shared and min(one.values) > 0:
            squares += float(np.log(one.values).var() * len(one.values))
            df += len(one.values) - 1
    return Noise(math.sqrt(squares / df), df, df > EXPECTED_DF)
