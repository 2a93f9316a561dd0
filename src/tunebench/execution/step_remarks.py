"""What a plan says of runs that would take too few steps to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench.recipe import ENOUGH_STEPS, FEW_STEPS
from tunebench.store.study_folder import PlannedRun
from tunebench.strategies import capabilities_of
from tunebench.training.estimate import Estimate

#: Strategies and sizes that the remark names.
_NAMED = 5


def step_remarks(runs: Sequence[PlannedRun], estimates: Mapping[str, Estimate]) -> list[str]:
    """Return a line that names the runs with few steps, and what to set; nothing where there are none.

    Args:
        runs: The plan.
        estimates: By run id.
    """
    few: dict[tuple[str, int], int] = {}
    for run in runs:
        steps = estimates[run.spec.run_id].steps
        if run.left_out is None and capabilities_of(run.spec.kind).backend == "encoder" and steps < FEW_STEPS:
            few[run.spec.label, run.spec.train_size] = steps
    if not few:
        return []
    named = [f"{label} at {size:,} labels ({steps} steps)" for (label, size), steps in few.items()]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return [
        f"note: too few steps to learn much: {', '.join([*named[:_NAMED], *more])}. min_steps: {ENOUGH_STEPS} adds "
        "epochs where a size needs them; warmup_ratio: 0.1 goes with it."
    ]
