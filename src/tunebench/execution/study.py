"""A study from its plan to its scored runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.execution.auditing import audit_once, hash_texts_once
from tunebench.execution.looks import decided_at, note_added_seeds, note_reading, stages_left
from tunebench.execution.ongoing import OngoingStudy, locked_in, outline_of
from tunebench.execution.runner import Summary
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

if TYPE_CHECKING:
    from tunebench.execution.display import JobDisplay
    from tunebench.execution.executors import Executor
    from tunebench.execution.resolve import Request


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
    from tunebench.execution.tracking import track_study

    folder, execution = request.folder, request.execution
    assert folder is not None
    resolved = resolve(study, request)
    study = resolved.study
    stages = stages_left(study, resolved.begun)
    plan = plan_runs(resolved, request, seeds=stages[0])
    executor.prepare(plan.dataset, plan.to_run, plan.estimates)
    note_added_seeds(study, folder)
    store = StudyStore.create(folder, study, plan.listed)
    request.known.timings.save(folder)
    audit_once(store, plan, request.doing)
    hash_texts_once(store, plan)
    display.outline(outline_of(plan, store))
    trackers = stack.enter_context(
        track_study(execution.trackers, study, store=store, display=display, tell=display.message)
    )
    job = Job(
        store,
        plan.dataset,
        execution,
        trackers.display,
        executor.train,
        plan.run_seconds,
        locked=locked_in(store),
        deadline=request.deadline,
        shows_scores=study.looks is None,
    )
    ongoing = OngoingStudy(resolved, request, executor, display, plan, job)
    comparison = _run_until_decided(ongoing, stages, unlock_test=unlock_test)
    ended = ongoing.summary
    if not ended.interrupted:
        note_reading(comparison, folder)
    if not any(cell.to_come for cell in comparison.cells):
        shutil.rmtree(store.prefixes, ignore_errors=True)
    display.stage("writing the report")
    report = write(comparison, folder)
    trackers.wrap_up(ended, files=[store.study_file, store.plan_file, report])
    return StudyResult(comparison, report, ended)


def _run_until_decided(ongoing: OngoingStudy, stages: Sequence[int], *, unlock_test: bool) -> Comparison:
    """Train and score up to each declared look in turn, until one decides; without looks, once.

    Args:
        ongoing: The study.
        stages: Its seeds at each look that is left.
        unlock_test: See :func:`run_with`.
    """
    from tunebench.execution.test_part import score_selected

    request, display, ended = ongoing.request, ongoing.display, ongoing.summary
    assert request.folder is not None
    display.stage("training the candidates")
    ongoing.choose(seeds=stages[0])
    for seeds in stages:
        if seeds != stages[0]:
            display.stage("training the candidates")
            ongoing.plan_again(seeds=seeds)
            ongoing.show()
        ongoing.train(seeds=seeds)
        if ended.out_of_time:
            ongoing.leave_out_open()
        plan, store = ongoing.plan, ongoing.job.store
        if not ended.interrupted:
            display.stage("scoring on the test part")
            score_selected(
                store, dataset=plan.dataset, execution=request.execution, unlock=unlock_test, tell=request.tell
            )
        comparison = load_comparison(request.folder)
        if ended.stopped or comparison.design is None:
            break
        specs = [run.spec for run in plan.runs]
        if decided_at(comparison, seeds, stages, request.folder, display.message, planned=specs):
            break
    return comparison
