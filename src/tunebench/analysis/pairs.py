"""Strategies two by two at each size: difference, corrected p, equivalence, and what would settle it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import POINTS, Entry
from tunebench.stats import (
    Detectable,
    Difference,
    Equivalence,
    McNemar,
    Refusal,
    SeedsNeeded,
    at_look,
    crossed_difference,
    delta_difference,
    detectable_difference,
    equivalence,
    holm,
    mcnemar,
    seeds_needed,
)

#: Up to so many strategies all pairs are compared; beyond, each with the best one.
ALL_PAIRS = 5


@dataclass(frozen=True)
class Pair:
    """Two strategies at one size; differences are the first minus the second, in shares.

    Attributes:
        difference: Of the metric, over seeds and test examples where both have two seeds or more.
        p_holm: Two-sided p of no difference, corrected for all pairs of the comparison. Where a strategy has one
            seed, it speaks of these runs on other test texts, and so does the verdict.
        verdict: Equivalence within the study's margin, both it and "different" corrected for all pairs.
        detectable: The smallest difference a comparison like this one, and no other beside it, would have
            found (power 0.8).
        new_study: Seeds or test texts that a new comparison of the two needs; a refusal where it is not known how
            seeds vary.
        same_examples: McNemar's test of the accuracies; only of labels and with one seed each, where it is exact.
    """

    first: Entry
    second: Entry
    difference: Difference
    p_holm: float
    verdict: Equivalence
    detectable: Detectable | Refusal
    new_study: SeedsNeeded | Refusal
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
    found = [_at_size(comparison, entries, size) for size in comparison.sizes]
    chosen = [pair for pairs, _ in found for pair in pairs]
    comparisons = sum(number for _, number in found)
    differences = [difference_of(first, second) for first, second in chosen]
    p_values = [difference.p_value for difference in differences]
    corrected = holm(p_values, comparisons=comparisons).p_values
    margin, alpha = comparison.margin / POINTS, comparison.alpha
    return [
        Pair(
            first,
            second,
            difference,
            p,
            equivalence(difference, margin=margin, alpha=alpha, p_value=p, comparisons=comparisons),
            detectable_difference(difference, alpha=alpha),
            seeds_needed(difference, margin=margin, alpha=alpha),
            _mcnemar(first, second),
        )
        for (first, second), difference, p in zip(chosen, differences, corrected, strict=True)
    ]


def difference_of(first: Entry, second: Entry) -> Difference:
    """Return the difference of the metric, over as many sources of variation as the runs can carry.

    Where both have at least two seeds in common they are paired by seed; where they have seeds but not
    the same, they are not; with a single seed only test examples are left, and the result says so. Where three
    configurations or more have the same seeds, the variance between seeds is moderated by all of them. Where the
    study is read more than once, interval and p value are of the whole design.
    """
    shared = tuple(seed for seed in first.seeds if seed in second.seeds)
    if len(shared) > 1:
        peers = first.peers if first.seeds == second.seeds else None
        between = None if peers is None else peers.of_difference(first.label, second.label, first.metric)
        found = crossed_difference(
            first.labels,
            first.of_seeds(shared),
            second.of_seeds(shared),
            classes=first.classes,
            metric=first.metric,
            between=between,
            moderated=0 if between is None or peers is None else peers.count(first.metric),
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
        return at_look(found, first.look(found.interval.n_seeds or 0, second))
    over_texts = delta_difference(
        first.labels, first.values, second.values, classes=first.classes, metric=first.metric
    )
    return at_look(over_texts, first.look(0, second))


def _at_size(comparison: Comparison, entries: Sequence[Entry], size: int) -> tuple[list[tuple[Entry, Entry]], int]:
    """Return the pairs of a size, and how many comparisons they are to be corrected for.

    Where each is compared with the best on the selection split, the test part had no say in which pairs these are.
    Where the best on test is taken, any pair might have been picked, and all count.
    """
    here = {entry.label: entry for entry in entries if entry.train_size == size}
    if comparison.pairs is not None:
        pairs = [(here[a], here[b]) for a, b in comparison.pairs if a in here and b in here]
        return pairs, len(pairs)
    if len(here) <= ALL_PAIRS:
        pairs = list(combinations(here.values(), 2))
        return pairs, len(pairs)
    nominated = best_on_selection(list(here.values()))
    best = nominated or max(here.values(), key=lambda entry: entry.metric.merit(entry.interval().estimate))
    pairs = [(best, other) for other in here.values() if other is not best]
    return pairs, len(pairs) if nominated else all_pairs(len(here))


def best_on_selection(entries: Sequence[Entry]) -> Entry | None:
    """Return the strategy that is best on the selection split, of those with a score there; None without any."""
    known = [(merit, entry) for entry in entries if (merit := _selection_merit(entry)) is not None]
    return max(known, key=lambda one: one[0])[1] if known else None


def _selection_merit(entry: Entry) -> float | None:
    """Rank a strategy by the selection split; None where that split gave no score, or is the test part."""
    cells = entry.config.cells
    scores = list(entry.config.selection_scores().values())
    apart = all(cell.spec.selection == "validation" for cell in cells)
    return entry.metric.merit(float(np.mean(scores))) if scores and entry.selected_by_metric and apart else None


def _mcnemar(first: Entry, second: Entry) -> McNemar | None:
    if len(first.seeds) > 1 or len(second.seeds) > 1 or not first.task.labelled:
        return None
    right = first.metric.outputs.right
    hits = [right(entry.labels, entry.predictions[0]) for entry in (first, second)]
    return mcnemar(np.ones_like(hits[0]), *hits)


def all_pairs(strategies: int) -> int:
    """Return how many pairs so many strategies make."""
    return strategies * (strategies - 1) // 2


def pairs_at_all_sizes(entries: Sequence[Entry]) -> int:
    """Return how many pairs the strategies make, counted at each size."""
    return sum(map(all_pairs, Counter(entry.train_size for entry in entries).values()))
