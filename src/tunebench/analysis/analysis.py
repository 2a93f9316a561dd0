"""What a comparison says: intervals, paired comparisons, variance, costs, curves, and what a recommendation needs.

Each module here computes one thing from a :class:`~tunebench.analysis.comparison.Comparison` with the functions of
:mod:`tunebench.stats`. Tables, figures and the report take an :class:`Analysis` and only show what stands in it,
so that one point has one interval wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.costs import Point, fronts, measure
from tunebench.analysis.curves import Curve, crossings, curves
from tunebench.analysis.evidence import Entry, collect, interval_of, only_predicted, undefined
from tunebench.analysis.pairs import Pair, compare_pairs, difference_of
from tunebench.analysis.quality import Agreement, agreement, calibrations
from tunebench.analysis.undertraining import Undertrained, sentences, undertrained
from tunebench.analysis.variance import shares_of
from tunebench.analysis.warnings import warnings_of
from tunebench.analysis.wording import show_difference
from tunebench.formatting import counted
from tunebench.stats import Calibration, Crossing, Interval, Refusal, VarianceShares

#: Pairs that a sentence names one by one.
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Analysis:
    """All that tables, figures, report and recommendation need of a comparison.

    A value: it never changes. Its parts are computed when first asked for, and then kept.

    Attributes:
        comparison: The cells.
    """

    comparison: Comparison

    @cached_property
    def entries(self) -> list[Entry]:
        """Selected runs with predictions, by strategy and size."""
        return collect(self.comparison)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Strategies two by two."""
        return compare_pairs(self.comparison, self.entries)

    @cached_property
    def curves(self) -> list[Curve]:
        """A learning curve per strategy."""
        return curves(self.comparison)

    @cached_property
    def crossings(self) -> list[tuple[str, str, Crossing | Refusal]]:
        """Where fitted curves cross."""
        return crossings(self.curves)

    @cached_property
    def fronts(self) -> dict[tuple[int, str], list[Point]]:
        """Points of every training size and kind of cost, those on the size's front marked."""
        return {
            (size, kind): points for size in self.comparison.sizes for kind, points in fronts(self.at(size)).items()
        }

    @cached_property
    def agreements(self) -> list[Agreement]:
        """How strategies share their errors, by size."""
        found = (agreement(self.at(size)) for size in self.comparison.sizes)
        return [one for one in found if one is not None]

    @cached_property
    def variances(self) -> list[tuple[Entry, VarianceShares]]:
        """Where the variance of each entry's score comes from."""
        return [(entry, shares_of(entry)) for entry in self.entries]

    @cached_property
    def calibrations(self) -> list[tuple[Entry, list[Calibration]]]:
        """The calibration of each entry's runs, one a seed."""
        return [(entry, found) for entry in self.entries if (found := calibrations(entry))]

    @cached_property
    def undertrained(self) -> list[Undertrained]:
        """Strategies that were trained too little to speak for themselves, by strategy and size."""
        metric = self.comparison.measure
        return undertrained(self.entries, difference_of, lambda found: show_difference(found.interval, metric))

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader must know before believing a table, one sentence each."""
        found = [*self._undefined(), *self._noise()]
        return [*sentences(self.undertrained), *warnings_of(self.comparison, found), *self.comparison.notes]

    def at(self, size: int) -> list[Entry]:
        """Return the entries of one training size."""
        return [entry for entry in self.entries if entry.train_size == size]

    def entry(self, config: Configuration) -> Entry | None:
        """Return the entry of a configuration; None where it was not selected or has no predictions."""
        return next((entry for entry in self.entries if entry.config is config), None)

    def interval(self, config: Configuration, column: str) -> Interval | None:
        """Return the mean of a score with its 95 % interval, the same for every table, chart and sentence.

        Args:
            config: Runs that differ in their seed alone.
            column: A column of the rows.

        Returns:
            The interval of the entry, over seeds and test examples. Where the configuration has no entry, or the
            score cannot be computed from predicted classes, the t interval over seeds; None with one seed.
        """
        return interval_of(config, self.entry(config), column)

    def points(self, configs: tuple[Configuration, ...], kind: str) -> list[Point]:
        """Place configurations of any size on one plane of score and cost, and find their common front."""
        return measure([(config, self.entry(config)) for config in configs], kind, self.comparison.measure)

    def _undefined(self) -> list[str]:
        """Name the runs for which the metric is not defined."""
        cells, metric = undefined(self.comparison), self.comparison.measure
        bare = [] if metric.needs == "labels" else [cell for cell in cells if only_predicted(cell)]
        lines = []
        if bare:
            labels = list(dict.fromkeys(cell.spec.label for cell in bare))
            lines.append(
                f"{metric.heading} needs probabilities, which are not known of {_some(labels)}. What has none is "
                "left out of all comparisons."
            )
        cells = [cell for cell in cells if cell not in bare]
        if not cells:
            return lines
        names = list(dict.fromkeys(f"{cell.spec.label} at {cell.spec.train_size:,}" for cell in cells))
        return [
            *lines,
            f"{metric.heading} is not defined for {counted(len(cells), 'run')} ({_some(names)}): "
            f"{metric.undefined}. They are left out of all comparisons.",
        ]

    def _noise(self) -> list[str]:
        """Name the differences that are neither shown nor ruled out."""
        inside = [pair for pair in self.pairs if pair.inside_noise]
        if not inside:
            return []
        names = [f"{p.first.label} and {p.second.label} at {p.first.train_size:,}" for p in inside]
        margin = self.comparison.measure.show_margin(self.comparison.margin)
        return [f"Too close to call, neither different nor equal within {margin}: {_some(names, '; ')}."]


def _some(names: list[str], between: str = ", ") -> str:
    """Return names in a sentence, so many that it can be read."""
    return between.join(
        names if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    )


def analyse(comparison: Comparison) -> Analysis:
    """Return the analysis of a comparison."""
    return Analysis(comparison)
