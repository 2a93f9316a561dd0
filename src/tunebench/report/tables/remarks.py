"""Notes under the tables of statistics: what their intervals and p values hold, and what they do not."""

from __future__ import annotations

from tunebench.analysis.analysis import Analysis
from tunebench.tasks.metric import Metric

MODERATED = "Variances between seeds are moderated by those of {} configurations (empirical Bayes)."
#: What the interval of a number of labels holds.
CURVE_HOLDS = (
    "The interval holds seeds. It does not hold other test texts, nor that the true curve may not be a power law: "
    "for another test part, the labels needed lie outside it more often than one time in twenty."
)


def winner_notes(analysis: Analysis) -> list[str]:
    """Warn of reading the interval of the best score as if it had not been picked."""
    most = max((len(analysis.at(size)) for size in analysis.comparison.sizes), default=0)
    if most < 2:
        return []
    return [
        f"Each interval is by itself. The highest of {most} scores was picked because it is high, and its interval "
        "covers less than 95 %; the recommendation's intervals hold for all together."
    ]


def moderation_notes(analysis: Analysis) -> list[str]:
    """Say that variances between seeds are moderated, where they are."""
    counts = {e.peers.count(e.metric) for e in analysis.entries if e.peers is not None} - {0}
    if not counts:
        return []
    number = " or ".join(map(str, sorted(counts)))
    return [MODERATED.format(number)]


def counted_pairs(analysis: Analysis, metric: Metric) -> str:
    """Say how many comparisons the p values are corrected for."""
    counted = analysis.pairs[0].verdict.comparisons if analysis.pairs else 0
    if counted == len(analysis.pairs):
        return "this table"
    return f"all {counted} pairs, since the reference is the best {metric.label} on test"


def seed_notes(analysis: Analysis) -> list[str]:
    """Say where the variance between seeds was taken from, and what is missing where it was not."""
    moderated = [p.difference.moderated for p in analysis.pairs if p.difference.moderated]
    by_runs = sum(pair.difference.over == "test examples" for pair in analysis.pairs)
    alone = [p for p in analysis.pairs if p.difference.over != "test examples" and not p.difference.moderated]
    shared = sum(any(entry.takes_fast_draws for entry in (pair.first, pair.second)) for pair in alone)
    lines = []
    if moderated:
        lines.append(MODERATED.format(" or ".join(map(str, sorted(set(moderated))))))
    if shared:
        lines.append(
            "The variance between seeds is a pair's own where a strategy takes the fast engine's randomness: with "
            "2 or 3 seeds the test is conservative."
        )
    if len(alone) > shared:
        lines.append(
            "The variance between seeds is a pair's own, as fewer than three configurations share its seeds: with "
            "2 or 3 seeds the test is conservative."
        )
    if by_runs:
        lines.append(
            "Over test examples alone (one seed): the verdict is of these runs. Whether another seed of the same "
            "strategies would give it, too, is not known."
        )
    return lines
