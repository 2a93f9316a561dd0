"""What the studies of a suite say together: each data set counts once, however many test texts it has.

Everything here is computed from the :class:`~tunebench.analysis.analysis.Analysis` of each study, so that a data
set has the same scores, differences and standings here as in its own report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from tunebench.analysis.costs import cheapest, mean_costs
from tunebench.analysis.deciding import best_first
from tunebench.analysis.evidence import POINTS, Entry
from tunebench.analysis.pairs import ALL_PAIRS, all_pairs
from tunebench.analysis.suite_data import DataSet, OnDataSet, PairOverData, on_data_set
from tunebench.stats import (
    Equivalence,
    MeanRanks,
    MetaMean,
    Refusal,
    equivalence,
    holm,
    mean_ranks,
    random_effects,
)
from tunebench.tasks.metric import Metric


@dataclass(frozen=True, eq=False)
class AtSize:
    """All data sets at one stated training size.

    Attributes:
        size: As the suite states it: a number, or ``all``.
        data_sets: Those with scores at this size.
        metric: What is compared.
        margin: Points within which two strategies are equal.
        alpha: Level of the tests of means.
    """

    size: str
    data_sets: tuple[DataSet, ...]
    metric: Metric
    margin: float
    alpha: float = 0.05

    @cached_property
    def entries(self) -> dict[str, dict[str, Entry]]:
        """Entries by data set, then strategy."""
        return {one.name: one.at(self.size) for one in self.data_sets}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Strategies with a score on any data set."""
        return tuple(dict.fromkeys(label for found in self.entries.values() for label in found))

    @cached_property
    def everywhere(self) -> tuple[str, ...]:
        """Strategies with a score on all of the data sets, which alone are ranked."""
        return tuple(label for label in self.labels if all(label in found for found in self.entries.values()))

    @cached_property
    def merits(self) -> np.ndarray:
        """Scores for which more is better, shape ``(data sets, strategies everywhere)``."""
        rows = [
            [self.metric.merit(found[label].interval().estimate) for label in self.everywhere]
            for found in self.entries.values()
        ]
        return np.array(rows, dtype=np.float64).reshape(len(self.data_sets), len(self.everywhere))

    @cached_property
    def ranked(self) -> tuple[str, ...]:
        """The strategies that all data sets have: the best, then the others by their mean scores."""
        higher = self.metric.higher_is_better
        return tuple(best_first(self.by_mean, self.against, higher_is_better=higher)) if self.everywhere else ()

    @property
    def by_mean(self) -> list[str]:
        """The strategies that all data sets have, the best mean score first."""
        order = np.argsort(-self.merits.mean(0), kind="stable")
        return [self.everywhere[i] for i in order]

    @property
    def others(self) -> tuple[str, ...]:
        """All strategies but the best: those that all data sets have by their mean score, then the rest."""
        return (*self.ranked[1:], *(label for label in self.labels if label not in self.everywhere))

    @property
    def best(self) -> str | None:
        """The best mean score, unless a test shows another to be better; None where none is on all data sets."""
        return self.ranked[0] if self.everywhere else None

    @cached_property
    def ranks(self) -> MeanRanks | Refusal:
        """Mean ranks of the strategies that all data sets have."""
        if not self.everywhere:
            return Refusal("no strategy has scores on all data sets")
        return mean_ranks(self.merits, alpha=self.alpha)

    @cached_property
    def pairs(self) -> list[PairOverData]:
        """Strategies two by two."""
        found = [(pair, on) for pair in combinations(self.labels, 2) if (on := self._on(*pair))]
        means = [self._mean(on) for _, on in found]
        p_values = [mean.p_value for mean in means if isinstance(mean, MetaMean)]
        number = all_pairs(len(self.labels))
        corrected = iter(holm(p_values, comparisons=number).p_values)
        return [
            PairOverData(
                *pair, on, mean, None if isinstance(mean, Refusal) else self._test(mean, next(corrected), number)
            )
            for (pair, on), mean in zip(found, means, strict=True)
        ]

    def is_main(self, pair: PairOverData) -> bool:
        """Tell whether people read a pair: any; where strategies are many, each with the best one."""
        return len(self.labels) <= ALL_PAIRS or self.best is None or self.best in (pair.first, pair.second)

    def pair(self, first: str, second: str) -> PairOverData | None:
        """Return two strategies compared in this order; None where no data set has both."""
        for one in self.pairs:
            if (one.first, one.second) == (first, second):
                return one
            if (one.first, one.second) == (second, first):
                on = self._on(first, second)
                mean = self._mean(on)
                p = None if one.test is None else one.test.p_value
                number = all_pairs(len(self.labels))
                test = None if isinstance(mean, Refusal) or p is None else self._test(mean, p, number)
                return PairOverData(first, second, on, mean, test)
        return None

    @cached_property
    def tests(self) -> dict[str, Equivalence]:
        """The mean difference of each strategy from the best, where there is a mean."""
        tests = self.against(self.best) if self.best else {}
        return {label: tests[label] for label in self.others if label in tests}

    def against(self, best: str) -> dict[str, Equivalence]:
        """Return the tests of the mean differences of the others from a strategy, where there is a mean."""
        found = {label: self.pair(label, best) for label in self.labels if label != best}
        return {label: pair.test for label, pair in found.items() if pair is not None and pair.test is not None}

    def costs(self, kind: str) -> dict[str, float]:
        """Return the mean cost over data sets of each strategy that all have, where it is known on all."""
        return mean_costs(self.everywhere, kind, list(self.entries.values()))

    def cheapest(self, labels: Sequence[str], kind: str) -> list[str]:
        """Return those of the strategies that are not shown to cost more than the cheapest."""
        return cheapest(labels, kind, list(self.entries.values()))

    def _on(self, first: str, second: str) -> tuple[OnDataSet, ...]:
        found = []
        for one in self.data_sets:
            own = self.entries[one.name]
            if first in own and second in own:
                found.append(on_data_set(one, own[first], own[second], margin=self.margin, metric=self.metric))
        return tuple(found)

    def _mean(self, on: Sequence[OnDataSet]) -> MetaMean | Refusal:
        effects = np.array([one.difference.estimate for one in on])
        variances = np.array([one.difference.standard_error**2 for one in on])
        return random_effects(effects, variances, bounds=on[0].difference.bounds)

    def _test(self, mean: MetaMean, p_value: float, comparisons: int) -> Equivalence:
        margin = self.margin / POINTS
        return equivalence(
            mean.as_difference(), margin=margin, alpha=self.alpha, p_value=p_value, comparisons=comparisons
        )


