"""The answer: what to choose, all candidates with their intervals, how sure it is; and the doubts behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunebench.analysis.answer import answer_of, standings
from tunebench.analysis.evidence import POINTS
from tunebench.analysis.recommend import Alternative, Recommendation
from tunebench.analysis.warnings import data_warnings, not_shown
from tunebench.formatting import BYTES, TIMES, quantity
from tunebench.report.axis import Axis, domain, ticks
from tunebench.report.sections.registry import part
from tunebench.report.source import Source
from tunebench.report.words import beyond, export_command
from tunebench.tasks.registry import TASKS

#: Candidates that the chart shows at once; those beyond are behind a button.
_ROWS = 18


@part("answer", "answer")
def answer(source: Source) -> dict[str, Any]:
    """Return the answer with all candidates, or what is missing for one."""
    comparison, found = source.comparison, source.recommendation
    missing = not_shown(comparison)
    if isinstance(found, str):
        return {"answer": None, "why": found, "complete": len(comparison.scored), "missing": missing}
    said = answer_of(source.analysis, found)
    return {
        "answer": said,
        "conclusive": found.conclusive,
        "chosen": found.strategy,
        "command": None
        if source.study is None or said.not_exported is not None
        else export_command(".", out="recommended"),
        "chart": candidates(found),
        "rows_shown": _ROWS,
        "missing": missing,
    }


def candidates(found: Recommendation) -> dict[str, Any]:
    """Return the chart of all candidates: places are percent of the axis.

    The band holds what is within the margin of the best score.
    """
    metric, stand = TASKS[found.task].metrics[found.metric], standings(found)
    best, margin = found.alternatives[0].interval.estimate, found.margin / POINTS
    scores = [one.interval for one in found.alternatives]
    shown = [best - margin, best + margin, *(one.estimate for one in scores)]
    low, high = domain(shown, [(one.low, one.high) for one in scores])
    place = Axis(low, high)
    return {
        "metric": metric,
        "margin": metric.show_margin(found.margin),
        "band": place.span(best - margin, best + margin),
        # A word at the edge would run into its neighbour's.
        "ticks": [(at, f"{tick:g}") for tick in ticks(low, high) if 5 < (at := place(tick)) < 95],
        "rows": [
            {
                "label": one.label,
                "standing": stand.get(one.label, "chosen"),
                "score": one.interval,
                "at": place(one.interval.estimate),
                "bar": place.span(one.interval.low, one.interval.high),
                "cut": [side for side, over in _cut(one, low, high) if over],
                "seconds": one.costs.get("train_seconds"),
                "training": _shown(one, "train_seconds", TIMES),
                "bytes": one.costs.get("artifact_bytes"),
                "weights": _shown(one, "artifact_bytes", BYTES),
            }
            for one in found.alternatives
        ],
    }


def _cut(one: Alternative, low: float, high: float) -> Iterator[tuple[str, bool]]:
    yield "left", one.interval.low < low
    yield "right", one.interval.high > high


def _shown(one: Alternative, kind: str, units: Any) -> str | None:
    return None if kind not in one.costs else quantity(one.costs[kind], units)


@part("doubts", "sure")
def doubts(source: Source) -> dict[str, Any] | None:
    """Return what speaks against the answer, what would change it, and what to know of the runs and of the data."""
    found, comparison = source.recommendation, source.comparison
    lists = {} if isinstance(found, str) else beyond(found)
    of_data = data_warnings(comparison)
    said = {line for lines in lists.values() for line in lines}
    warnings = {
        "About the runs": [line for line in source.analysis.warnings if line not in (*of_data, *said)],
        "About the data": of_data,
    }
    lists = lists | {heading: tuple(lines) for heading, lines in warnings.items() if lines}
    return {"lists": lists} if lists else None
