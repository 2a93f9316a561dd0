"""The results of a study: tables, figures, and a report with all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunebench.analysis.comparison import Comparison

#: What a table is written as: ending, and key in :data:`tunebench.report.tables.render.RENDERERS`.
TABLE_FILES = {"txt": "text", "md": "markdown", "csv": "csv", "tex": "latex"}
#: Up to so many runs a report draws the figures of single runs that are not there yet.
_FEW_RUNS = 24


def write_all(comparison: Comparison, folder: Path, *, run_figures: bool | None = None) -> Path:
    """Write ``tables/``, ``figures/``, ``report.md`` and ``report.html`` into a folder.

    Args:
        comparison: The study's cells.
        folder: The study's folder; files of the same names are replaced, each when the new one is
            whole. Figures of single runs go to ``figures/runs/<run id>/``; they are kept where they
            are there already, since a complete run does not change.
        run_figures: Draw the figures of single runs that are missing, which takes about a second a run;
            by default where the study has few runs.

    Returns:
        The path of ``report.html``.
    """
    from tunebench.analysis.analysis import analyse
    from tunebench.files import write_text
    from tunebench.report.figures.runs import save_run_figures
    from tunebench.report.markdown import write_report
    from tunebench.report.page import write_page
    from tunebench.report.source import Source
    from tunebench.report.tables.render import RENDERERS

    source = Source(analyse(comparison), folder)
    for table in source.tables:
        for ending, style in TABLE_FILES.items():
            write_text(folder / "tables" / f"{table.name}.{ending}", RENDERERS[style](table))
    if len(comparison.scored) <= _FEW_RUNS if run_figures is None else run_figures:
        for cell in comparison.scored:
            place = folder / "figures" / "runs" / cell.spec.run_id
            if cell.record is not None and not (place / "confusion.svg").exists():
                save_run_figures(cell.record, place)
    write_report(source)
    return write_page(source)
