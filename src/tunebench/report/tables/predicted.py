"""Tables of what stored predictions say: what all of them begin and end with."""

from __future__ import annotations

from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.configuration import states
from tunebench.analysis.evidence import Entry
from tunebench.analysis.looks import added_seeds, look_notes, read_early
from tunebench.analysis.warnings import OPTIMISTIC, test_access
from tunebench.report.tables.registry import (
    SELECTION,
    chosen_of,
)
from tunebench.report.tables.render import Column, ReportTable

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
        **chosen_of(entry.config),
        "n": len(entry.seeds),
    }
