"""Comparisons that are read more than once: at looks that were declared, or at any time.

A test at 5 % that is repeated after more seeds is wrong in more than 5 %. Two designs keep the level:

- :class:`Looks`: the numbers of seeds at which a study is read are declared before its first run, and a spending
  function says how much of the level each look may use (Lan and DeMets 1983).
- :class:`Anytime`: a study is read after every seed, and may end, or not, whenever somebody likes. The level is
  that of a mixture e-process (Robbins 1970; for a variance that is not known, Lai 1976; Wang and Ramdas 2023,
  "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance", arXiv:2310.03722).

Either says at each look which *nominal* tail probability stands for a tail of the whole design. Tests and intervals
are then those of one look at the nominal level, so Student's t with moderated degrees of freedom, Holm's correction
and equivalence work as they do without looks. The intervals are repeated confidence intervals (Jennison and
Turnbull 1989): together, over all looks, they hold the truth as often as their level says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, Protocol

import numpy as np
import scipy

#: Named after the tests whose boundaries they come close to.
Spending = Literal["obrien-fleming", "pocock"]
#: Variance that the mixture of :class:`Anytime` expects of the true difference, in variances of one seed.
EXPECTED = 4.0
#: Nodes of a numerical integral over the scores at which a study goes on.
_NODES = 64
#: Standard deviations below 0 from which on a score is not counted.
_LOWEST = -8.0
#: Logarithms of the smallest and largest tail that the boundaries are computed for, and how many between them.
_TAILS = np.linspace(np.log(1e-18), np.log(0.5), 160)
#: What the name of a method gets at a look.
REPEATED = ", repeated"
#: No tail is given as smaller.
_SMALLEST = 1e-60


class Look(Protocol):
    """What a tail probability is worth at one look; both directions are inverse to each other."""

    def nominal(self, tail: float) -> float:
        """Return the tail at this look that stands for one of the whole design; 0 where none can."""

    def overall(self, nominal: float) -> float:
        """Return the tail of the whole design that one at this look stands for."""


def spent(share: np.ndarray | float, tail: np.ndarray | float, spending: Spending) -> np.ndarray:
    """Return how much of a one-sided tail a design has used by a share of its seeds (Lan and DeMets 1983).

    Args:
        share: Seeds at the look over those of the last one.
        tail: Of the whole design.
        spending: The function.
    """
    if spending == "pocock":
        return np.asarray(tail * np.log1p((np.e - 1) * share))
    return np.asarray(2 * scipy.special.ndtr(scipy.special.ndtri(np.asarray(tail) / 2) / np.sqrt(share)))


def boundaries(
    seeds: Sequence[int], tails: np.ndarray | float, *, spending: Spending = "obrien-fleming"
) -> np.ndarray:
    """Return the values of z at which each look ends a study, on one side.

    The looks' scores are jointly normal, and two of them correlate by the root of the ratio of their seeds. What
    test examples add is the same at all looks. It makes them correlate more, and the boundaries then keep their
    level with room to spare. The integrals are computed one look after the other (Armitage, McPherson and Rowe
    1969).

    Args:
        seeds: At each look, ascending.
        tails: Of the whole design, one-sided; one or several.
        spending: How it is spent.

    Returns:
        Shape ``(looks,)``, or ``(looks, tails)``.
    """
    wanted = np.atleast_1d(np.asarray(tails, dtype=np.float64))
    shares = np.asarray(seeds, dtype=np.float64) / seeds[-1]
    used = spent(shares[:, None], wanted, spending)
    each = np.maximum(np.diff(used, axis=0, prepend=0.0), 1e-300)
    found = [-scipy.special.ndtri(each[0])]
    # On the scale of a Brownian motion whose time is the share of seeds.
    places, weights = _nodes(found[0] * np.sqrt(shares[0]), shares[0])
    density = np.exp(-(places**2) / (2 * shares[0])) / np.sqrt(2 * np.pi * shares[0]) * weights
    for number in range(1, len(shares)):
        step = np.sqrt(shares[number] - shares[number - 1])
        bound = _solve(places, density, step, each[number]) / np.sqrt(shares[number])
        found.append(bound)
        after, weights = _nodes(bound * np.sqrt(shares[number]), shares[number])
        moves = (after[:, :, None] - places[:, None, :]) / step
        reached = (np.exp(-(moves**2) / 2) * density[:, None, :]).sum(-1) / (np.sqrt(2 * np.pi) * step)
        places, density = after, reached * weights
    bounds = np.stack(found)
    return bounds[:, 0] if np.ndim(tails) == 0 else bounds


def _nodes(bounds: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights below each bound."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    low = _LOWEST * np.sqrt(time)
    half = (np.minimum(bounds, -4 * low) - low) / 2
    return low + half[:, None] * (nodes + 1), half[:, None] * weights


def _solve(places: np.ndarray, density: np.ndarray, step: float, chances: np.ndarray) -> np.ndarray:
    """Return the bounds that are exceeded, for the first time, with the given chances."""
    low, high = np.full(len(chances), -10.0), np.full(len(chances), 40.0)
    for _ in range(50):
        middle = (low + high) / 2
        above = (density * scipy.special.ndtr((places - middle[:, None]) / step)).sum(-1) > chances
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2)


@dataclass(frozen=True)
class Looks:
    """Looks that were declared.

    Attributes:
        seeds: Seeds of each strategy at each look, ascending; the last is the end.
        spending: How the level is spent.
    """

    seeds: tuple[int, ...]
    spending: Spending = "obrien-fleming"

    def at(self, seeds: int) -> DeclaredLook:
        """Return the last look that so many seeds are enough for; before the first look, that one."""
        return DeclaredLook(self, max(sum(one <= seeds for one in self.seeds) - 1, 0))

    def boundary(self, number: int, alpha: float) -> float:
        """Return the z that ends a study at a look (from 0), two-sided."""
        return float(boundaries(self.seeds, alpha / 2, spending=self.spending)[number])


@cache
def _tables(seeds: tuple[int, ...], spending: Spending) -> np.ndarray:
    """Return logarithms of the nominal tails, shape ``(looks, len(_TAILS))``."""
    found = scipy.special.log_ndtr(-boundaries(seeds, np.exp(_TAILS), spending=spending))
    return np.asarray(np.maximum.accumulate(np.maximum(found, np.log(_SMALLEST)), axis=1))


@dataclass(frozen=True)
class DeclaredLook:
    """One of the looks of a design, counted from 0."""

    design: Looks
    number: int

    @property
    def seeds(self) -> int:
        """Seeds at the look."""
        return self.design.seeds[self.number]

    @property
    def _table(self) -> np.ndarray:
        return np.asarray(_tables(self.design.seeds, self.design.spending)[self.number])

    def nominal(self, tail: float) -> float:
        """Return the tail at this look that stands for one of the whole design."""
        return float(np.exp(np.interp(np.log(max(tail, _SMALLEST)), _TAILS, self._table)))

    def overall(self, nominal: float) -> float:
        """Return the tail of the whole design that one at this look stands for."""
        most = float(np.exp(self._table[-1]))
        if nominal >= most:
            return 0.5 + 0.5 * (nominal - most) / (1 - most)
        return float(np.exp(np.interp(np.log(max(nominal, _SMALLEST)), self._table, _TAILS)))


@dataclass(frozen=True)
class Anytime:
    """A study without declared looks: its intervals hold at all numbers of seeds together."""

    def at(self, seeds: int) -> AnytimeLook:
        """Return the look at so many seeds."""
        return AnytimeLook(seeds)


@dataclass(frozen=True)
class AnytimeLook:
    """So many seeds of a study that may be read at any time.

    The e-process after S seeds is the ratio of two likelihoods of Student's t: of a true difference that is normal
    around 0 with the variance :data:`EXPECTED` (in variances of one seed), and of no difference. It exceeds
    ``1 / alpha`` at any time with a chance of ``alpha`` at most, if there is no difference.
    """

    seeds: int

    @cached_property
    def _shrinks(self) -> float:
        """Variance of a mean under no difference over that under the mixture."""
        return 1 / (1 + self.seeds * EXPECTED)

    def nominal(self, tail: float) -> float:
        """Return the tail at this look that stands for one of the whole design.

        It is 0 where so few seeds cannot show it, however far they are from no difference.
        """
        if self.seeds < 2:
            return 0.0
        ratio = float((2 * max(tail, _SMALLEST)) ** (-2 / self.seeds) * self._shrinks ** (-1 / self.seeds))
        if ratio * self._shrinks >= 1:
            return 0.0
        square = (ratio - 1) / (1 - ratio * self._shrinks)
        return max(float(scipy.special.stdtr(self.seeds - 1, -np.sqrt((self.seeds - 1) * square))), _SMALLEST)

    def overall(self, nominal: float) -> float:
        """Return the tail of the whole design that one at this look stands for."""
        if self.seeds < 2:
            return 0.5
        quantile = float(scipy.special.stdtrit(self.seeds - 1, max(min(nominal, 0.5), _SMALLEST)))
        square = quantile**2 / (self.seeds - 1)
        ratio = self._shrinks**0.5 * ((1 + square) / (1 + square * self._shrinks)) ** (self.seeds / 2)
        return min(0.5, 0.5 / ratio) if nominal <= 0.5 else nominal


def nominal_tail(look: Look | None, tail: float) -> float:
    """Return the tail at a look that stands for one of the whole design; without a look the tail itself."""
    return tail if look is None else look.nominal(tail)


def overall_tail(look: Look | None, tail: float) -> float:
    """Return the tail of the whole design that one at a look stands for; without a look the tail itself."""
    return tail if look is None else look.overall(tail)
