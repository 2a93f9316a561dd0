"""What the command line calls, and what a script may: whole jobs as one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.analysis.comparison import Comparison
from tunebench.data.reference import DataConfig
from tunebench.errors import StoreError
from tunebench.execution.looks import read_results
from tunebench.execution.study import StudyResult, run_with
from tunebench.files import write_text
from tunebench.formatting import csv_text
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import load_study

if TYPE_CHECKING:
    from tunebench.data.audit_result import Audit
    from tunebench.execution.display import JobDisplay
    from tunebench.execution.known import Known
    from tunebench.execution.suite import SuiteResult
    from tunebench.importing.join import Joined
    from tunebench.importing.matching import Match
    from tunebench.study.suite import Suite


def run_study(
    study: StudyConfig | Path | str,
    folder: Path | str,
    *,
    execution: Execution | None = None,
    display: JobDisplay | None = None,
    budget_seconds: float | None = None,
    deadline: float | None = None,
    measure: bool = True,
    unlock_test: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    known: Known | None = None,
) -> StudyResult:
    """Plan a study, run or resume it, and write tables, figures and report.

    Args:
        study: The study, or the name of a preset or a YAML file that holds it.
        folder: Where everything is written.
        execution: Device and threads; by default what the machine has.
        display: Shows the progress; by default a live view on a terminal, and plain lines elsewhere.
        budget_seconds: Most seconds it may take by the estimates; runs that do not fit are left out, and named.
        deadline: When a run that has begun is stopped with a checkpoint (``time.monotonic()``), once another one is
            complete; what is open is left out, and named. By default runs that have begun are completed.
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
    from tunebench.execution.split import settle_workers
    from tunebench.execution.tracking import check_trackers

    execution = Execution() if execution is None else execution
    check_trackers(execution.trackers)
    study = load_study(str(study)) if isinstance(study, (str, Path)) else study
    shown = make_display(budget=budget_seconds) if display is None else display
    request = Request(
        execution=execution,
        folder=Path(folder),
        budget_seconds=budget_seconds,
        deadline=deadline,
        measure=measure,
        # A budget goes by what is measured, and so does the memory that Ray is asked for.
        derive_short=budget_seconds is None and execution.executor != "ray",
        tell=tell,
        doing=shown.stage,
        known=Known() if known is None else known,
    )
    with ExitStack() as open_until_the_end:
        open_until_the_end.callback(shown.stop)
        request = settle_workers(study, request)
        executor = open_until_the_end.enter_context(make_executor(request.execution))
        return run_with(
            study,
            request,
            executor,
            open_until_the_end,
            display=shown,
            unlock_test=unlock_test,
            write=lambda comparison, place: _write_report(comparison, place, run_figures=True),
        )


