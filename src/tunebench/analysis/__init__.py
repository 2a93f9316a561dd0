"""What a comparison says: intervals, paired comparisons, variance, costs, curves, and a recommendation.

Each module computes one thing from a :class:`~tunebench.comparison.Comparison` with the functions of
:mod:`tunebench.stats`; tables, figures and the report only show what stands here.
"""

from __future__ import annotations

from functools import cached_property

from tunebench.analysis.costs import COSTS, Point, front
from tunebench.analysis.curves import Curve, crossings, curves
from tunebench.analysis.evidence import Entry, collect
from tunebench.analysis.pairs import Pair, compare_pairs
from tunebench.analysis.quality import Agreement, agreement
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.comparison import Comparison
from tunebench.errors import StoreError
from tunebench.stats import Crossing, Refusal

__all__ = ["Agreement", "Analysis", "Curve", "Entry", "Pair", "Point", "Recommendation"]


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

    @cached_property
    def recommendation(self) -> Recommendation | str:
        """What is recommended to who wants the best macro F1, or why nothing can be."""
        try:
            return recommend(self.comparison)
        except StoreError as error:
            return error.what

    def at(self, size: int) -> list[Entry]:
        """Return the entries of one training size."""
        return [entry for entry in self.entries if entry.train_size == size]
