"""What a study or a suite would take: every run with its estimate, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.execution.budget import divided_by
from tunebench.execution.plan import plan_runs
from tunebench.execution.resolve import Request, resolve
from tunebench.execution.split import settle_workers
from tunebench.execution.suite import at_a_time, plan_suite
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig

if TYPE_CHECKING:
    from tunebench.store.plan_file import PlannedRun
    from tunebench.study.suite import Suite
    from tunebench.training.estimate import Estimate


def dry_run_rows(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[dict[str, Any]], int]:
    """Check a study and estimate every cell, writing nothing; see :func:`tunebench.api.run_study`.

    Returns:
        A row for each cell, and by how many runs at a time a budget divides their time.
    """
    request = Request(
        execution=execution,
        folder=folder,
        budget_seconds=budget_seconds,
        measure=measure,
        tell=tell,
        doing=tell,
    )
    request = settle_workers(study, request)
    plan = plan_runs(resolve(study, request), request)
    rows = [_planned_row(study, run, plan.estimates[run.spec.run_id]) for run in plan.runs]
    return rows, divided_by(study, request.execution)


def dry_run_suite(
    suite: Suite,
    *,
    execution: Execution,
    folder: Path,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[dict[str, Any]], int]:
    """Check a suite and estimate every cell of all its data sets; see :func:`tunebench.api.run_suite`.

    Returns:
        As :func:`dry_run_rows`.
    """
    request = Request(execution=execution, budget_seconds=budget_seconds, measure=measure, tell=tell)
    planned = plan_suite(suite, folder, request)
    rows = [
        {"data_set": one.name, **_planned_row(one.study, run, one.estimates[run.spec.run_id])}
        for one in planned
        for run in one.runs
    ]
    return rows, at_a_time(planned)


def _planned_row(study: StudyConfig, run: PlannedRun, estimate: Estimate) -> dict[str, Any]:
    stages = enumerate(study.stages, 1)
    return {
        "run_id": run.spec.run_id,
        "strategy": run.spec.label,
        "train_size": run.spec.train_size,
        "learning_rate": run.spec.shown_learning_rate,
        "settings": {name: getattr(run.spec, name) for name in run.spec.tuned},
        "seed": run.spec.seed,
        "fold": None if not run.spec.folds else run.spec.fold or "all",
        "truncation": run.spec.truncation,
        **vars(estimate),
        "left_out": run.left_out,
        "look": next(number for number, last in stages if run.spec.seed in study.seeds[:last]),
    }
