"""Everything a study shows of itself: tables, figures, and a report that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunebench.comparison import Comparison


def write_all(comparison: Comparison, folder: Path) -> Path:
    """Write ``tables/``, ``figures/`` and ``report.md`` into a folder.

    Args:
        comparison: The study's cells.
        folder: Where; files of the same names are replaced, each when the new one is whole. Figures
            of single runs go to ``figures/runs/<run id>/``; they are kept where they are there
            already, since a complete run does not change.

    Returns:
        The path of the report.
    """
    from tunebench.files import write_text
    from tunebench.report.markdown import write_report
    from tunebench.run_figures import save_run_figures
    from tunebench.tables import make_tables, to_csv, to_markdown, to_text

    for table in make_tables(comparison):
        for ending, render in (("txt", to_text), ("md", to_markdown), ("csv", to_csv)):
            write_text(folder / "tables" / f"{table.name}.{ending}", render(table))
    for cell in comparison.scored:
        runs = folder / "figures" / "runs" / cell.spec.run_id
        if cell.record is not None and not (runs / "confusion.svg").exists():
            save_run_figures(cell.record, runs)
    return write_report(comparison, folder)
