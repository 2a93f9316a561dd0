"""What a comparison could have seen, and how many seeds or test texts a new one needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from tunebench.stats.results import Difference, Over, Refusal, check_level
from tunebench.stats.roots import root
from tunebench.stats.sequential import nominal_tail
from tunebench.stats.tails import mean_quantile


@dataclass(frozen=True)
class Detectable:
    """The smallest true difference that a two-sided test finds with the given power.

    Attributes:
        difference: In the units of the score.
        power: Chance of finding it.
        alpha: Level of the test.
        method: Name of the test.
        over: The source of variation that the test holds.
    """

    difference: float
    power: float
    alpha: float
    method: str
    over: Over


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds a new comparison of the same two strategies needs, planned before its first run.

    Attributes:
        to_differ: Seeds of each strategy with which a true difference as large as the margin is found; None if no
            reasonable number would.
        to_equal: Seeds with which two strategies without any difference are shown to be equal within the margin;
            None if no reasonable number would.
        cap: The largest number of seeds that was tried.
        left: Half-width of the interval that is left by the test examples, however many seeds there are.
        power: Chance of either.
        alpha: Level of the tests.
        over: The source of variation that the tests hold.
        examples: Test examples that it needs at least, as no number of seeds would do; None where seeds may do.
    """

    to_differ: int | None
    to_equal: int | None
    cap: int
    left: float
    power: float
    alpha: float
    over: Over
    examples: int | None = None


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of a numerical integral over -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights


