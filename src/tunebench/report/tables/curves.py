"""The table of learning curves."""

from __future__ import annotations

from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.formatting import fixed, significant
from tunebench.report.tables.predicted import with_predictions
from tunebench.report.tables.registry import (
    STRATEGY,
    register,
)
from tunebench.report.tables.remarks import CURVE_HOLDS
from tunebench.report.tables.render import Column, ReportTable
from tunebench.stats import LearningCurve, Refusal, Size


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
