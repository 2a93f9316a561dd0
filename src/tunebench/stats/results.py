"""What the statistics hand back: values that say which source of variation they hold.

An interval over test examples answers "what if other reviews had been in the test split, the trained
models staying as they are"; one over seeds "what if the training had been repeated, the test split
staying as it is"; only one over both speaks of the strategy. None of them holds the draw of the
training subset: see :mod:`tunebench.stats.variance`. One over data sets answers "what if other data sets like
these had been taken".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunebench.stats.sequential import Look
from tunebench.stats.tails import Parts

#: Ends of the range that a quantity cannot leave; None where a side has no end.
Bounds = tuple[float | None, float | None]
Over = Literal["test examples", "seeds", "seeds and test examples", "data sets"]
#: ``same seeds``: row i of one strategy and row i of the other come from the same seed.
Pairing = Literal["same seeds", "different seeds"]


@dataclass(frozen=True)
class Refusal:
    """The data cannot carry an answer.

    Attributes:
        reason: Why, in a sentence for the reader of a report.
    """

    reason: str


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        estimate: The statistic on the data as they are.
        low: Lower end; ``-inf`` where the interval has none.
        high: Upper end; ``inf`` where the interval has none.
        level: Confidence, 0.95 for a 95 % interval.
        method: Name of the method.
        over: The source of variation the interval holds; it holds no other.
        n_examples: Test examples behind it; None where they play no part.
        n_seeds: Runs of one strategy behind it (the fewer of two); None where nothing says how many.
    """

    estimate: float
    low: float
    high: float
    level: float
    method: str
    over: Over
    n_examples: int | None = None
    n_seeds: int | None = None

    @property
    def half_width(self) -> float:
        """Half the distance between the ends."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Difference:
    """A difference between two strategies (the first minus the second), on the same test examples.

    Attributes:
        interval: Estimate and interval.
        p_value: Two-sided, of no difference; at most ``1 - level`` exactly when the interval excludes 0.
        standard_error: Standard deviation of the estimate under :attr:`over`.
        degrees_of_freedom: Of the standard error as a whole, after Satterthwaite. Tests use the :attr:`parts`.
        parts: The independent estimates that ``standard_error ** 2`` is the sum of, with their degrees of freedom.
        seed_variance: Part of ``standard_error ** 2`` that more seeds shrink; None for test examples alone.
        seed_df: Degrees of freedom of :attr:`seed_variance`; None with it.
        example_variance: Part that only a larger test split shrinks; None for seeds alone.
        moderated: How many configurations moderated the seed variance; 0 where it stands by itself.
        look: The look of a design that is read more than once; interval and p value are then of the whole design.
            None for a comparison that is read once.
        bounds: The range that the difference cannot leave; all its intervals are cut to it.
    """

    interval: Interval
    p_value: float
    standard_error: float
    degrees_of_freedom: float
    parts: Parts
    seed_variance: float | None = None
    seed_df: float | None = None
    example_variance: float | None = None
    moderated: int = 0
    look: Look | None = None
    bounds: Bounds = (None, None)

    @property
    def estimate(self) -> float:
        """The difference on the data as they are."""
        return self.interval.estimate

    @property
    def over(self) -> Over:
        """The source of variation that interval and p value hold."""
        return self.interval.over


def check_level(level: float, *, name: str = "level") -> None:
    """Refuse what is no level strictly between 0 and 1.

    Raises:
        ValueError: It is not.
    """
    if not 0 < level < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {level}")


def finite(values: object, *, name: str, ndim: int = 1) -> np.ndarray:
    """Return the values as a float array of ``ndim`` dimensions.

    Raises:
        ValueError: Wrong number of dimensions, no values, or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"{name} must be a non-empty array of {ndim} dimension(s), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return array
