"""A study from its plan to its scored runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.data.reference import Copies
from tunebench.errors import StoreError
from tunebench.execution.runner import Summary
from tunebench.files import set_aside, write_json
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import PlannedRun, StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.data.audit import Audit
    from tunebench.data.copies import HeldOutCopies
    from tunebench.execution.display import Display
    from tunebench.execution.executors import Executor
    from tunebench.execution.plan import Plan


@dataclass(frozen=True)
class StudyResult:
    """What a study gave.

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
    executor: Executor,
    stack: ExitStack,
    *,
    folder: Path,
    execution: Execution,
    display: Display,
    budget_seconds: float | None,
    measure: bool,
    unlock_test: bool,
    tell: Callable[[str], None],
    write: Callable[[Comparison, Path], Path],
) -> StudyResult:
    """Plan, run or resume, and score a study with an executor; see :func:`tunebench.api.run_study`.

    Args:
        study: The study.
        executor: What trains its runs.
        stack: Closes what is open when everything has ended.
        folder: Folder for everything that is written.
        execution: Device and threads.
        display: Shows the progress.
        budget_seconds: Time limit. Runs that do not fit are left out, and their rows say so.
        measure: Measure the speed of this machine for the estimates.
        unlock_test: Allow a second look at the test part, for a newly chosen learning rate.
        tell: Called with a line for each step.
        write: Writes tables, figures and report into a folder, and returns the report's path.
    """
    from tunebench.execution.plan import make_plan
    from tunebench.execution.runner import Job
    from tunebench.execution.search import chosen_rates, run_search
    from tunebench.execution.test_part import locked_runs, score_selected
    from tunebench.execution.tracking import track_study

    plan = make_plan(
        study,
        execution=execution,
        folder=folder,
        budget_seconds=budget_seconds,
        measure=measure,
        on_progress=tell,
    )
    study = plan.study
    executor.prepare(plan.dataset, _open(plan), plan.estimates)
    store = StudyStore.create(folder, study, _planned(plan))
    if not _audited(store, tell):
        tell("auditing the data")
        found = audit_data(
            plan.dataset,
            study.model,
            study.max_length,
            revision=study.model_revision,
            copies=_held_out(plan),
            together=study.copies,
        )
        write_json(store.audit_file, found.to_dict())
    # Of all the study may hold: a rate added today makes yesterday's choice one among several.
    locked = locked_runs([p.spec for p in store.planned()])
    trackers = stack.enter_context(
        track_study(execution.trackers, study, store=store, display=display, tell=display.message)
    )
    job = Job(store, plan.dataset, execution, trackers.display, executor.train, _seconds(plan), locked=locked)
    searched = Summary()
    if study.search.method == "halving":
        trials = [spec for spec in _open(plan) if spec.run_id in locked]
        began = time.monotonic()
        searched = run_search(trials, job, search=study.search)
        if not searched.interrupted:
            plan = make_plan(
                study,
                execution=execution,
                folder=folder,
                budget_seconds=budget_seconds,
                spent_seconds=time.monotonic() - began,
                # Again where seeds follow, since the budget goes by it: what is not measured may be far off.
                measure=measure and len(study.draws) > 1,
                chosen=chosen_rates(store),
                on_progress=tell,
            )
            executor.prepare(plan.dataset, _open(plan), plan.estimates)
            store = StudyStore.create(folder, study, _planned(plan))
            locked = locked_runs([p.spec for p in store.planned()])
            job = replace(job, store=store, estimates=_seconds(plan), locked=locked)
    if searched.interrupted:
        summary = searched
    else:
        failed = set(searched.failed)
        rest = [spec for spec in _open(plan) if spec.run_id not in failed]
        summary = executor.run(rest, job)
        summary.failed = [*searched.failed, *summary.failed]
        summary.complete = [*searched.complete, *summary.complete]
    if not summary.interrupted:
        score_selected(
            store,
            dataset=plan.dataset,
            execution=execution,
            unlock=unlock_test,
            tell=tell,
        )
    comparison = load_comparison(folder)
    if not any(cell.status in ("pending", "running") for cell in comparison.cells):
        shutil.rmtree(store.prefixes, ignore_errors=True)
    report = write(comparison, folder)
    trackers.wrap_up(summary, files=[store.study_file, store.plan_file, report])
    return StudyResult(comparison, report, summary)


def _audited(store: StudyStore, tell: Callable[[str], None]) -> bool:
    """Tell whether the data's audit is there and sound; a damaged one is set aside."""
    try:
        return store.audit() is not None
    except StoreError as error:
        tell(f"{error}\n  set aside as {set_aside(store.audit_file).name}")
        return False


def _open(plan: Plan) -> list[RunSpec]:
    return [run.spec for run in plan.runs if run.left_out is None]


def _held_out(plan: Plan) -> HeldOutCopies | None:
    """Describe the test part that the plan's runs hold out, if they do."""
    from tunebench.data.copies import held_out_copies

    spec = plan.runs[0].spec
    return held_out_copies(plan.dataset, spec.test_draw, spec.test_size, splits=spec.splits)


def _seconds(plan: Plan) -> dict[str, float]:
    return {run_id: estimate.seconds for run_id, estimate in plan.estimates.items()}


def _planned(plan: Plan) -> list[PlannedRun]:
    """Return the plan's runs with their estimates, for whoever watches the folder."""
    seconds = _seconds(plan)
    return [replace(run, seconds=seconds.get(run.spec.run_id)) for run in plan.runs]


def audit_data(
    dataset: Any,
    model: str,
    max_length: int,
    *,
    revision: str | None = None,
    copies: HeldOutCopies | None,
    together: Copies = "together",
) -> Audit:
    """Audit a loaded data set, counting tokens with a model's tokenizer."""
    from tunebench.data.audit import audit
    from tunebench.data.tokens import tokenize, tokenizer_fingerprint
    from tunebench.files import default_cache_dir
    from tunebench.models.loading import load_tokenizer, model_folder

    tokenizer = load_tokenizer(model_folder(model, revision))
    fingerprint = tokenizer_fingerprint(tokenizer)
    tokens = {
        name: tokenize(
            split.texts,
            tokenizer=tokenizer,
            tokenizer_fingerprint=fingerprint,
            max_length=None,
            cache_dir=default_cache_dir(),
        )
        for name, split in dataset.splits.items()
    }
    return audit(dataset, tokens=tokens, max_length=max_length, held_out=copies, copies=together)
