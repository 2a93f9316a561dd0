"""The results of a suite: tables over data sets, figures, and a page with the verdict."""

from __future__ import annotations

from pathlib import Path

from tunebench.analysis.suite import SuiteAnalysis


def write_suite(suite: SuiteAnalysis, folder: Path) -> Path:
    """Write ``tables/``, ``figures/`` and ``report.html`` into the suite's folder, and return the latter's path.

    Args:
        suite: The analysis over data sets.
        folder: The suite's folder; files of the same names are replaced.
    """
    from tunebench.files import write_text
    from tunebench.report import TABLE_FILES
    from tunebench.report.suite.figures import save_suite_figures
    from tunebench.report.suite.page import render_suite
    from tunebench.report.suite.tables import suite_tables
    from tunebench.report.tables.render import RENDERERS

    for table in suite_tables(suite):
        for ending, style in TABLE_FILES.items():
            write_text(folder / "tables" / f"{table.name}.{ending}", RENDERERS[style](table))
    save_suite_figures(suite, folder / "figures")
    path = folder / "report.html"
    write_text(path, render_suite(suite, folder))
    return path
