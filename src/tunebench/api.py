"""What the command line calls, and what a script may: whole jobs as one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.data.reference import DataConfig
from tunebench.errors import StoreError
from tunebench.execution.study import StudyResult, audit_data, run_with
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig

if TYPE_CHECKING:
    from tunebench.data.audit import Audit
    from tunebench.execution.display import Display
    from tunebench.execution.known import Known


def run_study(
    study: StudyConfig,
    folder: Path | str,
    *,
    execution: Execution | None = None,
    display: Display | None = None,
    budget_seconds: float | None = None,
    measure: bool = True,
    unlock_test: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    known: Known | None = None,
) -> StudyResult:
    """Plan a study, run or resume it, and write tables, figures and report.

    Args:
        study: The study.
        folder: Where everything is written.
        execution: Device and threads; by default what the machine has.
        display: Shows the progress; by default bars on a terminal, and plain lines elsewhere.
        budget_seconds: Most seconds it may take; runs that do not fit are left out, and named.
        measure: Measure speed for the estimates.
        unlock_test: Score a newly chosen learning rate although the test part was opened for another.
        tell: Told what is being done before training begins.
        known: What was read and measured of the same data before; what is new is added.

    Raises:
        TunebenchError: Something is wrong; raised before the first step.
    """
    from tunebench.execution.display import make_display
    from tunebench.execution.executors import make_executor
    from tunebench.execution.known import Known
    from tunebench.execution.resolve import Request
    from tunebench.execution.tracking import check_trackers

    execution = Execution() if execution is None else execution
    check_trackers(execution.trackers)
    request = Request(
        execution=execution,
        folder=Path(folder),
        budget_seconds=budget_seconds,
        measure=measure,
        tell=tell,
        known=Known() if known is None else known,
    )
    with make_executor(execution) as executor, ExitStack() as open_until_the_end:
        return run_with(
            study,
            request,
            executor,
            open_until_the_end,
            display=make_display() if display is None else display,
            unlock_test=unlock_test,
            write=lambda comparison, place: _write_report(comparison, place, run_figures=True),
        )


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
    from tunebench.execution.plan import make_plan

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
            "settings": {name: getattr(run.spec, name) for name in run.spec.tuned},
            "seed": run.spec.seed,
            "fold": None if not run.spec.folds else run.spec.fold or "all",
            "truncation": run.spec.truncation,
            **vars(plan.estimates[run.spec.run_id]),
            "left_out": run.left_out,
        }
        for run in plan.runs
    ]


def import_runs(folders: Sequence[Path], *, folder: Path, settings: Sequence[str] = ()) -> Comparison:
    """Import output folders of other Trainer scripts as a study; see docs/importing.md.

    Args:
        folders: One for each run.
        folder: The study's folder: a new one, or an empty one.
        settings: What the folders do not say, as ``KEY=VALUE`` or ``FOLDER:KEY=VALUE``.

    Returns:
        The comparison of all runs.

    Raises:
        TunebenchError: Everything that is wrong, together. Nothing is written then.
    """
    from tunebench.importing import import_folders

    return import_folders(folders, out=folder, settings=settings)


def write_report(folder: Path, *, run_figures: bool | None = None) -> Path:
    """Write tables, figures, ``report.md`` and ``report.html`` of a study, and return the latter's path.

    Args:
        folder: The study's folder.
        run_figures: Draw missing figures of single runs; by default if there are few runs.
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

    If there is no test split, the audit uses the test part that a study holds out by default.

    Args:
        source: Packaged name, Hub name, file or folder; or these with settings.
        model: The model whose tokenizer counts tokens.
        max_length: Number of tokens that training would keep.

    Raises:
        TunebenchError: Data or model cannot be read.
    """
    from tunebench.data import load_dataset
    from tunebench.data.copies import held_out_copies
    from tunebench.data.cut import test_count
    from tunebench.data.rules import split_ref

    dataset = load_dataset(DataConfig(source=source) if isinstance(source, str) else source)
    seed = StudyConfig.model_fields["subset_seed"].get_default()[0]
    splits = split_ref(dataset, validates=True)
    count = test_count(dataset, size=None, limit=None, seed=seed, splits=splits, copies="together")
    return audit_data(
        dataset, [(model, None)], max_length, copies=held_out_copies(dataset, seed, count, splits=splits)
    )
