"""What a look at a study decides: whether it may end, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.recommend import recommend
from tunebench.analysis.wording import said_of, show_test
from tunebench.stats import Equivalence


@dataclass(frozen=True)
class Outcome:
    """What a look found.

    Attributes:
        decided: Whether every comparison has an answer.
        said: Each comparison with its answer, in a sentence.
    """

    decided: bool
    said: tuple[str, ...]


def outcome_of(analysis: Analysis) -> Outcome:
    """Decide a study as its recommendation does.

    Where the study declares pairs, these are decided; else every strategy against the best, at every size. A
    comparison is decided if it shows a difference, or equality within the margin.
    """
    metric, tests = analysis.comparison.measure, list(_tests(analysis))
    within = metric.show_margin(analysis.comparison.margin)
    said = tuple(
        f"{first} minus {second} at {size:,} labels: {show_test(test, metric)}; {said_of(test, within)}"
        for size, first, second, test in tests
    )
    return Outcome(bool(tests) and all(test.verdict != "inconclusive" for *_, test in tests), said)


def _tests(analysis: Analysis) -> Iterator[tuple[int, str, str, Equivalence]]:
    """Yield size and names of both with their test."""
    if analysis.comparison.pairs is not None:
        for pair in analysis.pairs:
            yield pair.first.train_size, pair.first.label, pair.second.label, pair.verdict
        return
    for size in analysis.comparison.sizes:
        if len(analysis.at(size)) < 2:
            continue
        best, *others = recommend(analysis, size=size).alternatives
        for other in others:
            assert other.difference is not None
            yield size, other.label, best.label, other.difference
