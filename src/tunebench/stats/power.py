"""What a study could have seen, and whether more seeds would settle it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from tunebench.stats.methods import satterthwaite
from tunebench.stats.results import Difference, Over, Refusal, check_level


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
class SeedsToSettle:
    """How many seeds of each strategy would settle a comparison, if the estimates stay where they are.

    Attributes:
        total: Seeds of each strategy, those that have run included; None if no reasonable number would.
        more: Seeds to add; 0 if it is settled, None with ``total``.
        settles: What the interval would then show; None with ``total``.
        reason: In a sentence.
        over: The source of variation of the interval that is to become narrow enough.
        level: Its confidence for "different"; equivalence takes ``1 - 2 alpha``.
    """

    total: int | None
    more: int | None
    settles: Literal["different", "equivalent"] | None
    reason: str
    over: Over
    level: float


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
    z = float(scipy.stats.norm.ppf(1 - alpha / 2)) * np.sqrt(discordance)
    z_power = float(scipy.stats.norm.ppf(power))
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
    parts = [(seed_sd**2 / seeds, seeds - 1.0), (example_variance or 0.0, np.inf)]
    over: Over = "seeds" if example_variance is None else "seeds and test examples"
    return _detectable(*satterthwaite(parts), alpha, power, "t", over)


def detectable_difference(difference: Difference, *, alpha: float = 0.05, power: float = 0.8) -> Detectable:
    """Return the smallest difference that a comparison like this one finds, whatever it did find.

    Args:
        difference: Only its standard error and degrees of freedom are used (bootstrap: normal).
        alpha: Level of the test.
        power: Chance of finding the difference.

    Raises:
        ValueError: A level is none.
    """
    df = np.inf if difference.degrees_of_freedom is None else difference.degrees_of_freedom
    method = difference.interval.method
    return _detectable(difference.standard_error, df, alpha, power, method, difference.over)


def seeds_to_settle(
    difference: Difference,
    *,
    margin: float | None = None,
    alpha: float = 0.05,
    comparisons: float = 1.0,
    cap: int = 100,
) -> SeedsToSettle | Refusal:
    """Say how many seeds would settle a comparison, if estimate and variances stay where they are.

    It is settled when the ``1 - alpha`` interval is narrow enough to exclude 0 (half-width below the
    estimate), or the ``1 - 2 alpha`` interval to lie inside the margin (half-width below the margin less
    the estimate). Seeds shrink ``seed_variance`` alone: what the test examples contribute stays, which is
    why no number of seeds may do. Planned so, the next study has an even chance, not a certainty.

    Args:
        difference: From :func:`~tunebench.stats.paired.seed_difference` or
            :func:`~tunebench.stats.paired.crossed_difference`.
        margin: Differences smaller than this do not matter; None leaves equivalence out.
        alpha: Level of the tests.
        comparisons: What the p value of no difference is multiplied by, as one of several: the interval that
            must exclude 0 is that of ``1 - alpha / comparisons``.
        cap: More seeds than this are not proposed.

    Returns:
        The number, or a refusal for a difference whose interval does not hold seeds.

    Raises:
        ValueError: The margin is not positive, a level is none, or ``comparisons`` is below 1.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if not comparisons >= 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    check_level(alpha, name="alpha")
    two_sided = alpha / comparisons
    seeds, over = difference.interval.n_seeds, difference.over
    if difference.seed_variance is None or difference.seed_df is None or seeds is None:
        return Refusal("this difference does not say how seeds vary: compare by a t test over seeds first")
    size = abs(difference.estimate)
    seed_variance, seed_df = difference.seed_variance, difference.seed_df
    shared = difference.example_variance or 0.0
    rest = max((difference.interval.n_examples or 0) - 1, 1)

    def settled(total: float) -> Literal["different", "equivalent"] | None:
        growth = (total - 1) / (seeds - 1)
        error, df = satterthwaite([(seed_variance * seeds / total, seed_df * growth), (shared, rest)])
        if error * float(scipy.stats.t.ppf(1 - two_sided / 2, df)) < size:
            return "different"
        if margin is not None and error * float(scipy.stats.t.ppf(1 - alpha, df)) < margin - size:
            return "equivalent"
        return None

    for total in range(seeds, max(cap, seeds) + 1):
        outcome = settled(total)
        if outcome:
            more = total - seeds
            seeds_more = f"{more} more seed" if more == 1 else f"{more} more seeds"
            reason = "it is settled as it is" if not more else f"{seeds_more}: an even chance to show it {outcome}"
            return SeedsToSettle(total, more, outcome, reason, over, 1 - two_sided)
    if shared and settled(1e12) is None:
        left = np.sqrt(shared) * float(scipy.stats.norm.ppf(1 - two_sided / 2))
        reason = f"no number of seeds would: the test examples alone leave +-{left:.4f}"
    else:
        reason = f"it would take more than {cap} seeds"
    return SeedsToSettle(None, None, None, reason, over, 1 - two_sided)


def _detectable(error: float, df: float, alpha: float, power: float, method: str, over: Over) -> Detectable:
    check_level(alpha, name="alpha")
    if not alpha < power < 1:
        raise ValueError(f"power must lie between alpha and 1, got {power}")
    bound = float(scipy.stats.t.ppf(1 - alpha / 2, df))
    # Power of a t test is that of a normal one, averaged over the standard deviation that a study happens
    # to see. (SciPy's noncentral t is NaN in the far tail that 2 or 3 seeds need.)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    seen = np.ones(200) if np.isinf(df) else np.sqrt(scipy.stats.chi2.ppf((nodes + 1) / 2, df) / df)

    def reached(shift: float) -> float:
        found = scipy.stats.norm.sf(bound * seen - shift) + scipy.stats.norm.cdf(-bound * seen - shift)
        return float(weights @ found / 2)

    high = bound
    while reached(high) < power:
        high *= 2
    shift = float(scipy.optimize.brentq(lambda value: reached(value) - power, 0.0, high))
    return Detectable(shift * error, power, alpha, method, over)
