"""A study from its plan to its scored runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.errors import StoreError
from tunebench.execution.auditing import audit_once, hash_texts_once
from tunebench.execution.looks import decided_at, note_added_seeds, note_reading, stages_left
from tunebench.execution.runner import Summary
from tunebench.formatting import counted
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.execution.budget import Chosen, Trial
    from tunebench.execution.display import JobDisplay
    from tunebench.execution.display_parts import Outline
    from tunebench.execution.executors import Executor
    from tunebench.execution.plan import Plan
    from tunebench.execution.resolve import Request, Resolved
    from tunebench.execution.runner import Job


@dataclass(frozen=True)
class StudyResult:
    """The outcome of a study.

    Attributes:
        comparison: Its cells.
        report: The written report.
        summary: What became of the runs.
    """

    comparison: Comparison
    report: Path
    summary: Summary


def run_with(
    study: StudyConfig,
    request: Request,
    executor: Executor,
    stack: ExitStack,
    *,
    display: JobDisplay,
    unlock_test: bool,
    write: Callable[[Comparison, Path], Path],
) -> StudyResult:
    """Plan, run or resume, and score a study with an executor; see :func:`tunebench.api.run_study`.

    Args:
        study: The study.
        request: Where it is written, and how it is executed and planned.
        executor: What trains its runs.
        stack: What is to be closed when all has ended.
        display: Shows the progress.
        unlock_test: Score a newly chosen learning rate although the test part was opened for another.
        write: Writes tables, figures and report into a folder, and returns the report's path.
    """
    from tunebench.execution.plan import plan_runs
    from tunebench.execution.resolve import resolve
    from tunebench.execution.runner import Job
    from tunebench.execution.test_part import score_selected
    from tunebench.execution.tracking import track_study

    folder, execution, tell = request.folder, request.execution, request.tell
    assert folder is not None
    resolved = resolve(study, request)
    study = resolved.study
    stages = stages_left(study, resolved.begun)
    plan = plan_runs(resolved, request, seeds=stages[0])
    executor.prepare(plan.dataset, _not_left_out(plan), plan.estimates)
    note_added_seeds(study, folder)
    store = StudyStore.create(folder, study, _planned(plan))
    request.known.timings.save(folder)
    audit_once(store, plan, request.doing)
    hash_texts_once(store, plan)
    display.outline(_outline(plan, store))
    trackers = stack.enter_context(
        track_study(execution.trackers, study, store=store, display=display, tell=display.message)
    )
    job = Job(
        store,
        plan.dataset,
        execution,
        trackers.display,
        executor.train,
        _seconds(plan),
        locked=_locked(store),
        deadline=request.deadline,
    )
    summary = Summary()
    began = time.monotonic()
    display.stage("training the candidates")
    if study.search.method == "halving":
        summary, plan, job = _search(resolved, request, plan, job, executor, began=began, seeds=stages[0])
        display.outline(_outline(plan, job.store))
    elif study.plans_twice and {seed for _, seed in study.choosing_draws} != set(study.seeds[: stages[0]]):
        summary, plan, job = _choose(resolved, request, plan, job, executor, began=began, seeds=stages[0])
        display.outline(_outline(plan, job.store))
    for seeds in stages:
        if seeds != stages[0]:
            plan, job = _plan_again(resolved, request, job, executor, began=began, seeds=seeds)
            display.outline(_outline(plan, job.store))
        # What folds choose is trained behind them.
        _run_open([spec for spec in _not_left_out(plan) if not spec.fold_runs], job, executor, summary)
        if study.folds and not summary.stopped:
            plan, job = _plan_again(resolved, request, job, executor, began=began, seeds=seeds)
            display.outline(_outline(plan, job.store))
            _run_open([spec for spec in _not_left_out(plan) if spec.fold_runs], job, executor, summary)
        if summary.out_of_time:
            job = _leave_out_open(plan, job, display)
        if not summary.interrupted:
            display.stage("scoring on the test part")
            score_selected(job.store, dataset=plan.dataset, execution=execution, unlock=unlock_test, tell=tell)
        comparison = load_comparison(folder)
        if summary.stopped or comparison.design is None:
            break
        specs = [run.spec for run in plan.runs]
        if decided_at(comparison, seeds, stages, folder, display.message, planned=specs):
            break
        display.stage("training the candidates")
    if not summary.interrupted:
        note_reading(comparison, folder)
    if not any(cell.status in ("pending", "running") for cell in comparison.cells):
        shutil.rmtree(store.prefixes, ignore_errors=True)
    display.stage("writing the report")
    report = write(comparison, folder)
    trackers.wrap_up(summary, files=[store.study_file, store.plan_file, report])
    return StudyResult(comparison, report, summary)


def _search(
    resolved: Resolved, request: Request, plan: Plan, job: Job, executor: Executor, *, began: float, seeds: int
) -> tuple[Summary, Plan, Job]:
    """Run every rate with the first seed, and plan the other seeds at the chosen ones, up to so many.

    What has one rate comes first, as it is often cheap: however early the study ends, there is something to
    compare with. Of a cross-validation the search stops rates in the first fold; those that it does not stop run in
    all folds.
    """
    from tunebench.execution.search import survivors

    study = resolved.study
    several = _searched(study)
    trials = [spec for spec in _not_left_out(plan) if spec.run_id in job.locked and spec.label in several]
    summary = Summary()
    alone = [spec for spec in _not_left_out(plan) if spec.label not in several and spec.draw == study.draws[0]]
    first = [s for s in alone if not s.fold_runs and not job.store.run_folder(s.run_id).complete]
    if first:
        _run_open(first, job, executor, summary)
    if summary.stopped:
        return summary, plan, job
    summary.add(executor.search(trials, job, study.search))
    if summary.stopped:
        return summary, plan, job
    # The budget goes by what was measured where runs follow: what is derived may be far off.
    request = replace(request, measure=request.measure and (len(study.draws) > 1 or study.folds > 0))
    if study.folds:
        going_on = survivors(job.store)
        plan, job = _plan_again(
            resolved, request, job, executor, began=began, seeds=seeds, chosen={}, going_on=going_on
        )
        folds = [spec for spec in _not_left_out(plan) if spec.fold and spec.draw == study.draws[0]]
        _run_open(folds, job, executor, summary)
        if summary.stopped:
            return summary, plan, job
    plan, job = _plan_again(resolved, request, job, executor, began=began, seeds=seeds)
    return summary, plan, job


def _choose(
    resolved: Resolved, request: Request, plan: Plan, job: Job, executor: Executor, *, began: float, seeds: int
) -> tuple[Summary, Plan, Job]:
    """Run a grid with the seeds that choose, and plan the other seeds at the chosen settings, up to so many."""
    summary, tried = Summary(), set[str]()
    open_ = _choosing(plan, job)
    while True:
        if open_:
            _run_open(open_, job, executor, summary)
        if summary.stopped:
            return summary, plan, job
        plan, job = _plan_again(resolved, request, job, executor, began=began, seeds=seeds)
        # A budget may have room for more of the runs that choose when the first have ended.
        tried |= {spec.run_id for spec in open_}
        open_ = [spec for spec in _choosing(plan, job) if spec.run_id not in tried]
        if not open_:
            return summary, plan, job


def _choosing(plan: Plan, job: Job) -> list[RunSpec]:
    """Return the runs to do with the seeds that choose; what folds choose is trained behind them."""
    draws = plan.study.choosing_draws
    staged = [spec for spec in _not_left_out(plan) if spec.draw in draws and not spec.fold_runs]
    return [spec for spec in staged if not job.store.run_folder(spec.run_id).complete]


def _plan_again(
    resolved: Resolved,
    request: Request,
    job: Job,
    executor: Executor,
    *,
    began: float,
    seeds: int,
    chosen: Chosen | None = None,
    going_on: Collection[Trial] = (),
) -> tuple[Plan, Job]:
    """Plan what follows the runs so far, up to so many seeds: by default at the settings that they choose."""
    from tunebench.execution.plan import plan_runs
    from tunebench.execution.search import chosen_settings

    assert request.folder is not None
    found = chosen_settings(job.store) if chosen is None else chosen
    spent = time.monotonic() - began
    plan = plan_runs(resolved, request, spent_seconds=spent, chosen=found, survivors=going_on, seeds=seeds)
    plan = replace(plan, runs=tuple(_unless_a_fold_lacks(run, job.store) for run in plan.runs))
    executor.prepare(plan.dataset, _not_left_out(plan), plan.estimates)
    store = StudyStore.create(
        request.folder, resolved.study, [*_planned(plan), *_overtaken(resolved.study, job.store, found)]
    )
    request.known.timings.save(request.folder)
    return plan, replace(job, store=store, estimates=_seconds(plan), locked=_locked(store))


def _searched(study: StudyConfig) -> set[str]:
    """Return the strategies with several settings to choose from."""
    return {label for label, strategy in study.strategies.items() if len(study.settings_of(strategy)) > 1}


def _overtaken(study: StudyConfig, store: StudyStore, chosen: Chosen) -> list[PlannedRun]:
    """Return the further seeds that an earlier plan had at a setting which is no longer chosen, as left out.

    They will not run. As long as they were to come, nothing of their strategy would be scored.
    """
    if not study.plans_twice:
        return []
    return [
        PlannedRun(spec, "left out: another setting was chosen")
        for spec in store.trainable()
        if spec.draw not in study.choosing_draws
        and chosen.get((spec.label, spec.train_size), spec.setting) != spec.setting
        and not store.run_folder(spec.run_id).complete
    ]


def _unless_a_fold_lacks(run: PlannedRun, store: StudyStore) -> PlannedRun:
    """Leave a run on all texts out while the folds that choose for it are not all complete."""
    lacking = [one.run_id for one in run.spec.fold_runs if not store.run_folder(one.run_id).complete]
    if not lacking or run.left_out is not None:
        return run
    return replace(run, left_out=f"left out: all folds choose together, and {lacking[0]} is not complete")


def _run_open(specs: Sequence[RunSpec], job: Job, executor: Executor, summary: Summary) -> None:
    """Run what has not failed before, and add what became of it to a summary."""
    if summary.stopped:
        return
    rest = executor.run([spec for spec in specs if spec.run_id not in summary.failed], job)
    ended = {*summary.complete, *summary.skipped}
    rest.skipped = [run_id for run_id in rest.skipped if run_id not in ended]
    summary.add(rest)


def _leave_out_open(plan: Plan, job: Job, display: JobDisplay) -> Job:
    """Note in the plan what the deadline left open, so that the rest is compared; the next start plans it again.

    Runs that may still change a choice stay open, and what they choose for is not scored: the test part opens once.
    """
    why, study = "left out: the budget was spent before it was complete", plan.study
    searched = _searched(study)

    def ended(spec: RunSpec) -> bool:
        folder = job.store.run_folder(spec.run_id)
        return folder.complete or folder.failure.exists()

    def chooses(spec: RunSpec) -> bool:
        return spec.label in searched and spec.draw in study.choosing_draws

    runs, open_ = _planned(plan), [r.spec for r in plan.runs if r.left_out is None and not ended(r.spec)]
    left_out = {spec.run_id for spec in open_ if not chooses(spec)}
    runs = [replace(run, left_out=why) if run.spec.run_id in left_out else run for run in runs]
    if open_:
        display.message(f"The budget is spent before {counted(len(open_), 'run')}; the same command resumes them.")
    return replace(job, store=StudyStore.create(job.store.folder, study, runs))


def _outline(plan: Plan, store: StudyStore) -> Outline:
    """Return the plan as a display shows it."""
    from tunebench.execution.display_parts import Outline

    metric = plan.dataset.task.metrics[plan.study.metric]

    def score_of(run_id: str) -> float | None:
        try:
            record = store.run_folder(run_id).read()
        except StoreError:  # damaged; whoever trains it says so
            return None
        return record.selected.score if record is not None and record.selected is not None else None

    done = [run.spec.run_id for run in plan.runs if store.run_folder(run.spec.run_id).complete]
    return Outline(plan.runs, done, score_of, lambda one, other: max(one, other, key=metric.merit))


def _locked(store: StudyStore) -> frozenset[str]:
    """Return the runs whose test part is locked, of all the study may hold.

    A rate that is added today makes yesterday's choice one among several.
    """
    from tunebench.execution.test_part import locked_runs

    return locked_runs(store.trainable())


def _not_left_out(plan: Plan) -> list[RunSpec]:
    return [run.spec for run in plan.runs if run.left_out is None]


def _seconds(plan: Plan) -> dict[str, float]:
    return {run_id: estimate.seconds for run_id, estimate in plan.estimates.items()}


def _planned(plan: Plan) -> list[PlannedRun]:
    """Return the plan's runs with their estimates, for whoever watches the folder."""
    seconds = _seconds(plan)
    return [replace(run, seconds=seconds.get(run.spec.run_id)) for run in plan.runs]
