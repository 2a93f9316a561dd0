"""What the command line calls, and what a script may: whole jobs as one function each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.comparison import Comparison
from tunebench.config import Copies, DataConfig, Execution, StudyConfig
from tunebench.errors import StoreError
from tunebench.files import set_aside, write_json
from tunebench.spec import RunSpec
from tunebench.store import PlannedRun, StudyStore

if TYPE_CHECKING:
    from tunebench.data.audit import Audit
    from tunebench.data.copies import HeldOutCopies
    from tunebench.executors import Executor
    from tunebench.plan import Plan
    from tunebench.progress import Display
    from tunebench.runner import Summary


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


def run_study(
    study: StudyConfig,
    *,
    folder: Path,
    execution: Execution,
    display: Display,
    budget_seconds: float | None = None,
    measure: bool = True,
    unlock_test: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> StudyResult:
    """Plan, run (or go on), and write tables, figures and report.

    Args:
        study: The study.
        folder: Where everything is written.
        execution: Device and threads.
        display: Shows the progress.
        budget_seconds: What does not fit is left out and said so.
        measure: Measure speed for the estimates.
        unlock_test: Score a newly chosen learning rate although the test part was opened for another.
        tell: Told what is being done before training begins.

    Raises:
        TunebenchError: Anything that is wrong, before the first step.
    """
    from tunebench.executors import make_executor
    from tunebench.tracking import check_trackers

    check_trackers(execution.trackers)
    with make_executor(execution) as executor, ExitStack() as open_until_the_end:
        return _run_study(
            study,
            executor,
            open_until_the_end,
            folder=folder,
            execution=execution,
            display=display,
            budget_seconds=budget_seconds,
            measure=measure,
            unlock_test=unlock_test,
            tell=tell,
        )


def _run_study(
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
) -> StudyResult:
    from tunebench.data.copies import held_out_copies
    from tunebench.plan import make_plan
    from tunebench.runner import Job, Summary
    from tunebench.scoring import locked_runs, score_selected
    from tunebench.search import chosen_rates, run_search
    from tunebench.tracking import track_study

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
        found = _audit(
            plan.dataset,
            study.model,
            study.max_length,
            revision=study.model_revision,
            copies=held_out_copies(plan.dataset, study.test_draw, study.test_size),
            together=study.copies,
        )
        write_json(store.audit_file, found.to_dict())
    # Of all the study may hold: a rate added today makes yesterday's choice one among several.
    execution = execution.model_copy(update={"locked": locked_runs([p.spec for p in store.planned()])})
    trackers = stack.enter_context(
        track_study(execution.trackers, study, store=store, display=display, tell=display.message)
    )
    job = Job(store, plan.dataset, execution, trackers.display, executor.train, _seconds(plan))
    searched = Summary()
    if study.search.method == "halving":
        trials = [spec for spec in _open(plan) if spec.run_id in execution.locked]
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
            execution = execution.model_copy(update={"locked": locked})
            job = replace(job, store=store, execution=execution, estimates=_seconds(plan))
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
            load_comparison(folder),
            store=store,
            dataset=plan.dataset,
            execution=execution,
            unlock=unlock_test,
            tell=tell,
        )
    comparison = load_comparison(folder)
    if not any(cell.status in ("pending", "running") for cell in comparison.cells):
        shutil.rmtree(store.prefixes, ignore_errors=True)
    report = _write_report(comparison, folder, run_figures=True)
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


def _seconds(plan: Plan) -> dict[str, float]:
    return {run_id: estimate.seconds for run_id, estimate in plan.estimates.items()}


def _planned(plan: Plan) -> list[PlannedRun]:
    """Return the plan's runs with their estimates, for whoever watches the folder."""
    seconds = _seconds(plan)
    return [replace(run, seconds=seconds.get(run.spec.run_id)) for run in plan.runs]


