"""Tables of what the statistics say: intervals, pairs, fronts, curves, calibration, errors, variance, tuning."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import numpy as np

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Group, states
from tunebench.analysis.costs import COSTS, cost_interval, cost_of, kinds_of, unit_of
from tunebench.analysis.evidence import Entry
from tunebench.analysis.looks import added_seeds, look_notes, read_early
from tunebench.analysis.quality import calibrations, temperatures
from tunebench.analysis.warnings import OPTIMISTIC, test_access, unequal_rates
from tunebench.formatting import fixed, integer, learning_rate, p_value, signed, significant
from tunebench.report.tables.registry import (
    RATE,
    SELECTION,
    SETTING,
    SIZE,
    STRATEGY,
    N,
    of_labels,
    register,
    score_columns,
)
from tunebench.report.tables.remarks import CURVE_HOLDS, counted_pairs, moderation_notes, seed_notes, winner_notes
from tunebench.report.tables.render import Column, ReportTable
from tunebench.stats import LearningCurve, Refusal, Size

_NO_PREDICTIONS = "No selected run has stored test predictions, so there is nothing to compute this from."


def with_predictions(
    name: str,
    title: str,
    analysis: Analysis,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    *notes: str,
    without: str | None = None,
) -> ReportTable:
    """Finish a table of what stored predictions say; where there are none, it says so.

    Args:
        name: Of the table.
        title: Its title, without the study.
        analysis: Of the study.
        columns: Its columns.
        rows: Its rows.
        notes: What is said under it.
        without: What is said where there are predictions, and yet no rows.
    """
    comparison = analysis.comparison
    said = [OPTIMISTIC] if comparison.selection == "test" else []
    said += [*test_access(comparison), *added_seeds(comparison), *read_early(comparison), *look_notes(comparison)]
    missing = without if without is not None and analysis.entries else _NO_PREDICTIONS
    said += [*(notes if rows else (missing,)), *_absent(analysis)]
    rows = [row | {"selection": comparison.selection} for row in rows]
    columns = (*columns, SELECTION)
    return ReportTable(name, f"{title}: {comparison.title}", columns, tuple(rows), tuple(said))


def _absent(analysis: Analysis) -> list[str]:
    """Name what the statistics cannot use, with its state."""
    present = {(entry.label, entry.train_size) for entry in analysis.entries}
    lines = [
        f"{group.label} at {group.train_size:,} ({states(group.cells)})"
        for group in analysis.comparison.groups()
        if (group.label, group.train_size) not in present
    ]
    return [f"Without test predictions of a selected run: {'; '.join(lines)}."] if lines else []


def key_of(entry: Entry) -> dict[str, Any]:
    """Return the cells of a row that say which runs it is about."""
    return {
        "strategy": entry.label,
        "train_size": entry.train_size,
        "learning_rate": entry.config.shown_learning_rate,
        "n": len(entry.seeds),
    }


@register("intervals")
def intervals(analysis: Analysis) -> ReportTable:
    """Return the study's metric, and those beside it, with 95 % intervals, and what these hold."""
    scores = score_columns(analysis.comparison)
    columns = (
        STRATEGY,
        SIZE,
        RATE,
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
    unit, per, margin = metric.difference_unit or None, 1 / metric.scale, metric.show_margin(comparison.margin)
    digits, level = 2 if metric.points else 4, f"{100 * comparison.alpha:g} %"
    columns = (
        SIZE,
        Column("first", "First", align="left"),
        Column("second", "Second", align="left"),
        Column("difference", "First minus second", unit, show=signed(digits), per=per),
        Column("p_holm", "p, Holm", show=p_value),
        Column("verdict", f"Within {margin}", align="left"),
        Column("tost_p", "p of equivalence", show=p_value),
        Column("within", "Chance to be within", show="{:.0%}".format),
        Column("detectable", "Detectable", unit, show=fixed(digits), per=per),
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
            "detectable": pair.detectable.difference,
            "new_study": pair.new_study.reason,
            "over": pair.difference.over,
            "mcnemar_p": None if pair.same_examples is None else pair.same_examples.exact_p,
        }
        for pair in analysis.pairs
    ]
    kept = tuple(c for c in columns if c.key != "mcnemar_p" or any(row["mcnemar_p"] is not None for row in rows))
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
        f"Detectable: the true difference that such a comparison, alone, finds with a power of 80 % at {level}.",
        *seed_notes(analysis),
    )


