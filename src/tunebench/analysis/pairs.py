"""Strategies two by two at each size: difference, corrected p, equivalence, and what would settle it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import POINTS, SEED, Entry
from tunebench.stats import (
    Detectable,
    Difference,
    Equivalence,
    McNemar,
    Refusal,
    SeedsToSettle,
    crossed_difference,
    detectable_difference,
    equivalence,
    example_difference,
    holm,
    mcnemar,
    seeds_to_settle,
)

#: Resamples of a difference: so many that a p value multiplied for a hundred comparisons can still be small.
_RESAMPLES = 19_999
#: Up to so many strategies all pairs are compared; beyond, each with the best one.
ALL_PAIRS = 5


@dataclass(frozen=True)
class Pair:
    """Two strategies at one size; differences are the first minus the second, in shares.

    Attributes:
        difference: Of the metric, over seeds and test examples where both have two seeds or more.
        p_holm: Two-sided p of no difference, corrected for all pairs of the comparison.
        verdict: Equivalence within the study's margin, with the corrected p as "different".
        detectable: The smallest difference a comparison like this one, and no other beside it, would have
            found (power 0.8).
        more_seeds: What more seeds would do; a refusal where seeds say nothing.
        same_examples: McNemar's test of the accuracies; only of labels and with one seed each, where it is exact.
    """

    first: Entry
    second: Entry
    difference: Difference
    p_holm: float
    verdict: Equivalence
    detectable: Detectable
    more_seeds: SeedsToSettle | Refusal
    same_examples: McNemar | None

    @property
    def inside_noise(self) -> bool:
        """Whether neither a difference nor equivalence could be shown."""
        return self.verdict.verdict == "inconclusive"


def compare_pairs(comparison: Comparison, entries: Sequence[Entry]) -> list[Pair]:
    """Compare strategies two by two at each size, with Holm's correction over all of them.

    Args:
        comparison: Gives margin and, if declared, the pairs.
        entries: From :func:`~tunebench.analysis.evidence.collect`.
    """
    chosen = [pair for size in comparison.sizes for pair in _at_size(comparison, entries, size)]
    differences = [difference_of(first, second) for first, second in chosen]
    corrected = holm([difference.p_value for difference in differences]).p_values
    margin = comparison.margin / POINTS
    return [
        Pair(
            first,
            second,
            difference,
            p,
            equivalence(difference, margin=margin, p_value=p),
            detectable_difference(difference),
            seeds_to_settle(
                difference,
                margin=margin,
                comparisons=times_corrected(difference.p_value, p, comparisons=len(chosen)),
            ),
            _mcnemar(first, second),
        )
        for (first, second), difference, p in zip(chosen, differences, corrected, strict=True)
    ]


def difference_of(first: Entry, second: Entry) -> Difference:
    """Return the difference of the metric, over as many sources of variation as the runs can carry.

    Where both have at least two seeds in common they are paired by seed; where they have seeds but not
    the same, they are not; with a single seed only test examples are left, and the result says so.
    """
    shared = tuple(seed for seed in first.seeds if seed in second.seeds)
    if len(shared) > 1:
        found = crossed_difference(
            first.labels,
            first.of_seeds(shared),
            second.of_seeds(shared),
            classes=first.classes,
            metric=first.metric,
        )
    else:
        found = crossed_difference(
            first.labels,
            first.values,
            second.values,
            classes=first.classes,
            pairing="different seeds",
            metric=first.metric,
        )
    if not isinstance(found, Refusal):
        return found
    rng = np.random.default_rng(SEED)
    return example_difference(
        first.labels,
        first.values,
        second.values,
        classes=first.classes,
        rng=rng,
        metric=first.metric,
        resamples=_RESAMPLES,
    )


def times_corrected(p_value: float, corrected: float, *, comparisons: int) -> float:
    """Return what a p value was multiplied by for the number of comparisons; that number where it came to 1."""
    # At least 1: the two may come of one difference taken both ways round, and differ by rounding.
    return max(1.0, corrected / p_value) if p_value > 0 and corrected < 1 else float(comparisons)


def _at_size(comparison: Comparison, entries: Sequence[Entry], size: int) -> Iterator[tuple[Entry, Entry]]:
    here = {entry.label: entry for entry in entries if entry.train_size == size}
    if comparison.pairs is not None:
        yield from ((here[a], here[b]) for a, b in comparison.pairs if a in here and b in here)
    elif len(here) <= ALL_PAIRS:
        yield from combinations(here.values(), 2)
    else:
        best = max(here.values(), key=_merit)
        yield from ((best, other) for other in here.values() if other is not best)


def _merit(entry: Entry) -> float:
    """Rank strategies where not all pairs are compared: by the selection split if there is one."""
    scores = list(entry.config.selection_scores().values())
    known = float(np.mean(scores)) if scores and entry.selected_by_metric else entry.interval().estimate
    return entry.metric.merit(known)


def _mcnemar(first: Entry, second: Entry) -> McNemar | None:
    if len(first.seeds) > 1 or len(second.seeds) > 1 or not first.task.labelled:
        return None
    right = first.metric.outputs.right
    hits = [right(entry.labels, entry.predictions[0]) for entry in (first, second)]
    return mcnemar(np.ones_like(hits[0]), *hits)


def pairs_of_best(differences: dict[str, Difference]) -> int:
    """Return how many pairs the best and the others make."""
    return len(differences) * (len(differences) + 1) // 2
