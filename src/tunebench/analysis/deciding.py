"""The rule of the recommendation, apart from its words: which of several strategies, and what stands against it.

It takes scores, tests and costs, and nothing else, so that the study of its errors
(:mod:`tunebench.benchmarks.coverage`) runs the rule that reports use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunebench.stats import Equivalence

#: Returns those that cost least, of the ones given.
Cheapest = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Decision:
    """What the rule says.

    Attributes:
        best: What the others are compared with: the best score, see :func:`best_first`.
        chosen: What is recommended.
        tie: Equal to the best within the margin, the best among them, the best first.
        least: Those of the lowest cost that it was chosen from.
        open: Neither shown to differ from the best nor to equal it.
        cleared: Whether the chosen one is shown to be no worse than the best by more than the margin.
    """

    best: str
    chosen: str
    tie: tuple[str, ...]
    least: tuple[str, ...]
    open: tuple[str, ...]
    cleared: bool

    @property
    def settled(self) -> bool:
        """Whether the tests leave nothing open."""
        return self.cleared and not self.open


def best_first(
    by_mean: Sequence[str],
    against: Callable[[str], Mapping[str, Equivalence]],
    *,
    higher_is_better: bool = True,
) -> list[str]:
    """Put the strategy first that the others are compared with: the best mean, unless a test contradicts it.

    A mean and a test may weigh the runs differently: a test takes the seeds that two strategies share, and over
    data sets it goes by how well each is measured. Where it shows another strategy to be better than the best mean,
    that one takes its place. The others keep their order.

    Args:
        by_mean: All strategies, the best mean score first.
        against: Returns the tests of the others minus a strategy, by label.
        higher_is_better: Which sign of a difference is good.
    """
    best, passed = by_mean[0], set()
    while True:
        passed.add(best)
        ahead = {
            name: gain
            for name, test in against(best).items()
            if name in by_mean
            and name not in passed  # tests might go round in a circle
            and test.different
            and (gain := test.interval.estimate * (1 if higher_is_better else -1)) > 0
        }
        if not ahead:
            return [best, *(name for name in by_mean if name != best)]
        best = max(ahead, key=lambda name: ahead[name])


def decide(
    ranked: Sequence[str],
    tests: Mapping[str, Equivalence],
    cheapest: Cheapest,
    *,
    by_score: bool,
    higher_is_better: bool = True,
) -> Decision:
    """Choose a strategy.

    By score: the best; of those equal to it within the margin, the cheapest. By cost: the cheapest of all that are
    not shown to be worse by more than the margin. Of several that cost the same, the one that scores best.

    Args:
        ranked: All strategies, the best first, then by their scores; see :func:`best_first`.
        tests: The others minus the best; margin and correction stand in them.
        cheapest: Picks by cost.
        by_score: Whether the score goes before the cost.
        higher_is_better: Which sign of a difference is good.
    """
    best = ranked[0]

    def worst(test: Equivalence) -> float:
        return test.interval.low if higher_is_better else -test.interval.high

    def at_best(test: Equivalence) -> float:
        return test.interval.high if higher_is_better else -test.interval.low

    tie = tuple(name for name in ranked if name == best or tests[name].equivalent)
    good = tuple(name for name in ranked if name == best or at_best(tests[name]) >= -tests[name].margin)
    least = tuple(cheapest(tie if by_score else good))
    chosen = next(name for name in ranked if name in least)
    return Decision(
        best,
        chosen,
        tie,
        least,
        tuple(name for name in tests if tests[name].verdict == "inconclusive"),
        chosen == best or worst(tests[chosen]) > -tests[chosen].margin,
    )