@register("front")
def front(analysis: Analysis) -> ReportTable:
    """Return the score beside every cost, and on which fronts of score and cost each strategy lies."""
    metric = analysis.comparison.measure
    columns = (
        STRATEGY,
        SIZE,
        Column("score", metric.heading, metric.unit, show=fixed(4)),
        *(
            Column(kind, cost.label, unit_of(kind, analysis.comparison) or None, show=significant(3), per=cost.per)
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
        "examples, and of seeds where there are several, that holds; costs stay as measured.",
        "Times with a 95 % interval where runs were repeated; runs that shared the machine are left out where "
        "others did not.",
    )


@register("learning_curve")
def learning_curve(analysis: Analysis) -> ReportTable:
    """Return the power law of every strategy over sizes, and the labels it needs for the best score seen."""
    metric = analysis.comparison.measure
    columns = (
        STRATEGY,
        Column("ceiling", "Levels off at", show=fixed(4)),
        Column("exponent", "Exponent", show=significant(2)),
        Column("target", "To reach", show=fixed(4)),
        Column("needed", "Labels needed", align="left"),
    )
    rows = []
    for curve in analysis.curves:
        fitted = curve.fit if isinstance(curve.fit, LearningCurve) else None
        rows.append(
            {
                "strategy": curve.label,
                "ceiling": None if fitted is None else metric.rising(fitted.ceiling),
                "exponent": None if fitted is None else fitted.exponent,
                "target": curve.target,
                "needed": _labels(curve.fit if fitted is None else curve.needed),
            }
        )
    scored = metric.heading if metric.higher_is_better else f"1 - {metric.label}"
    notes = [
        f"{scored} = ceiling - drop * (size / reference) ** -exponent; the interval is a parametric bootstrap's.",
        CURVE_HOLDS,
    ]
    for first, second, found in analysis.crossings:
        notes.append(f"{first} and {second}: {_crossing(first, second, found)}.")
    return with_predictions("learning_curve", "Labels needed", analysis, columns, rows, *notes)


def _labels(found: Any) -> str | None:
    if isinstance(found, Refusal):
        return f"cannot be said: {found.reason}"
    if not isinstance(found, Size):
        return None
    return f"{found.labels:,.0f} [{found.low:,.0f}, {found.high:,.0f}]" + (
        " (extrapolated)" if found.extrapolated else ""
    )


def _crossing(first: str, second: str, found: Any) -> str:
    if isinstance(found, Refusal):
        return found.reason
    leads = first if found.leads_below == "first" else second
    return f"the curves cross near {_labels(found.size)} labels; below, {leads} leads"


#: What probabilities were like before they were scaled.
_BEFORE = (
    Column("temperature", "Temperature", show=significant(3)),
    Column("ece_unscaled", "ECE, equal mass, before scaling", show=fixed(4)),
    Column("log_loss_unscaled", "Log loss before scaling", "nats", show=fixed(4)),
)


def _before_scaling(entry: Entry) -> dict[str, float]:
    """Return the means over seeds of :data:`_BEFORE`; nothing where no probabilities were scaled."""
    scales = temperatures(entry)
    if not scales or entry.logits is None:
        return {}
    raw = replace(entry, logits=entry.logits * np.array(scales, dtype=np.float32)[:, None, None])
    found = calibrations(raw)
    return {
        "temperature": statistics.fmean(scales),
        "ece_unscaled": statistics.fmean(one.equal_mass.value for one in found),
        "log_loss_unscaled": statistics.fmean(one.log_loss.estimate for one in found),
    }


@register("calibration", applies=of_labels)
def calibration(analysis: Analysis) -> ReportTable:
    """Return how far probabilities can be believed: means over seeds."""
    columns = (
        STRATEGY,
        SIZE,
        Column("ece", "ECE, equal mass", show=fixed(4)),
        Column("if_calibrated", "below this: no sign of error", show=fixed(4)),
        Column("ece_width", "ECE, equal width", show=fixed(4)),
        Column("brier", "Brier", show=fixed(4)),
        Column("log_loss", "Log loss", "nats", show=fixed(4)),
        *(_BEFORE if any(map(temperatures, analysis.entries)) else ()),
        N,
    )
    rows = []
    for entry, found in analysis.calibrations:
        rows.append(
            key_of(entry)
            | _before_scaling(entry)
            | {
                "ece": statistics.fmean(one.equal_mass.value for one in found),
                "if_calibrated": statistics.fmean(one.equal_mass.if_calibrated for one in found),
                "ece_width": statistics.fmean(one.equal_width.value for one in found),
                "brier": statistics.fmean(one.brier.estimate for one in found),
                "log_loss": statistics.fmean(one.log_loss.estimate for one in found),
            }
        )
    note = (
        "ECE: expected calibration error, 15 bins. A perfectly calibrated classifier stays below the next column "
        "in 95 % of samples."
    )
    if not analysis.comparison.task.exclusive:
        note += (
            " Every label of every text counts as a decision of its own, and the decisions of all labels are "
            "pooled. The bound takes them for independent. Brier and log loss are means over labels."
        )
    return with_predictions(
        "calibration",
        "Calibration",
        analysis,
        columns,
        rows,
        note,
        without="Of these runs no probabilities are known.",
    )


@register("per_class", applies=of_labels)
def per_class(analysis: Analysis) -> ReportTable:
    """Return precision, recall and F1 of every class: means over seeds."""
    comparison = analysis.comparison
    columns = (
        STRATEGY,
        SIZE,
        Column("label", "Class", align="left"),
        Column("precision", "Precision", show=fixed(4)),
        Column("recall", "Recall", show=fixed(4)),
        Column("f1", "F1", show=fixed(4)),
        Column("support", "Texts", show=integer),
    )
    rows = []
    for group in comparison.groups():
        for config in group.shown:
            scores = [c.record.scores.per_class for c in config.scored if c.record and c.record.scores]
            # Some imported runs have no more than an accuracy.
            for ones in zip(*filter(None, scores), strict=True):
                rows.append(
                    {
                        "strategy": config.label,
                        "train_size": config.train_size,
                        "label": ones[0].label,
                        "support": ones[0].support,
                        **{
                            name: statistics.fmean(getattr(one, name) for one in ones)
                            for name in ("precision", "recall", "f1")
                        },
                    }
                )
    return with_predictions("per_class", "Scores by class", analysis, columns, rows, "Means over seeds.")


@register("agreement", applies=of_labels)
def agreement(analysis: Analysis) -> ReportTable:
    """Return how strategies share their errors at each size."""
    columns = (
        SIZE,
        Column("all_right", "All right", show=integer),
        Column("disputed", "They differ", show=integer),
        Column("all_wrong", "All wrong", show=integer),
        Column("strategies", "Strategies", align="left"),
    )
    rows = [
        {
            "train_size": one.size,
            "all_right": one.all_right,
            "disputed": len(one.disputed),
            "all_wrong": len(one.all_wrong),
            "strategies": ", ".join(one.labels),
        }
        for one in analysis.agreements
    ]
    note = "Test texts; a strategy's answer is that of its probabilities averaged over seeds."
    if not analysis.comparison.task.exclusive:
        note = "Test texts, right where all labels are; a strategy gives what more than half of its seeds give."
    return with_predictions("agreement", "Shared errors", analysis, columns, rows, note)


@register("variance")
def variance(analysis: Analysis) -> ReportTable:
    """Return how much each source makes one run's score vary, and shares where every source is known."""
    metric = analysis.comparison.measure
    unit, digits = metric.difference_unit or None, 2 if metric.points else 4
    names = {
        "subset draw": "subset",
        "initialisation and order": "seed",
        "subset draw and seed together": "together",
        "test sampling": "test",
    }
    points = {key: Column(f"{key}_sd", name.capitalize(), unit, show=fixed(digits)) for name, key in names.items()}
    shares = {key: Column(key, f"{name.capitalize()}, share", show="{:.0%}".format) for name, key in names.items()}
    known = Column("sd", "Known parts together", unit, show=fixed(digits))
    columns = (STRATEGY, SIZE, *points.values(), known, *shares.values(), N)
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    clipped = False
    for entry, found in analysis.variances:
        row = key_of(entry) | {"sd": None if found.total is None else found.total**0.5 * metric.scale}
        parts = {names[part.name]: part for part in found.components if part.variance is not None}
        # A share of the known parts would read as one of the whole.
        whole = set(parts) in ({"subset", "seed", "test"}, {"together", "test"})
        for key, part in parts.items():
            row[f"{key}_sd"] = (part.variance or 0) ** 0.5 * metric.scale
            row[key] = part.share if whole else None
            clipped |= part.clipped
        for part in found.components:
            if part.variance is None and part.reason and part.name != "subset draw and seed together":
                reasons.setdefault(part.name, part.reason)
        rows.append(row)
    optional = {column.key for column in (*shares.values(), points["together"])}
    kept = tuple(c for c in columns if c.key not in optional or any(row.get(c.key) is not None for row in rows))
    notes = [f"The standard deviation of one run's {metric.label} that each source makes by itself."]
    if any(column.key in shares for column in kept):
        notes.append("Shares of the variance stand where every source is known.")
    notes += [f"{name}: {reason}." for name, reason in reasons.items()]
    if clipped:
        notes.append("A variance whose estimate came out negative is given as 0: too few runs to tell.")
    return with_predictions(
        "variance", f"Where the variance of {metric.label} comes from", analysis, kept, rows, *notes
    )


@register("tuning")
def tuning(analysis: Analysis) -> ReportTable:
    """Return what was spent on choosing a learning rate, and whether the best one lies at the edge."""
    comparison = analysis.comparison
    searched = comparison.searched == "settings"
    columns = (
        STRATEGY,
        SIZE,
        Column("tried", f"{'Settings' if searched else 'Rates'} tried", align="left"),
        Column("learning_rate", "Chosen", show=learning_rate),
        *([SETTING] if searched else []),
        Column("edge", "At the edge", align="left"),
        Column("runs", "Runs", show=integer),
        Column("pruned", "Stopped early", show=integer),
        Column("steps", "Steps", show=integer),
        Column("minutes", "Training", "min", show=significant(3)),
    )
    rows = []
    for group in comparison.groups():
        records = [cell.record for cell in group.cells if cell.record and cell.record.timing]
        timings = [record.timing for record in records if record.timing]
        seconds = [timing.train_seconds for timing in timings]
        rows.append(
            {
                "strategy": group.label,
                "train_size": group.train_size,
                "tried": None if group.configs[0].shown_learning_rate is None else _rates(group),
                "learning_rate": None if group.selected is None else group.selected.shown_learning_rate,
                **({"setting": group.selected.others if group.selected else None} if searched else {}),
                "edge": "yes" if group.at_edge else None,
                "runs": len(records),
                "pruned": sum(record.status == "pruned" for record in records),
                "steps": sum(len(timing.step_seconds) for timing in timings),
                "minutes": None if None in seconds else sum(s for s in seconds if s is not None) / 60,
            }
        )
    notes = ["All runs of a strategy at a size, the final ones included."]
    notes += unequal_rates(list(comparison.groups()))
    return with_predictions("tuning", "What tuning took", analysis, columns, rows, *notes)


def _rates(group: Group) -> str:
    rates = ", ".join(map(learning_rate, dict.fromkeys(group.tried))) or "none yet"
    return f"{len(group.tried)}; rates {rates}" if group.searched == "settings" else rates
