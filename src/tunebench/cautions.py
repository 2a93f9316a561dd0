"""What a reader must know before believing a comparison, each in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.comparison import Comparison

OPTIMISTIC = "Selected on test: optimistic. The split that chose the checkpoints also gives the scores."


def cautions(comparison: Comparison) -> list[str]:
    """Return the warnings that follow from the plan and the records, the weightiest first."""
    return [
        *_selection(comparison),
        *_seeds(comparison),
        *_learning_rates(comparison),
        *_recipes(comparison),
        *_data(comparison),
        *_machine(comparison),
        *_missing(comparison),
    ]


def protocol_cautions(comparison: Comparison) -> list[str]:
    """Return those that belong under every table: selection, seeds, learning rates."""
    return [*_selection(comparison), *_seeds(comparison), *_learning_rates(comparison)]


def _selection(comparison: Comparison) -> list[str]:
    return [OPTIMISTIC] if comparison.selection == "test" else []


def _seeds(comparison: Comparison) -> list[str]:
    if len({cell.spec.seed for cell in comparison.cells}) > 1:
        return []
    line = "Single seed: the spread over seeds is not known, and a small difference may be luck"
    scores = [c.record.scores.accuracy for c in comparison.scored if c.record and c.record.scores]
    if not scores:
        return [f"{line}."]
    # Binomial standard error of one accuracy, the largest of the table.
    size = comparison.cells[0].spec.test_size
    error = max(math.sqrt(p * (1 - p) / size) for p in scores)
    return [f"{line}; the test split alone (n = {size:,}) gives an accuracy a standard error of {error:.4f}."]


def _learning_rates(comparison: Comparison) -> list[str]:
    groups = [group for group in comparison.groups() if group.arms[0].shown_learning_rate is not None]
    labels = list(dict.fromkeys(group.label for group in groups))
    lines = []
    single = [name for name in labels if all(len(g.arms) == 1 for g in groups if g.label == name)]
    if single:
        whose = "per strategy" if len(single) == len(labels) else f"for {', '.join(single)}"
        lines.append(
            f"One learning rate {whose}: what looks like a difference of strategies may be one of learning rates."
        )
    several = [group for group in groups if len(group.arms) > 1]
    if any(group.selected is not None for group in several):
        lines.append(
            f"Where several learning rates were run, the one with the best mean macro F1 on {comparison.selection} "
            "is shown; the others are in the table of runs."
        )
    if any(group.selected is None and any(arm.scored for arm in group.arms) for group in several):
        lines.append("Several learning rates and no selection score: all are shown, none was chosen.")
    edge = [f"{g.label} at {g.train_size:,}" for g in several if g.at_edge]
    if edge:
        lines.append(
            f"Best learning rate at the edge of those tried, so a better one may lie outside: {', '.join(edge)}."
        )
    return lines


def _recipes(comparison: Comparison) -> list[str]:
    axes = {"kind", "params", "learning_rate", "train_size", "seed"}
    specs = [cell.spec.identity for cell in comparison.cells]
    # An identity leaves out what is as it was before there was a choice.
    keys = dict.fromkeys(key for spec in specs for key in spec if key not in axes)
    differ = [key for key in keys if any(spec.get(key) != specs[0].get(key) for spec in specs)]
    return [f"The strategies also differ in: {', '.join(differ)}."] if differ else []


def _data(comparison: Comparison) -> list[str]:
    lines = []
    if any(c.record.examples.test_held_out for c in comparison.scored if c.record and c.record.examples):
        lines.append("The data has no test split: a part of the training data was held out for testing.")
    return lines + list((comparison.audit or {}).get("warnings", []))


def _machine(comparison: Comparison) -> list[str]:
    timings = [c.record.timing for c in comparison.scored if c.record and c.record.timing]
    busy = sum(timing.contended is True or timing.workers > 1 for timing in timings)
    lines = [f"{busy} of {len(timings)} runs shared the machine; their times are too long."] if busy else []
    kept = [timing.prefix_seconds for timing in timings if timing.prefix_seconds is not None]
    return lines + ([prefix_remark(kept, len(timings))] if kept else [])


def prefix_remark(seconds: Sequence[float], runs: int) -> str:
    """Say what kept outputs of frozen layers mean for the times.

    Args:
        seconds: Seconds of computing them, of each run that used them.
        runs: Runs in all.
    """
    return (
        f"{len(seconds)} of {runs} runs took their frozen layers from disk: their training times leave out the "
        f"{sum(seconds):.0f} s in which these were computed, once for all of them; the operations of that count "
        "in the run that came first."
    )


def _missing(comparison: Comparison) -> list[str]:
    left = [cell.status.replace("_", " ") for cell in comparison.cells if not cell.scored]
    if not left:
        return []
    counts = ", ".join(f"{left.count(status)} {status}" for status in dict.fromkeys(left))
    return [f"{len(left)} of {len(comparison.cells)} runs have no score ({counts})."]
