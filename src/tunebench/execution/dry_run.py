"""What a study or a suite would take: every run with its estimate, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.execution.budget import divided_by
from tunebench.execution.plan import plan_runs
from tunebench.execution.resolve import Request, resolve
from tunebench.execution.split import settle_workers
from tunebench.execution.suite_plan import at_a_time, plan_suite
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig

if TYPE_CHECKING:
    from tunebench.store.plan_file import PlannedRun
    from tunebench.study.suite import Suite
    from tunebench.training.estimate import Estimate


@dataclass(frozen=True)
class DryRun:
    """What a study or a suite would take.

    Attributes:
        rows: One for each cell that is planned now.
        at_a_time: By how many runs at a time a budget divides their time.
        reserved: Seconds that a budget keeps for runs which folds choose.
        later: Seconds of each further seed at the chosen settings, at most, with the look that it is for.
    """

    rows: list[dict[str, Any]]
    at_a_time: int
    reserved: float
    later: Sequence[tuple[int, float]] = ()


def dry_run_rows(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> DryRun:
    """Check a study and estimate every cell, writing nothing; see :func:`tunebench.api.run_study`."""
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
    rows = [_planned_row(study, run, plan.estimates, plan.done) for run in plan.runs]
    return DryRun(rows, divided_by(study, request.execution), plan.reserved, _later(study, rows, plan.reserved))


def dry_run_suite(
    suite: Suite,
    *,
    execution: Execution,
    folder: Path,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> DryRun:
    """Check a suite and estimate every cell of all its data sets; see :func:`tunebench.api.run_suite`."""
    request = Request(execution=execution, budget_seconds=budget_seconds, measure=measure, tell=tell)
    planned = plan_suite(suite, folder, request)
    rows = [
        {"data_set": one.name, **_planned_row(one.study, run, one.estimates, one.done)}
        for one in planned
        for run in one.runs
    ]
    return DryRun(rows, at_a_time(planned), sum(one.reserved for one in planned))


def _later(study: StudyConfig, rows: Sequence[dict[str, Any]], reserved: float) -> list[tuple[int, float]]:
    """Return the look and the seconds of each draw that is planned when the settings are chosen.

    Each strategy with several settings is counted at the one that takes longest.
    """
    searched = {label for label, strategy in study.strategies.items() if len(study.settings_of(strategy)) > 1}
    dearest: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if row["strategy"] in searched and not row["left_out"]:
            key = row["strategy"], row["train_size"], row["fold"]
            dearest[key] = max(dearest.get(key, 0.0), row["seconds"])
    draws = [draw for draw in study.draws if draw not in study.choosing_draws] if dearest else []
    return [(_look(study, seed), sum(dearest.values()) + reserved) for _, seed in draws]


def _look(study: StudyConfig, seed: int) -> int:
    return next(number for number, last in enumerate(study.stages, 1) if seed in study.seeds[:last])


def _planned_row(
    study: StudyConfig, run: PlannedRun, estimates: Mapping[str, Estimate], done: Collection[str]
) -> dict[str, Any]:
    return {
        "run_id": run.spec.run_id,
        "strategy": run.spec.label,
        "train_size": run.spec.train_size,
        "learning_rate": run.spec.shown_learning_rate,
        "settings": {name: getattr(run.spec, name) for name in run.spec.tuned},
        "seed": run.spec.seed,
        "fold": None if not run.spec.folds else run.spec.fold or "all",
        "truncation": run.spec.truncation,
        **vars(estimates[run.spec.run_id]),
        "left_out": run.left_out,
        "complete": run.spec.run_id in done,
        "look": _look(study, run.spec.seed),
    }
