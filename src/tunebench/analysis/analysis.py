"""What a comparison says: intervals, paired comparisons, variance, costs, curves, and a recommendation.

Each module here computes one thing from a :class:`~tunebench.analysis.comparison.Comparison` with the functions of
:mod:`tunebench.stats`; tables, figures and the report only show what stands here.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from tunebench.analysis.cautions import cautions
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.costs import COSTS, Point, front
from tunebench.analysis.curves import Curve, crossings, curves
from tunebench.analysis.evidence import Entry, collect
from tunebench.analysis.pairs import Pair, compare_pairs
from tunebench.analysis.quality import Agreement, agreement
from tunebench.stats import Crossing, Refusal

#: Pairs that a sentence names one by one.
_NAMED = 5


class Analysis:
    """All analyses of a comparison, computed when first asked for.

    Args:
        comparison: The cells.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

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
        """Points of every training size and kind of cost."""
        return {
            (size, kind): front(self.at(size), kind)
            for size in self.comparison.sizes
            for kind in COSTS
            if self.at(size)
        }

    @cached_property
    def agreements(self) -> list[Agreement]:
        """How strategies share their errors, by size."""
        found = (agreement(self.at(size)) for size in self.comparison.sizes)
        return [one for one in found if one is not None]

    def at(self, size: int) -> list[Entry]:
        """Return the entries of one training size."""
        return [entry for entry in self.entries if entry.train_size == size]


@lru_cache(maxsize=4)
def analyse(comparison: Comparison) -> Analysis:
    """Return the analyses of a comparison; those of the last few comparisons are kept."""
    return Analysis(comparison)


def warnings_of(comparison: Comparison) -> list[str]:
    """Return what a reader must know before believing a table, one sentence each."""
    return [*cautions(comparison, _noise(comparison)), *comparison.notes]


def _noise(comparison: Comparison) -> list[str]:
    """Name the differences that are neither shown nor ruled out."""
    inside = [pair for pair in analyse(comparison).pairs if pair.inside_noise]
    if not inside:
        return []
    names = [f"{p.first.label} and {p.second.label} at {p.first.train_size:,}" for p in inside]
    shown = names if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    return [
        f"Inside the noise, neither different nor equal within {comparison.margin:g} points: {'; '.join(shown)}."
    ]
