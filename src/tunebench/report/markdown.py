"""The report in Markdown: warnings, tables, figures, and how to reproduce them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tunebench.analysis.answer import answer_of
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.log_history import logged_series
from tunebench.formatting import counted
from tunebench.report.reproduce import as_yaml
from tunebench.report.source import Source
from tunebench.report.tables.render import to_markdown
from tunebench.report.words import alternatives_table, beyond
from tunebench.store.record import RunRecord
from tunebench.templates import markdown_environment


def write_report(source: Source) -> Path:
    """Write ``report.md`` into the study's folder, and its figures into ``figures/`` there.

    Returns:
        The path of the report.
    """
    from tunebench.files import write_text
    from tunebench.report.figures import figures_of, save_figures

    analysis, folder = source.analysis, source.folder
    save_figures(analysis, folder / "figures")
    titles = {name: maker.title for name, maker in figures_of(analysis).items()}
    path = folder / "report.md"
    drawn = {place.name for place in (folder / "figures" / "runs").glob("*")}
    write_text(path, render_report(source, figures=titles, drawn_runs=drawn))
    return path


def render_report(source: Source, *, figures: dict[str, str], drawn_runs: Collection[str] = ()) -> str:
    """Return the report's text.

    Args:
        source: The study.
        figures: Titles by the names of files in ``figures/``, in order.
        drawn_runs: Ids of the runs whose own figures are in ``figures/runs/``.
    """
    comparison = source.comparison
    found, warnings = source.recommendation, source.analysis.warnings
    records = [cell.record for cell in comparison.scored if cell.record is not None]
    machines = {
        repr(sorted(r.environment.machine.items())): (r.environment.device, r.environment.threads, r)
        for r in records
    }
    template = markdown_environment("report").get_template("report.md.j2")
    text = template.render(
        comparison=comparison,
        spec=comparison.cells[0].spec,
        imported=source.imported,
        planned=counted(len(comparison.cells), "run"),
        states=_states(comparison),
        answer=[found] if isinstance(found, str) else answer_of(source.analysis, found).lines,
        lists={} if isinstance(found, str) else beyond(found),
        alternatives=None if isinstance(found, str) else to_markdown(alternatives_table(found), level=3),
        warnings=[line for line in warnings if isinstance(found, str) or line not in found.doubts],
        tables=[to_markdown(table.without_notes(warnings), level=3) for table in source.shown_tables],
        figures=figures,
        runs=[cell for cell in comparison.scored if cell.spec.run_id in drawn_runs],
        drawn=_drawn,
        study=None if source.reproducing_study is None else as_yaml(source.reproducing_study),
        has_study=source.study is not None,
        versions=records[0].environment.versions if records else {},
        machines=[
            {"device": device, "threads": threads, **record.environment.machine}
            for device, threads, record in machines.values()
        ],
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _drawn(record: RunRecord) -> list[tuple[str, str]]:
    """Return file names and titles of the figures that a run has the data for; imported ones lack some."""
    losses = any(len(logged_series(record.log_history, key)) for key in ("loss", "eval_loss"))
    known = {
        ("loss_by_step", "loss by step"): losses,
        ("loss_by_epoch", "loss by epoch"): losses,
        ("step_seconds", "seconds per step"): record.timing is not None and bool(record.timing.step_seconds),
        ("confusion", "confusion"): record.scores is not None and bool(record.scores.confusion),
    }
    return [figure for figure, there in known.items() if there]


def _states(comparison: Comparison) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in comparison.cells:
        words: Any = cell.status.replace("_", " ")
        found[words] = found.get(words, 0) + 1
    return found
