"""Tables of how sure scores and differences are: intervals, strategies two by two, fronts of score and cost."""

from __future__ import annotations

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.costs import COSTS, cost_interval, cost_of, kinds_of, units_of
from tunebench.analysis.wording import show_plan
from tunebench.formatting import fixed, p_value
from tunebench.report.tables.predicted import key_of, with_predictions
from tunebench.report.tables.registry import (
    BY_SEED,
    RATE,
    SIZE,
    STRATEGY,
    N,
    difference_column,
    register,
    score_columns,
)
from tunebench.report.tables.remarks import counted_pairs, moderation_notes, seed_notes, winner_notes
from tunebench.report.tables.render import Column, ReportTable
from tunebench.stats import Refusal


@register("intervals")
def intervals(analysis: Analysis) -> ReportTable:
    """Return the study's metric, and those beside it, with 95 % intervals, and what these hold."""
    scores = score_columns(analysis.comparison)
    columns = (
        STRATEGY,
        SIZE,
        RATE,
        *([BY_SEED] if analysis.comparison.chosen_by_seed else []),
        *scores,
        Column("over", "Interval holds", align="left"),
        N,
    )
    rows = []
    for entry in analysis.entries:
        found = {column.key: entry.interval(analysis.comparison.task.metrics[column.key]) for column in scores}
        rows.append(key_of(entry) | found | {"over": entry.interval().over})
    drawn = any(entry.redrawn for entry in analysis.entries)
    held = (
        "over seeds they hold the draw of the training subset too"
        if drawn
        else "none holds the draw of the training subset"
    )
    note = f"95 % intervals. What they hold is said in the row; {held}."
    notes = [note, *winner_notes(analysis), *moderation_notes(analysis)]
    return with_predictions("intervals", "Scores with their intervals", analysis, columns, rows, *notes)


@register("pairs")
def pairs(analysis: Analysis) -> ReportTable:
    """Return strategies two by two at each size: difference, corrected p, equivalence, what would settle it."""
    comparison = analysis.comparison
    metric = comparison.measure
    margin, level = metric.show_margin(comparison.margin), f"{100 * comparison.alpha:g} %"
    columns = (
        SIZE,
        Column("first", "First", align="left"),
        Column("second", "Second", align="left"),
        difference_column(metric, "difference", "First minus second"),
        Column("p_holm", "p, Holm", show=p_value),
        Column("verdict", f"Within {margin}", align="left"),
        Column("tost_p", "p of equivalence", show=p_value),
        Column("within", "Chance to be within", show=_chance),
        difference_column(metric, "detectable", "Detectable", sign=False),
        Column("new_study", "A new study needs", align="left"),
        Column("over", "Interval holds", align="left"),
        Column("mcnemar_p", "McNemar, exact p", show=p_value),
    )
    rows = [
        {
            "train_size": pair.first.train_size,
            "first": pair.first.label,
            "second": pair.second.label,
            "difference": pair.difference.interval,
            "p_holm": pair.p_holm,
            "verdict": pair.verdict.verdict,
            "tost_p": pair.verdict.tost_p,
            "within": pair.verdict.within,
            "detectable": None if isinstance(pair.detectable, Refusal) else pair.detectable.difference,
            "new_study": show_plan(pair.new_study, metric),
            "over": pair.difference.over,
            "mcnemar_p": None if pair.same_examples is None else pair.same_examples.exact_p,
        }
        for pair in analysis.pairs
    ]
    tested = any(row["mcnemar_p"] is not None for row in rows)
    undetectable = any(row["detectable"] is None for row in rows)
    kept = tuple(column for column in columns if column.key != "mcnemar_p" or tested)
    return with_predictions(
        "pairs",
        f"Differences of {metric.label} on the same test examples",
        analysis,
        kept,
        rows,
        f"95 % intervals, each by itself; p values corrected by Holm over {counted_pairs(analysis, metric)}. "
        f"Equivalent: two one-sided tests at {level}, corrected for as many (Bonferroni), rule out a difference of "
        f"{margin}. No significant difference is not equality.",
        f"Chance to be within {margin}: of one pair by itself, if all differences were equally likely before the "
        "study.",
        f"Detectable: the true difference that such a comparison, alone, finds with a power of 80 % at {level}"
        + ("; –: it would find none that is possible." if undetectable else "."),
        *(["McNemar's exact p is of the accuracies of one pair by itself, not corrected."] if tested else []),
        *seed_notes(analysis),
    )


def _chance(value: float) -> str:
    """Return a probability in percent; one that is nearly sure is not said to be."""
    return "> 99%" if value > 0.99 else "< 1%" if value < 0.01 else f"{value:.0%}"


@register("front")
def front(analysis: Analysis) -> ReportTable:
    """Return the score beside every cost, and on which fronts of score and cost each strategy lies."""
    metric = analysis.comparison.measure
    columns = (
        STRATEGY,
        SIZE,
        Column("score", metric.heading, metric.unit, show=fixed(4)),
        *(
            Column(kind, cost.label, units=units_of(kind, analysis.comparison))
            for kind, cost in kinds_of(analysis.comparison).items()
        ),
        Column("fronts", "On the front of", align="left"),
    )
    rows = []
    for entry in analysis.entries:
        points = {
            kind: point
            for (size, kind), found in analysis.fronts.items()
            if size == entry.train_size
            for point in found
            if point.entry is entry
        }
        named = [
            f"{COSTS[kind].label.lower()} ({point.share:.0%})" for kind, point in points.items() if point.on_front
        ]
        costs = {kind: cost_interval(entry, kind, analysis.entries) or cost_of(entry, kind) for kind in COSTS}
        rows.append(key_of(entry) | costs | {"score": entry.interval(), "fronts": "; ".join(named) or None})
    return with_predictions(
        "front",
        f"{metric.heading} against cost",
        analysis,
        columns,
        rows,
        "On a front: nothing at this size scores as well for less. In brackets: in how many resamples of test "
        "examples, of seeds where there are several, and of what runs take, that holds.",
        "Times and memory have a 95 % interval where runs were repeated. Times of runs that shared the machine are "
        "left out where others did not.",
    )
