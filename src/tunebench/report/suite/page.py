"""The report of a suite as one self-contained HTML page: the verdict over data sets, and each one click away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebench.analysis.suite import AtSize, SuiteAnalysis
from tunebench.analysis.suite_data import DataSet
from tunebench.analysis.suite_words import pair_sentence, suite_answer, with_labels
from tunebench.report.frame import asset, page_environment, render
from tunebench.report.suite.charts import against_best, forest, heat, rank_diagram
from tunebench.report.suite.tables import suite_tables

#: What the page runs, in this order, each in an element of its own.
_SCRIPTS = ("theme.js", "tables.js", "page.js")


def render_suite(suite: SuiteAnalysis, folder: Path) -> str:
    """Return the page.

    Args:
        suite: The analysis over data sets.
        folder: The suite's folder, to which links are relative.
    """
    answer = suite_answer(suite)
    # The size that decides first, the others as the suite has them.
    sizes = sorted(suite.at.values(), key=lambda at: at.size != answer.size)
    blocks = [_size(suite, at) for at in sizes]
    sections = [
        {"key": "answer", "title": "The answer"},
        *({"key": block["key"], "title": block["title"]} for block in blocks),
        {"key": "data-sets", "title": "The data sets"},
        {"key": "limits", "title": "What this cannot say"},
        {"key": "tables", "title": "Tables"},
    ]
    environment = page_environment(suite.labels, title=suite.name)
    return render(
        environment,
        "suite.html.j2",
        [asset(name) for name in _SCRIPTS],
        title=suite.name,
        description=suite.description,
        sections=sections,
        answer=answer,
        metric=suite.metric,
        first=blocks[0] if blocks else None,
        blocks=blocks,
        data_sets=[_data_set(one, answer.size, folder) for one in suite.data_sets],
        tables=suite_tables(suite) if blocks else [],
    )


def _size(suite: SuiteAnalysis, at: AtSize) -> dict[str, Any]:
    """Return all charts of one training size."""
    answer = suite_answer(suite, size=at.size)
    pairs = [] if at.best is None else [at.pair(at.best, label) for label in at.others]
    return {
        "key": f"size-{at.size}",
        "title": with_labels(at.size).capitalize(),
        "answer": answer,
        "summary": against_best(at, answer.standings),
        "runner_up": _runner_up(at, suite),
        "forests": [forest(pair, at.metric, at.margin) for pair in pairs if pair is not None],
        "heat": heat(at),
        "ranks": rank_diagram(at),
    }


def _runner_up(at: AtSize, suite: SuiteAnalysis) -> str | None:
    """Return how the best stands to the next best mean; None where there is none."""
    if len(at.ranked) < 2:
        return None
    pair = at.pair(at.ranked[0], at.ranked[1])
    return None if pair is None else pair_sentence(pair, suite.metric)


def _data_set(one: DataSet, size: str | None, folder: Path) -> dict[str, Any]:
    """Return a line of the list of data sets."""
    page = f"studies/{one.name}/report.html"
    found = one.answer
    comparison = None if one.analysis is None else one.analysis.comparison
    cells = () if comparison is None else comparison.cells
    failed = sum(cell.status in ("failed", "out_of_memory") for cell in cells)
    return {
        "name": one.name,
        "link": page if (folder / page).is_file() else None,
        "source": None if not cells else cells[0].spec.data.source,
        "classes": len(cells[0].spec.data.label_names) if cells else None,
        "labels": one.sizes.get(size) if size is not None else None,
        "runs": f"{sum(cell.scored for cell in cells)} of {len(cells)}" + (f", {failed} failed" if failed else ""),
        "chooses": found if isinstance(found, str) else found.strategy,
        "conclusive": None if isinstance(found, str) else found.conclusive,
        "why": one.why,
        "left_out": one.left_out,
    }
