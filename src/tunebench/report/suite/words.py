"""The answer of a suite as plain lines, for terminals and pipes."""

from __future__ import annotations

from pathlib import Path

from tunebench.analysis.load_suite import load_suite_analysis
from tunebench.analysis.suite import SuiteAnalysis
from tunebench.analysis.suite_words import SuiteAnswer, suite_answer
from tunebench.formatting import command
from tunebench.report.suite.tables import strategies
from tunebench.report.tables.render import to_text


def suite_text(suite: SuiteAnalysis, answer: SuiteAnswer) -> str:
    """Return the answer, all strategies in a table, and what the data sets cannot say."""
    lines = [answer.verdict, *(f"  {line}" for line in answer.lines)]
    if suite.at:
        lines += ["", to_text(strategies(suite)).rstrip()]
    if answer.limits:
        lines += ["", "What this cannot say:", *(f"- {line}" for line in answer.limits)]
    return "\n".join(lines)


def closing_of_suite(report: Path | None, folder: Path) -> list[str]:
    """Return how ``run`` ends: the answer, the report, and what to type next."""
    answer = suite_answer(load_suite_analysis(folder))
    first = answer.limits[:1]
    more = len(answer.limits) - 1
    rest = [f"  and {more} more: {command('recommend', folder)}"] if more > 0 else []
    written = [] if report is None else [f"Report: {report}"]
    return [
        answer.verdict,
        *(f"  {line}" for line in answer.lines),
        *(f"- {line}" for line in first),
        *rest,
        *written,
    ]
