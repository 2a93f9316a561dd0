"""The table of all runs."""

from __future__ import annotations

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.cautions import protocol_cautions
from tunebench.formatting import fixed, integer
from tunebench.report.tables.registry import RATE, SELECTION, SIZE, STRATEGY, made, plain_words, register
from tunebench.report.tables.render import Column, Table
from tunebench.report.tables.scores import selection_f1


@register("runs")
def runs(analysis: Analysis) -> Table:
    """Return one row per run, with its status and, where there is one, its error."""
    comparison = analysis.comparison
    columns = (
        STRATEGY,
        SIZE,
        RATE,
        Column("seed", "Seed"),
        Column("status", "Status", align="left", show=plain_words),
        selection_f1(comparison),
        Column("macro_f1", "Macro F1", show=fixed(4)),
        Column("accuracy", "Accuracy", show=fixed(4)),
        Column("test_loss", "Test loss", "nats", show=fixed(4)),
        Column("selected_step", "Selected step", show=integer),
        Column("train_seconds", "Training", "s", show=fixed(1)),
        Column("error", "Error", align="left", show=_short),
        Column("run_id", "Run", csv_only=True),
        SELECTION,
    )
    title = "Runs"
    return made("runs", title, columns, comparison.rows(), comparison, protocol_cautions(comparison))


def _short(text: str, limit: int = 100) -> str:
    first = next(iter(text.strip().splitlines()), "")
    return first if len(first) <= limit else first[: limit - 1] + "…"
