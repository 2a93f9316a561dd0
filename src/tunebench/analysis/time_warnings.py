"""Warnings about measured times: shared machines, unequal machines, and what a time leaves out or includes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tunebench.analysis.cost_noise import shared_machine as machine_was_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison

#: How training time is told apart in what a Trainer logs.
TRAIN_RUNTIME = (
    "The Trainer's train_runtime includes the evaluations: training only is train_runtime less the eval_runtime "
    "of the evaluations logged before it, and still holds checkpoints and logging."
)


def shared_machine(comparison: Comparison) -> list[str]:
    """Return what belongs beside times where runs shared the machine."""
    timed = [cell for cell in comparison.scored if cell.record and cell.record.timing]
    busy = sum(map(machine_was_shared, timed))
    return [f"{busy} of {len(timed)} runs shared the machine; their times are too long."] if busy else []


def time_warnings(comparison: Comparison) -> list[str]:
    """Warn of times that other work, unequal numbers of processes or kept outputs of frozen layers changed."""
    lines = shared_machine(comparison)
    timings = [c.record.timing for c in comparison.scored if c.record and c.record.timing]
    known = [c.record.environment.world_size for c in comparison.scored if c.record]
    sizes = Counter(size for size in known if size is not None)
    if len(sizes) > 1:
        found = ", ".join(f"{runs} by {size}" for size, runs in sorted(sizes.items()))
        lines.append(f"Not all runs were trained by equally many processes ({found}), and their times show it.")
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
