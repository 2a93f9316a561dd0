"""The table of where a score's variance comes from."""

from __future__ import annotations

from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.tuning import chose_each
from tunebench.formatting import fixed
from tunebench.report.tables.predicted import key_of, with_predictions
from tunebench.report.tables.registry import (
    SIZE,
    STRATEGY,
    N,
    register,
)
from tunebench.report.tables.render import Column, ReportTable


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
    if any(map(chose_each, analysis.comparison.groups())):
        notes.append("Each seed chose its own setting, so what a seed does holds the choice.")
    if clipped:
        notes.append("A variance whose estimate came out negative is given as 0: too few runs to tell.")
    return with_predictions(
        "variance", f"Where the variance of {metric.label} comes from", analysis, kept, rows, *notes
    )
