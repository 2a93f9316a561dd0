"""Warnings about measured times: shared machines, unequal machines, and what a time leaves out or includes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tunebench.analysis.cost_noise import shared_machine as machine_was_shared

if TYPE_CHECKING:
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


def prefix_remarks(comparison: Comparison) -> list[str]:
    """Return what kept outputs of frozen layers mean for the times; nothing where no run used any."""
    timings = [cell.record.timing for cell in comparison.scored if cell.record and cell.record.timing]
    seconds = [timing.prefix_seconds for timing in timings if timing.prefix_seconds is not None]
    if not seconds:
        return []
    return [
        f"{len(seconds)} of {len(timings)} runs took their frozen layers from disk: their training times leave "
        f"out the {sum(seconds):.0f} s in which these were computed, once for all of them; the operations of that "
        "count in the run that came first."
    ]


def time_warnings(comparison: Comparison) -> list[str]:
    """Warn of times that other work, unequal numbers of processes or kept outputs of frozen layers changed."""
    known = [cell.record.environment.world_size for cell in comparison.scored if cell.record]
    sizes = Counter(size for size in known if size is not None)
    unequal = []
    if len(sizes) > 1:
        found = ", ".join(f"{runs} by {size}" for size, runs in sorted(sizes.items()))
        unequal = [f"Not all runs were trained by equally many processes ({found}), and their times show it."]
    return [*shared_machine(comparison), *unequal, *prefix_remarks(comparison)]
