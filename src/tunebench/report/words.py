"""A recommendation as plain lines, for terminals, pipes and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunebench.analysis.costs import COSTS
from tunebench.analysis.recommend import SURE
from tunebench.formatting import fixed, learning_rate, signed, significant
from tunebench.report.tables.render import Column, ReportTable
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from pathlib import Path

    from tunebench.analysis.recommend import Recommendation


def listed(found: Recommendation) -> dict[str, tuple[str, ...]]:
    """Return headings with their sentences; empty ones are left out."""
    parts = {
        "Reasons": found.reasons,
        "Doubts": found.doubts,
        "What would change the answer": found.would_change,
        "What was not tried": found.not_tried,
    }
    return {heading: lines for heading, lines in parts.items() if lines}


def recommendation_text(found: Recommendation) -> str:
    """Return the answer, then a list under each heading."""
    lines = [found.sentence, found.beside, SURE if found.conclusive else "Not conclusive: see the doubts."]
    for heading, sentences in listed(found).items():
        lines += ["", f"{heading}:", *(f"- {sentence}" for sentence in sentences)]
    return "\n".join(lines)


def answer_lines(found: Recommendation) -> list[str]:
    """Return the answer in three sentences: what to use, the metrics beside it, how sure that is."""
    return [found.sentence, found.beside, found.trust]


def closing_lines(found: Recommendation | str, folder: Path, report: Path) -> list[str]:
    """Return how a command ends after a study: the answer or what is missing, the report, and what to type next."""
    lines = [found] if isinstance(found, str) else answer_lines(found)
    lines += [f"Report: {report}", "Next:", f"  tunebench recommend {folder}"]
    return lines if isinstance(found, str) else [*lines, f"  tunebench export {folder} --recommended --out model"]


def alternatives_table(found: Recommendation) -> ReportTable:
    """Return what every strategy scores and costs at the size of the recommendation, the best first."""
    metric = TASKS[found.task].metrics[found.metric]
    columns = (
        Column("strategy", "Strategy", align="left"),
        Column("learning_rate", "Learning rate", show=learning_rate),
        Column("score", metric.heading, metric.unit, show=fixed(4)),
        Column(
            "difference",
            "Minus the best",
            metric.difference_unit or None,
            show=signed(2 if metric.points else 4),
            per=1 / metric.scale,
        ),
        Column("verdict", f"Within {metric.show_margin(found.margin)}", align="left"),
        *(Column(kind, cost.label, cost.unit, show=significant(3), per=cost.per) for kind, cost in COSTS.items()),
    )
    rows = [
        {
            "strategy": one.label,
            "learning_rate": one.learning_rate,
            "score": one.interval,
            "difference": None if one.difference is None else one.difference.interval,
            "verdict": None if one.difference is None else one.difference.verdict,
            **one.costs,
        }
        for one in found.alternatives
    ]
    title = f"The alternatives at {found.train_size:,} labels"
    return ReportTable("alternatives", title, columns, tuple(rows))
