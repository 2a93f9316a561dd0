"""A recommendation as plain lines, for terminals, pipes and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunebench.analysis.answer import answer_of, standings
from tunebench.analysis.looks import between_looks
from tunebench.analysis.recommend import recommended
from tunebench.analysis.wording import holds_for, holds_for_pairs
from tunebench.formatting import BYTES, TIMES, command, fixed, learning_rate, signed, significant
from tunebench.report.tables.registry import BY_SEED
from tunebench.report.tables.render import Column, ReportTable, to_text
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from pathlib import Path

    from tunebench.analysis.analysis import Analysis
    from tunebench.analysis.recommend import Recommendation


#: What stands beside answers of other models, which took no training here.
_ANSWERING = (
    Column("test_seconds", "Test part answered in", units=TIMES),
    Column("price", "Price of that", show=significant(3)),
)


def beyond(found: Recommendation) -> dict[str, tuple[str, ...]]:
    """Return what stands behind the answer: headings with their sentences; empty ones are left out."""
    parts = {
        "Doubts": found.doubts,
        "What would change the answer": found.would_change,
        "What was not tried": found.not_tried,
    }
    return {heading: lines for heading, lines in parts.items() if lines}


def recommendation_text(analysis: Analysis, found: Recommendation) -> str:
    """Return the answer, all strategies in a table, then a list under each heading."""
    lines = [*answer_of(analysis, found).lines, "", to_text(alternatives_table(found)).rstrip()]
    for heading, sentences in beyond(found).items():
        lines += ["", f"{heading}:", *(f"- {sentence}" for sentence in sentences)]
    return "\n".join(lines)


def closing_lines(analysis: Analysis, folder: Path, report: Path) -> list[str]:
    """Return how ``run`` ends: the answer or what is missing, the report, and what to type next.

    A study that was stopped between its looks gives no answer.
    """
    to_come = any(cell.to_come for cell in analysis.comparison.cells)
    waiting = between_looks(analysis.comparison) if to_come else []
    found = waiting[0] if waiting else recommended(analysis)
    if isinstance(found, str):
        lines, following = [found], [command("run" if to_come else "status", folder)]
    else:
        lines, following = answer_of(analysis, found).lines, [command("recommend", folder)]
        if found.not_exported is None:
            following.append(export_command(str(folder)))
    return [*lines, f"Report: {report}", "Next:", *(f"  {line}" for line in following)]


def export_command(folder: str, *, out: str = "model") -> str:
    """Return the command that exports what is recommended."""
    return command("export", folder, "--recommended", "--out", out)


def alternatives_table(found: Recommendation) -> ReportTable:
    """Return what every strategy scores and costs at the size of the recommendation, the best first."""
    metric = TASKS[found.task].metrics[found.metric]
    stand = standings(found)
    columns = (
        Column("strategy", "Strategy", align="left"),
        Column("standing", "Beside the chosen", align="left"),
        Column("score", metric.heading, metric.unit, show=fixed(4)),
        Column(
            "difference",
            "Minus the chosen",
            metric.difference_unit or None,
            show=signed(2 if metric.points else 4),
            per=1 / metric.scale,
        ),
        Column("train_seconds", "To train", units=TIMES),
        Column("artifact_bytes", "To keep", units=BYTES),
        *(() if all(one.trained for one in found.alternatives) else _ANSWERING),
        Column("learning_rate", "Learning rate", show=learning_rate),
        BY_SEED,
    )
    rows = [
        {
            "strategy": one.label,
            "standing": stand.get(one.label, "chosen"),
            "learning_rate": one.learning_rate,
            BY_SEED.key: one.chosen_by_seed,
            "score": one.together or one.interval,
            "difference": None if one.beside is None else one.beside.joint,
            **one.costs,
        }
        for one in found.alternatives
    ]
    title = f"The candidates at {found.train_size:,} labels"
    return ReportTable("alternatives", title, columns, tuple(rows), _levels(found))


def _levels(found: Recommendation) -> tuple[str, ...]:
    """Say what the intervals of the table of candidates hold for."""
    tests = [one.beside for one in found.alternatives if one.beside is not None]
    if not tests:
        return ("The interval holds at 95 %.",)
    scores = holds_for(len(found.alternatives))
    differences = holds_for_pairs(1 - tests[0].alpha, tests[0].comparisons)
    return (f"Intervals of scores: {scores}. Of differences: {differences}.",)