@dataclass(frozen=True)
class _Variances:
    """What the variance of a difference will be: the part that seeds shrink, and the one that they do not."""

    seeds: float
    seeds_df: float
    rest: float
    rest_df: float = np.inf

    @property
    def error(self) -> float:
        return float(np.sqrt(self.seeds + self.rest))

    def bounds(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        """Return half-widths of the interval that the comparison will see, and their chances.

        The variance between seeds is estimated, so the half-width varies from one comparison to the next.
        """
        nodes, weights = _nodes()
        if self.seeds and np.isfinite(self.seeds_df):
            df = self.seeds_df
            seen = 2 * scipy.special.gammaincinv(df / 2, (nodes + 1) / 2) / df
        else:
            seen, df, weights = np.ones(1), np.inf, np.full(1, 2.0)
        variances = np.stack([self.seeds * seen, np.full_like(seen, self.rest)], -1)
        quantiles = mean_quantile(variances, np.broadcast_to([df, self.rest_df], variances.shape), tail)
        return quantiles * np.sqrt(variances.sum(-1)), weights / 2

    def finds(self, difference: float, alpha: float) -> float:
        """Return the chance that a two-sided test finds a true difference."""
        bounds, chances = self.bounds(alpha / 2)
        low, high = (-bounds - difference) / self.error, (bounds - difference) / self.error
        return float(chances @ (scipy.special.ndtr(low) + scipy.special.ndtr(-high)))

    def equates(self, margin: float, alpha: float) -> float:
        """Return the chance that two one-sided tests show equality where there is no difference."""
        bounds, chances = self.bounds(alpha)
        return float(chances @ np.maximum(2 * scipy.special.ndtr((margin - bounds) / self.error) - 1, 0.0))


def detectable_on_examples(
    n: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> Detectable | Refusal:
    """Return the smallest difference in accuracy that McNemar's test finds on ``n`` test examples.

    Solves ``d sqrt(n) = z(1 - alpha / 2) sqrt(p) + z(power) sqrt(p - d^2)`` for d, with p the share of
    examples that exactly one of the two gets right (Connor 1987).

    Args:
        n: Test examples.
        discordance: That share, between 0 and 1.
        alpha: Level of the test.
        power: Chance of finding the difference.

    Returns:
        The difference, or a refusal where even one-sided discordance would not be found.

    Raises:
        ValueError: An argument is out of range.
    """
    check_level(alpha, name="alpha")
    check_level(power, name="power")
    if n < 1 or not 0 <= discordance <= 1:
        raise ValueError(f"n >= 1 and discordance between 0 and 1 are needed, got {n} and {discordance}")
    z = float(scipy.special.ndtri(1 - alpha / 2)) * np.sqrt(discordance)
    z_power = float(scipy.special.ndtri(power))
    root = z * z * n - (n + z_power**2) * (z * z - z_power**2 * discordance)
    difference = float((z * np.sqrt(n) + np.sign(z_power) * np.sqrt(max(root, 0.0))) / (n + z_power**2))
    if discordance == 0 or root < 0 or difference > discordance:
        return Refusal(
            f"the two differ in correctness on {discordance:.2%} of {n} examples: too few to find any difference"
        )
    return Detectable(difference, power, alpha, "McNemar (normal)", "test examples")


def detectable_over_seeds(
    seed_sd: float,
    seeds: int,
    *,
    example_variance: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Detectable:
    """Return the smallest difference that a t test on ``seeds`` paired seeds finds.

    Args:
        seed_sd: Standard deviation of the per-seed difference.
        seeds: Seeds of each strategy, at least 2.
        example_variance: Variance that all seeds share through the test examples (see
            :class:`~tunebench.stats.results.Difference`); None to leave test examples out.
        alpha: Level of the test.
        power: Chance of finding the difference.

    Raises:
        ValueError: An argument is out of range.
    """
    if seeds < 2 or not seed_sd > 0 or not (example_variance is None or example_variance >= 0):
        raise ValueError("at least 2 seeds, a positive seed_sd and no negative example_variance are needed")
    variances = _Variances(seed_sd**2 / seeds, seeds - 1.0, example_variance or 0.0)
    over: Over = "seeds" if example_variance is None else "seeds and test examples"
    return _detectable(variances, alpha, power, "t", over)


def detectable_difference(
    difference: Difference, *, alpha: float = 0.05, power: float = 0.8
) -> Detectable | Refusal:
    """Return the smallest difference that a comparison like this one finds, whatever it did find.

    Args:
        difference: Only the variances are used (bootstrap: normal), and at which look they were seen.
        alpha: Level of the test, or of the whole design.
        power: Chance of finding the difference.

    Returns:
        The difference, or a refusal where even the largest that is possible would not be found.

    Raises:
        ValueError: A level is none.
    """
    check_level(alpha, name="alpha")
    tail, largest = nominal_tail(difference.look, alpha / 2), difference.bounds[1]
    nothing = Refusal("no difference that is possible would be found")
    if not tail:
        return nothing
    seeds, df = difference.seed_variance or 0.0, difference.seed_df or np.inf
    variances = _Variances(seeds, df, max(difference.standard_error**2 - seeds, 0.0))
    found = _detectable(variances, 2 * tail, power, difference.interval.method, difference.over)
    return found if largest is None or found.difference <= largest else nothing


def seeds_needed(
    difference: Difference, *, margin: float, alpha: float = 0.05, power: float = 0.8, cap: int = 100
) -> SeedsNeeded | Refusal:
    """Say how many seeds a new comparison of two strategies needs.

    The plan takes the variances from this comparison and the difference from the question: as large as the margin,
    or none at all. It does not take the difference from these data, since a plan made so stops where chance looks
    good. Seeds shrink ``seed_variance`` alone: what the test examples contribute stays, which is why no number of
    seeds may do. More test examples shrink that part.

    Args:
        difference: From :func:`~tunebench.stats.paired.seed_difference` or
            :func:`~tunebench.stats.paired.crossed_difference`.
        margin: Differences smaller than this do not matter.
        alpha: Level of the tests of the new comparison, which compares these two alone.
        power: Chance that it finds what is true.
        cap: More seeds than this are not proposed.

    Returns:
        The numbers, or a refusal for a difference whose interval does not hold seeds.

    Raises:
        ValueError: The margin is not positive, or a level is none.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    check_level(alpha, name="alpha")
    check_level(power, name="power")
    seeds = difference.interval.n_seeds
    if difference.seed_variance is None or seeds is None:
        return Refusal("one seed of a strategy: how much seeds vary is not known, run at least two of each")
    single, shared = difference.seed_variance * seeds, difference.example_variance or 0.0

    def planned(total: int) -> _Variances:
        return _Variances(single / total, total - 1.0, shared)

    def fewest(chance: Callable[[_Variances], float]) -> int | None:
        low, high = 2, cap
        if chance(planned(high)) < power:
            return None
        while low < high:  # more seeds never lower the chance
            middle = (low + high) // 2
            low, high = (low, middle) if chance(planned(middle)) >= power else (middle + 1, high)
        return low

    differ = fewest(lambda variances: variances.finds(margin, alpha))
    equal = fewest(lambda variances: variances.equates(margin, alpha))
    left = float(np.sqrt(shared) * scipy.special.ndtri(1 - alpha / 2))
    here = difference.interval.n_examples or 0
    needed = here * shared * (_margin_in_errors(alpha, power) / margin) ** 2
    examples = math.ceil(needed) if here < needed < np.inf else None
    return SeedsNeeded(differ, equal, cap, left, power, alpha, difference.over, examples)


@cache
def _margin_in_errors(alpha: float, power: float) -> float:
    """Return how many standard errors a margin must be for both answers to have the power, with endless seeds."""
    error = _Variances(0.0, np.inf, 1.0)

    return _least(lambda margin: min(error.finds(margin, alpha), error.equates(margin, alpha)), power, 1.0)


def _detectable(variances: _Variances, alpha: float, power: float, method: str, over: Over) -> Detectable:
    check_level(alpha, name="alpha")
    if not alpha < power < 1:
        raise ValueError(f"power must lie between alpha and 1, got {power}")
    found = _least(lambda value: variances.finds(value, alpha), power, variances.error, precision=1e-10)
    return Detectable(found, power, alpha, method, over)


def _least(chance: Callable[[float], float], power: float, high: float, *, precision: float = 0.0) -> float:
    """Return the smallest value whose chance, which rises with it, is the power; ``high`` is a first guess."""
    while chance(high) < power:
        high *= 2
    return root(lambda value: chance(value) - power, 0.0, high, xtol=precision * high)