@dataclass(frozen=True, eq=False)
class SuiteAnalysis:
    """All that the report, the tables and the recommendation of a suite need.

    Attributes:
        name: The suite's name.
        description: What the user says of it.
        data_sets: In the order of the suite.
        metric: What is compared.
        margin: Points within which two strategies are equal.
    """

    name: str
    description: str
    data_sets: tuple[DataSet, ...]
    metric: Metric
    margin: float

    @property
    def alpha(self) -> float:
        """Level of the tests of means: that of the data sets' studies."""
        return min((one.analysis.comparison.alpha for one in self.data_sets if one.analysis), default=0.05)

    @cached_property
    def labels(self) -> list[str]:
        """Strategies in the order of the studies."""
        found = (one.analysis.comparison.labels for one in self.data_sets if one.analysis is not None)
        return list(dict.fromkeys(label for labels in found for label in labels))

    @cached_property
    def sizes(self) -> list[str]:
        """Stated training sizes, ascending, ``all`` last."""
        found = {size for one in self.data_sets for size in (*one.sizes, *one.left_out)}
        return sorted(found, key=lambda size: (size == "all", 0 if size == "all" else int(size)))

    @cached_property
    def at(self) -> dict[str, AtSize]:
        """All data sets at each stated size at which one has scores."""
        found = {}
        for size in self.sizes:
            there = tuple(one for one in self.data_sets if one.at(size))
            if there:
                found[size] = AtSize(size, there, self.metric, self.margin, self.alpha)
        return found

    @property
    def deciding_size(self) -> str | None:
        """The stated size to decide at: the largest of those with the most data sets; None without any scores."""
        sizes = list(self.at)
        return max(sizes, key=lambda size: (len(self.at[size].data_sets), sizes.index(size)), default=None)

    @property
    def missing(self) -> tuple[DataSet, ...]:
        """Data sets without any score."""
        there = {one.name for at in self.at.values() for one in at.data_sets}
        return tuple(one for one in self.data_sets if one.name not in there)
