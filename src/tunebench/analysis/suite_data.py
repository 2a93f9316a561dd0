"""The data sets of a suite, and how two strategies compare on one of them and over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.evidence import POINTS, Entry
from tunebench.analysis.pairs import difference_of, pairs_at_all_sizes
from tunebench.analysis.recommend import Recommendation, recommended
from tunebench.stats import (
    Difference,
    Equivalence,
    MetaMean,
    Refusal,
    equivalence,
)
from tunebench.tasks.metric import Metric

#: How the first of two strategies stands on a data set, tested there and corrected for all its pairs.
Standing = Literal["better", "equal", "worse", "open"]
STANDINGS: tuple[Standing, ...] = ("better", "equal", "worse", "open")


@dataclass(frozen=True)
class DataSet:
    """A data set of a suite.

    Attributes:
        name: Its name.
        sizes: Labels that each stated training size comes to.
        left_out: Why a stated training size is left out.
        analysis: Of its study; None where it has none that can be read.
        why: Why it has none, or what kept it from ending.
    """

    name: str
    sizes: Mapping[str, int]
    left_out: Mapping[str, str]
    analysis: Analysis | None
    why: str | None = None

    def at(self, size: str) -> dict[str, Entry]:
        """Return the entries of a stated size by strategy; empty where there are none."""
        if self.analysis is None or size not in self.sizes:
            return {}
        return {entry.label: entry for entry in self.analysis.at(self.sizes[size])}

    @cached_property
    def answer(self) -> Recommendation | str:
        """What its own study recommends, or why it recommends nothing."""
        return self.why or "there is no study" if self.analysis is None else recommended(self.analysis)


@dataclass(frozen=True)
class OnDataSet:
    """Two strategies on one data set.

    Attributes:
        difference: The first minus the second.
        standing: Of the first, as the data set's own report has it.
    """

    data_set: DataSet
    difference: Difference
    standing: Standing


@dataclass(frozen=True)
class PairOverData:
    """Two strategies at a stated size on all data sets that have both; differences are the first minus the second.

    Attributes:
        on: One a data set.
        mean: Over data sets; a refusal for one data set.
        test: Of the mean, against no difference and against the margin, corrected for all pairs of the size; None
            without a mean.
    """

    first: str
    second: str
    on: tuple[OnDataSet, ...]
    mean: MetaMean | Refusal
    test: Equivalence | None

    @property
    def counts(self) -> dict[Standing, int]:
        """On how many data sets the first is better, equal within the margin, worse, or too close to call."""
        return {standing: sum(one.standing == standing for one in self.on) for standing in STANDINGS}


def on_data_set(one: DataSet, first: Entry, second: Entry, *, margin: float, metric: Metric) -> OnDataSet:
    """Return how two strategies compare on a data set.

    The first stands as in the data set's own table of pairs, where that has the two.

    Args:
        one: The data set; it has an analysis.
        first: A strategy there.
        second: Another one at the same size.
        margin: Points within which two strategies are equal.
        metric: What is compared.
    """
    assert one.analysis is not None
    difference = difference_of(first, second)
    table = [pair for pair in one.analysis.pairs if pair.first.train_size == first.train_size]
    wanted = {first.label, second.label}
    known = next((pair for pair in table if {pair.first.label, pair.second.label} == wanted), None)
    number = pairs_at_all_sizes(one.analysis.entries)
    p = min(1.0, difference.p_value * number) if known is None else known.p_holm
    comparisons = number if known is None else known.verdict.comparisons
    alpha = one.analysis.comparison.alpha
    test = equivalence(difference, margin=margin / POINTS, alpha=alpha, p_value=p, comparisons=comparisons)
    standing: Standing = "open"
    if test.equivalent:
        standing = "equal"
    elif test.different:
        standing = "better" if metric.merit(difference.estimate) > 0 else "worse"
    return OnDataSet(one, difference, standing)
