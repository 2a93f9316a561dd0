"""The table of what tuning took."""

from __future__ import annotations

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.group import Group
from tunebench.analysis.rate_warnings import unequal_rates
from tunebench.formatting import integer, learning_rate, significant
from tunebench.report.tables.predicted import with_predictions
from tunebench.report.tables.registry import (
    BY_SEED,
    SETTING,
    SIZE,
    STRATEGY,
    chosen_of,
    register,
)
from tunebench.report.tables.render import Column, ReportTable


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
        *([BY_SEED] if comparison.chosen_by_seed else []),
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
                **({} if group.selected is None else chosen_of(group.selected)),
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
