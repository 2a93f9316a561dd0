"""What the sealed part of the test texts says of a recommendation, or that it is still sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from tunebench.analysis.comparison import Comparison


def confirmation_of(comparison: Comparison, strategy: str, train_size: int) -> str | None:
    """Say what the sealed part gave; None where a study has none.

    Args:
        comparison: The study.
        strategy: What is recommended today.
        train_size: At which size.
    """
    found = comparison.confirmation
    if found is None:
        still = "Half of the test texts are still sealed: tunebench confirm opens them, once."
        return still if comparison.sealed else None
    if not found.ended:
        return (
            f"The sealed texts were opened for {found.strategy}, and the scoring was cut short: tunebench confirm "
            "completes it."
        )
    metric = TASKS[comparison.cells[0].spec.task].metrics[found.metric]
    if found.score is None:
        return (
            f"The {found.texts:,} sealed texts, opened once ({found.time[:10]}), confirm nothing: {metric.label} "
            f"is not defined on them for any run of {found.strategy} at {found.train_size:,} labels, as where one "
            "class alone is predicted."
        )
    line = (
        f"Confirmed on {found.texts:,} sealed texts, opened once ({found.time[:10]}): {found.strategy} at "
        f"{found.train_size:,} labels has {metric.label} {found.score:.4f} [{found.low:.4f}, {found.high:.4f}] "
        f"(95 %, over {found.over}); on the open test part it has {found.on_test:.4f}."
    )
    if found.undefined:
        line += (
            f" {metric.label} is not defined on the sealed texts for {found.undefined} of the {len(found.runs)} "
            "runs, as where one class alone is predicted. Leaving such runs out flatters the score."
        )
    if (found.strategy, found.train_size) != (strategy, train_size):
        line += f" That says nothing of {strategy} at {train_size:,} labels, which is recommended now."
    return line
