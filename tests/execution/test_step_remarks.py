"""A plan warns of runs that take too few steps, before anything is trained."""

from __future__ import annotations

from execution.test_plan import estimate
from factories import make_spec
from tunebench.execution.step_remarks import step_remarks
from tunebench.recipe import ENOUGH_STEPS, FEW_STEPS
from tunebench.store.plan_file import PlannedRun


def test_runs_with_few_steps_are_named_with_what_to_set() -> None:
    runs = [
        PlannedRun(make_spec("full", size=200)),
        PlannedRun(make_spec("lora", size=200)),
        PlannedRun(make_spec("lora", size=900), "left out by the budget"),
        PlannedRun(make_spec("tfidf", kind="tfidf", size=200)),
    ]
    steps = dict(zip((run.spec.run_id for run in runs), (FEW_STEPS - 1, FEW_STEPS, 1, 1), strict=True))
    (line,) = step_remarks(runs, {run_id: estimate(steps=count) for run_id, count in steps.items()})
    assert f"full at 200 labels ({FEW_STEPS - 1} steps)." in line and f"min_steps: {ENOUGH_STEPS}" in line
    assert "lora" not in line and "tfidf" not in line


def test_nothing_is_said_where_there_are_enough() -> None:
    run = PlannedRun(make_spec("full"))
    assert step_remarks([run], {run.spec.run_id: estimate(steps=FEW_STEPS)}) == []
