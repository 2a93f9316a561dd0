"""What a plan says of runs that would take too few steps to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench.recipe import ENOUGH_STEPS, FEW_STEPS
from tunebench.store.plan_file import PlannedRun
from tunebench.strategies import STRATEGIES, capabilities_of
from tunebench.study.config import StudyConfig
from tunebench.training.estimate import Estimate

#: Strategies and sizes that the remark names.
_NAMED = 5


def fold_remarks(study: StudyConfig, runs: Sequence[PlannedRun]) -> list[str]:
    """Return a line on what a cross-validation trains, and what follows it; nothing without one.

    Args:
        study: The study.
        runs: The plan.
    """
    if not study.folds:
        return []
    line = (
        f"note: {study.folds}-fold cross-validation: each fold validates once, which chooses learning rate and "
        "steps. Then each strategy, size and seed is trained on all texts, and that run is scored on test."
    )
    planned = {(r.spec.label, r.spec.train_size, *r.spec.draw) for r in runs if not r.spec.fold}
    folds = [r.spec for r in runs if r.spec.fold]
    waiting = {(spec.label, spec.train_size, *spec.draw) for spec in folds} - planned
    if waiting:
        line += f" {len(waiting)} of these runs are not in the plan yet: their learning rate is chosen first."
    alone = [label for label, one in study.strategies.items() if not STRATEGIES[one.kind].trains_in_folds]
    if alone:
        line += f" {', '.join(alone)}: trained once on all texts, since a cross-validation is part of it."
    return [line]


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
