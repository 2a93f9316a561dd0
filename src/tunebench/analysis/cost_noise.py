"""What the same work costs from one run to the next: intervals of costs, and which of two is lower."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.analysis.configuration import Configuration
from tunebench.stats import Interval
from tunebench.store.cell import Cell

#: Degrees of freedom that the expected noise of a cost is worth beside the repeated runs.
EXPECTED_DF = 4
#: The least that is assumed where other work shared the machine.
ASSUMED_SHARED = 0.25


@dataclass(frozen=True)
class Measured:
    """One cost of one configuration's runs.

    Attributes:
        values: One a run; of a time those of runs that had the machine to themselves, as far as there are any.
        shared: Whether it is a time, and other work shared the machine in all of them.
        chosen: Whether the runs have several settings, each chosen by its seed, so that their work differs.
    """

    values: tuple[float, ...]
    shared: bool
    chosen: bool = False

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return float(np.mean(self.values))

    @property
    def choice_error(self) -> float:
        """Standard error of the logarithm of the mean, from the runs themselves, where their settings differ."""
        if not self.chosen or len(self.values) < 2 or self.mean <= 0:
            return 0.0
        return float(np.std(self.values, ddof=1)) / math.sqrt(len(self.values)) / self.mean


def shared_machine(cell: Cell) -> bool:
    """Whether something else ran on the machine while this run was timed."""
    timing = cell.record.timing if cell.record is not None else None
    return timing is not None and (timing.contended is True or (timing.workers or 1) > 1)


def measured_of(config: Configuration, columns: Sequence[str], *, timed: bool) -> Measured | None:
    """Return what a configuration's runs took; None where none of it was recorded.

    Args:
        config: The runs.
        columns: Columns of their rows whose sum it is.
        timed: Whether other work on the machine makes it larger.
    """
    found = [
        (float(sum(parts)), timed and shared_machine(cell))
        for cell in config.scored
        if None not in (parts := [cell.value(column) for column in columns])
    ]
    alone = [value for value, shared in found if not shared]
    if not found:
        return None
    return Measured(tuple(alone or [value for value, _ in found]), not alone, chosen=not config.is_single)


@dataclass(frozen=True)
class Noise:
    """How much a cost varies from run to run, as a share of its size.

    Attributes:
        sd: Standard deviation of the logarithm.
        df: Its degrees of freedom.
        repeated: Whether any run was repeated.
    """

    sd: float
    df: float
    repeated: bool

    def error(self, measured: Measured) -> float:
        """Return the standard error of the logarithm of a mean."""
        sd = max(self.sd, ASSUMED_SHARED) if measured.shared else self.sd
        return max(sd / math.sqrt(len(measured.values)), measured.choice_error)

    def df_of(self, measured: Measured) -> float:
        """Return the degrees of freedom of :meth:`error`."""
        own = len(measured.values) - 1
        return min(self.df, own) if measured.choice_error else self.df

    def draw(self, measured: Measured, resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Return so many means that further runs might have had, of the distribution of :meth:`interval`."""
        moves = self.error(measured) * rng.standard_t(self.df_of(measured), resamples)
        return measured.mean * (np.maximum(1 + moves, 0.0) if measured.choice_error else np.exp(moves))

    def distance(self, one: Measured, other: Measured) -> tuple[float, float]:
        """Return the logarithm of how many times as much one takes as the other, and its standard error."""
        return math.log(one.mean / other.mean), math.hypot(self.error(one), self.error(other))

    def interval(self, measured: Measured) -> Interval | None:
        """Return the mean with its 95 % interval; None where no run was repeated."""
        mean = measured.mean
        if not self.repeated or mean <= 0:
            return None
        reach, runs = _reach(self.df_of(measured)) * self.error(measured), len(measured.values)
        if measured.choice_error:
            # Some settings take many times as long as others, which is no noise of a factor.
            low, high = max(0.0, mean * (1 - reach)), mean * (1 + reach)
            return Interval(mean, low, high, 0.95, "t (of these runs)", "seeds", n_seeds=runs)
        factor = math.exp(reach)
        method = "t (logarithms, noise pooled)"
        return Interval(mean, mean / factor, mean * factor, 0.95, method, "seeds", n_seeds=runs)


def dearer_on_average(cases: Sequence[tuple[Noise, Measured, Measured]]) -> bool:
    """Whether one is shown to cost more than another, on average over data sets, by a two-sided test at 5 %.

    Args:
        cases: For each data set how much the cost varies there, and what both took.
    """
    if any(min(one.mean, other.mean) <= 0 for _, one, other in cases):
        return sum(one.mean - other.mean for _, one, other in cases) > 0
    found = np.array([noise.distance(one, other) for noise, one, other in cases])
    df = min(noise.df_of(measured) for noise, *both in cases for measured in both)
    return bool(found[:, 0].sum() > _reach(df) * np.linalg.norm(found[:, 1]))


def _reach(df: float) -> float:
    return float(-scipy.special.stdtrit(df, 0.025))


def noise_of(measured: Iterable[Measured], expected: float) -> Noise:
    """Pool the variance of the logarithm over configurations that ran more than once, with the expected one.

    Args:
        measured: Of each configuration.
        expected: Relative standard deviation that is expected before any run was repeated.
    """
    squares, df = EXPECTED_DF * expected**2, EXPECTED_DF
    for one in measured:
        if len(one.values) > 1 and not one.shared and min(one.values) > 0:
            squares += float(np.log(one.values).var() * len(one.values))
            df += len(one.values) - 1
    return Noise(math.sqrt(squares / df), df, df > EXPECTED_DF)