def dry_run_rows(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Check a study and estimate every cell, writing nothing; see :func:`run_study`."""
    from tunebench.plan import make_plan

    plan = make_plan(
        study,
        execution=execution,
        folder=folder,
        budget_seconds=budget_seconds,
        measure=measure,
        on_progress=tell,
    )
    return [
        {
            "run_id": run.spec.run_id,
            "strategy": run.spec.label,
            "train_size": run.spec.train_size,
            "learning_rate": run.spec.shown_learning_rate,
            "seed": run.spec.seed,
            "truncation": run.spec.truncation,
            **vars(plan.estimates[run.spec.run_id]),
            "left_out": run.left_out,
        }
        for run in plan.runs
    ]


def load_comparison(folder: Path) -> Comparison:
    """Load a study's cells for tables and figures; needs no torch.

    Raises:
        StoreError: No study is there, or its files are damaged.
    """
    store = StudyStore.open(folder)
    audit, study = store.audit(), store.study()
    return Comparison.from_cells(
        store.cells(), name=study.name, audit=audit, margin=study.margin, pairs=study.pairs
    )


def import_runs(folders: Sequence[Path], *, folder: Path, settings: Sequence[str] = ()) -> Comparison:
    """Make a study of folders that other Trainer scripts left; see docs/importing.md.

    Args:
        folders: One a run.
        folder: Where the study goes: a new folder, or an empty one.
        settings: ``KEY=VALUE`` or ``FOLDER:KEY=VALUE``: what the folders do not say.

    Returns:
        The comparison of all runs.

    Raises:
        TunebenchError: Everything that is wrong; nothing has been written then.
    """
    from tunebench.importing import import_folders

    return import_folders(folders, out=folder, settings=settings)


def write_report(folder: Path, *, run_figures: bool | None = None) -> Path:
    """Write tables, figures, ``report.md`` and ``report.html`` of a study, and return the latter's path.

    Args:
        folder: The study's folder.
        run_figures: Draw figures of single runs that are missing; by default where there are few runs.
    """
    return _write_report(load_comparison(folder), folder, run_figures=run_figures)


def _write_report(comparison: Comparison, folder: Path, *, run_figures: bool | None = None) -> Path:
    from tunebench.report import write_all

    try:
        return write_all(comparison, folder, run_figures=run_figures)
    except OSError as error:
        raise StoreError(f"The report cannot be written: {error}", value=str(folder)) from None


def audit_source(source: str | DataConfig, *, model: str, max_length: int) -> Audit:
    """Load and audit a data set, counting tokens with a model's tokenizer.

    Where there is no test split, the test part is taken that a study holds out by default.

    Args:
        source: Packaged name, Hub name, file or folder; or these with settings.
        model: Whose tokenizer counts.
        max_length: Tokens that training would keep.

    Raises:
        TunebenchError: Data or model cannot be read.
    """
    from tunebench.data import load_dataset
    from tunebench.data.copies import held_out_copies

    dataset = load_dataset(DataConfig(source=source) if isinstance(source, str) else source)
    seed = StudyConfig.model_fields["subset_seed"].get_default()[0]
    return _audit(dataset, model, max_length, copies=held_out_copies(dataset, seed, None))


def _audit(
    dataset: Any,
    model: str,
    max_length: int,
    *,
    revision: str | None = None,
    copies: HeldOutCopies | None,
    together: Copies = "together",
) -> Audit:
    from tunebench.data.audit import audit
    from tunebench.data.tokens import default_cache_dir, tokenize, tokenizer_fingerprint
    from tunebench.models import load_tokenizer, model_folder

    tokenizer = load_tokenizer(model_folder(model, revision))
    fingerprint = tokenizer_fingerprint(tokenizer)
    splits = {"train": dataset.train} | ({} if dataset.test is None else {"test": dataset.test})
    tokens = {
        name: tokenize(
            split.texts,
            tokenizer=tokenizer,
            tokenizer_fingerprint=fingerprint,
            max_length=None,
            cache_dir=default_cache_dir(),
        )
        for name, split in splits.items()
    }
    return audit(dataset, tokens=tokens, max_length=max_length, held_out=copies, copies=together)