def run_suite(
    suite: Suite | Path | str,
    folder: Path | str,
    *,
    execution: Execution | None = None,
    display: JobDisplay | None = None,
    budget_seconds: float | None = None,
    measure: bool = True,
    unlock_test: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> SuiteResult:
    """Plan the studies of all data sets of a suite, run or resume them, and write the suite's report.

    Args:
        suite: The suite, or a YAML file that holds it.
        folder: Where everything is written.
        execution: Device and threads; by default what the machine has.
        display: Shows the progress; by default a live view on a terminal, and plain lines elsewhere.
        budget_seconds: Most seconds that all data sets may take together.
        measure: Measure speed for the estimates.
        unlock_test: Score a newly chosen learning rate although the test part was opened for another.
        tell: Told what is being done.

    Raises:
        TunebenchError: Something is wrong with one of the data sets; raised before the first step of any.
    """
    from tunebench.execution.display import make_display
    from tunebench.execution.resolve import Request
    from tunebench.execution.suite import run_planned
    from tunebench.execution.suite_plan import plan_suite
    from tunebench.store.suite_folder import SuiteStore
    from tunebench.study.suite import load_suite

    suite = load_suite(str(suite)) if isinstance(suite, (str, Path)) else suite
    folder, execution = Path(folder), Execution() if execution is None else execution
    display = make_display() if display is None else display
    request = Request(execution=execution, budget_seconds=budget_seconds, measure=measure, tell=tell)
    planned = plan_suite(suite, folder, request)
    store = SuiteStore(folder)
    if kept := store.create(suite, [one.member for one in planned]):
        tell(f"the folder also holds {', '.join(kept)}, which the suite no longer names; they stay in its report")
    result = run_planned(
        planned,
        store,
        partial(run_study, execution=execution, display=display, unlock_test=unlock_test),
        budget_seconds=budget_seconds,
        measure=measure,
        tell=tell,
    )
    result.report = write_suite_report(folder)
    return result


def import_runs(
    folders: Sequence[Path],
    *,
    folder: Path,
    settings: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Import output folders of other Trainer scripts as a study; see docs/importing.md.

    Args:
        folders: One for each run.
        folder: The study's folder: a new one, or an empty one.
        settings: What the folders do not say, as ``KEY=VALUE`` or ``FOLDER:KEY=VALUE``.
        tell: Told which folders are passed over, as they hold nothing of a run.

    Returns:
        The comparison of all runs.

    Raises:
        TunebenchError: Everything that is wrong, together. Nothing is written then.
    """
    from tunebench.importing import import_folders

    return import_folders(folders, out=folder, settings=settings, tell=tell)


def import_answers(
    file: Path,
    study: Path,
    *,
    strategy: str | None = None,
    match: Match | None = None,
    column: str | None = None,
    seconds: float | None = None,
    price: str | None = None,
) -> Joined:
    """Let another model's answers to the test texts of a study stand beside its strategies; see docs/importing.md.

    Args:
        file: A table with an answer for each test text.
        study: Folder of the study.
        strategy: What the answers are called; by default as the file.
        match: By what rows are matched with texts: their row number, the text, or the order.
        column: Name of the column of answers.
        seconds: All answers together took.
        price: Of all answers together, such as ``1.94 USD``; the currency is only a label.

    Returns:
        What they are called, where they stand, and their scores.

    Raises:
        TunebenchError: What is wrong. Nothing is written then.
    """
    from tunebench.importing.join import join_answers

    return join_answers(file, study, label=strategy, match=match, column=column, seconds=seconds, price=price)


def write_test_texts(study: Path, out: Path) -> int:
    """Write the test texts of a study to a CSV file, each with its row and without its label.

    Returns:
        How many there are.

    Raises:
        StoreError: No run of the study was scored yet, the file is there already, or it cannot be written.
        DataError: The data is not what the study was made with.
    """
    from tunebench.data.text import by_side
    from tunebench.importing.test_part import ROW, study_texts

    if out.exists():
        raise StoreError("This file is there already.", value=str(out), fix="choose another --out")
    found = study_texts(study)
    rows = zip((found.rows + 1).tolist(), *by_side(found.texts), strict=True)
    try:
        write_text(out, csv_text([ROW, *found.columns], rows))
    except OSError as error:
        raise StoreError(
            f"The file cannot be written: {error.strerror}", value=str(out), fix="choose another --out"
        ) from None
    return len(found.texts)


def write_report(folder: Path, *, run_figures: bool | None = None) -> Path:
    """Write tables, figures, ``report.md`` and ``report.html`` of a study, and return the latter's path.

    Args:
        folder: The study's folder.
        run_figures: Draw missing figures of single runs; by default if there are few runs.
    """
    return _write_report(read_results(folder), folder, run_figures=run_figures)


def compare_studies(folders: Sequence[Path], out: Path) -> Path:
    """Write a report with several finished studies side by side, and return its path.

    Args:
        folders: Of the studies, two or more.
        out: Where tables, figures and report are written: a new folder, or that of an earlier comparison.

    Raises:
        StoreError: The studies differ in data or protocol, or ``out`` holds a study.
    """
    from tunebench.analysis.side_by_side import load_side_by_side
    from tunebench.store.study_folder import StudyStore
    from tunebench.store.suite_folder import SuiteStore

    if StudyStore(out).plan_file.exists() or SuiteStore(out).there:
        raise StoreError(
            "This folder holds a study; a comparison of several needs its own.",
            value=str(out),
            fix="choose another --out",
        )
    return _write_report(load_side_by_side(folders), out, run_figures=False)


def add_to_leaderboard(folder: Path, board: Path, *, by: str, url: str | None = None, note: str = "") -> list[str]:
    """Add the selected runs of a study, or of all studies of a suite, to a leaderboard; return the entries' names.

    Args:
        folder: Of the study or the suite.
        board: Of the leaderboard; made if there is none.
        by: Who adds it.
        url: Where more is to be read.
        note: What a reader should know.

    Raises:
        TunebenchError: Nothing can be added, or what is said of it does not have the schema.
    """
    from tunebench.analysis.board import add_study
    from tunebench.store.suite_folder import SuiteStore

    suite = SuiteStore(folder)
    studies = list(suite.studies().values()) if suite.there else [folder]
    return [name for study in studies for name in add_study(study, board, by=by, url=url, note=note)]


def write_leaderboard(board: Path, *, title: str | None = None) -> tuple[Path, dict[str, str]]:
    """Write the page of a leaderboard; return its path, and why entries are left out.

    Args:
        board: The folder.
        title: Of the page; by default the folder's name.
    """
    from tunebench.analysis.board import load_boards
    from tunebench.report.board import write_board

    boards, refused = load_boards(board)
    return write_board(boards, refused, board, title=title or board.resolve().name), refused


def write_suite_report(folder: Path, *, studies: bool = False, run_figures: bool | None = None) -> Path:
    """Write tables and ``report.html`` over the data sets of a suite, and return the latter's path.

    Args:
        folder: The suite's folder.
        studies: Also write the reports of its studies again.
        run_figures: Draw missing figures of their single runs; by default if there are few runs.
    """
    from tunebench.analysis.load_suite import load_suite_analysis
    from tunebench.report.suite import write_suite
    from tunebench.store.suite_folder import SuiteStore

    for study in SuiteStore(folder).studies().values() if studies else ():
        write_report(study, run_figures=run_figures)
    try:
        return write_suite(load_suite_analysis(folder), folder)
    except OSError as error:
        raise StoreError(f"The report cannot be written: {error}", value=str(folder)) from None


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
    from tunebench.execution.auditing import audit_data

    dataset = load_dataset(DataConfig(source=source) if isinstance(source, str) else source)
    seed = StudyConfig.model_fields["subset_seed"].get_default()[0]
    splits = split_ref(dataset, validates=True)
    count = test_count(dataset, size=None, limit=None, seed=seed, splits=splits, copies="together")
    return audit_data(
        dataset, [(model, None)], max_length, copies=held_out_copies(dataset, seed, count, splits=splits)
    )
