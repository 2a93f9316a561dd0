"""The table of all runs."""

from __future__ import annotations

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.warnings import protocol_warnings
from tunebench.formatting import fixed, integer
from tunebench.report.tables.registry import (
    RATE,
    SELECTION,
    SETTING,
    SIZE,
    STRATEGY,
    loss_column,
    made,
    plain_words,
    register,
    score_columns,
    selection_score,
)
from tunebench.report.tables.render import Column, ReportTable


@register("runs")
def runs(analysis: Analysis) -> ReportTable:
    """Return one row per run, with its status and, where there is one, its error."""
    comparison = analysis.comparison
    configs = [config for group in comparison.groups() for config in group.configs if config.tuned]
    others = {cell.spec.run_id: config.others for config in configs for cell in config.cells}
    columns = (
        STRATEGY,
        SIZE,
        RATE,
        *([SETTING] if others else []),
        Column("seed", "Seed"),
        *([Column("fold", "Fold")] if any(cell.is_fold for cell in comparison.cells) else []),
        Column("status", "Status", align="left", show=plain_words),
        selection_score(comparison),
        *score_columns(comparison),
        loss_column(comparison),
        Column("selected_step", "Selected step", show=integer),
        Column("train_seconds", "Training", "s", show=fixed(1)),
        Column("error", "Error", align="left", show=_short),
        Column("run_id", "Run", csv_only=True),
        SELECTION,
    )
    names = [column.key for column in score_columns(comparison)]
    rows = [cell.row | {name: cell.value(name) for name in names} for cell in comparison.cells]
    rows = [row | {"setting": others.get(row["run_id"])} for row in rows] if others else rows
    title = "Runs"
    return made("runs", title, columns, rows, comparison, protocol_warnings(comparison))


def _short(text: str, limit: int = 100) -> str:
    first = next(iter(text.strip().splitlines()), "")
    return first if len(first) <= limit else first[: limit - 1] + "…"
