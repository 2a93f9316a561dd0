"""``run``, ``status`` and ``discard-weights``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunebench.cli.app import (
    AnyFolderArgument,
    DeviceOption,
    FolderArgument,
    JsonOption,
    StudyArgument,
    app,
    check_device,
)
from tunebench.cli.console import err, out, print_json, print_rows, tell
from tunebench.cli.plans import print_looks, print_plan, print_search
from tunebench.cli.run_options import (
    BudgetOption,
    DataOption,
    DryRunOption,
    ExecutorOption,
    KeepMemoryOption,
    MeasureOption,
    ModelOption,
    OutOption,
    PlanOptions,
    PrefixCacheOption,
    ProcessesOption,
    RayAddressOption,
    RunOptions,
    RunThreadsOption,
    SetOption,
    TrackerOption,
    UnlockTestOption,
    WorkersOption,
    check_executor,
    parse_workers,
)
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import command, counted

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig
    from tunebench.study.suite import Suite


@app.command(
    epilog="Example: tunebench run quickstart --set epochs=2 --out out/quick --budget 30m; "
    "tunebench run out/quick resumes it; tunebench run suite.yaml --dry-run"
)
def run(
    study: StudyArgument,
    model: ModelOption = None,
    data: DataOption = None,
    set_: SetOption = None,
    out_dir: OutOption = None,
    dry_run: DryRunOption = False,
    budget: BudgetOption = None,
    device: DeviceOption = "auto",
    threads: RunThreadsOption = None,
    workers: WorkersOption = "1",
    processes: ProcessesOption = 1,
    executor: ExecutorOption = None,
    ray_address: RayAddressOption = None,
    tracker: TrackerOption = None,
    measure: MeasureOption = True,
    unlock_test: UnlockTestOption = False,
    prefix_cache: PrefixCacheOption = "2GB",
    keep_memory: KeepMemoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Run a study, or resume it: complete runs are skipped, the others continue from their last checkpoint.

    A file whose data is a list is a suite: the same study on each data set, and an answer over all of them.
    """
    from tunebench.formatting import parse_duration, parse_size
    from tunebench.machine.settings import Execution
    from tunebench.study.suite import Suite, check_suite, is_suite
    from tunebench.study.yaml_file import check_study, read_study

    changes = [name for name, value in (("--model", model), ("--data", data), ("--set", set_)) if value]
    begun = _begun_study(study, changes, out_dir)
    raw = {} if begun else read_study(study, overrides=set_ or [], model=model, data=data)
    config = begun or (check_suite(raw) if is_suite(raw) else check_study(raw))
    check_device(device)
    check_executor(executor)
    execution = Execution(
        device=device,
        threads=threads,
        workers=parse_workers(workers),
        processes=processes,
        executor=executor,
        ray_address=ray_address,
        trackers=tuple(dict.fromkeys(tracker or ())),
        prefix_cache=parse_size(prefix_cache),
        keep_memory=keep_memory,
    )
    seconds = None if budget is None else parse_duration(budget)
    plan: PlanOptions = {"execution": execution, "budget_seconds": seconds, "measure": measure}
    options = RunOptions(plan, unlock_test, dry_run, json_)
    folder = Path(study) if begun else out_dir or Path("out") / config.name
    if isinstance(config, Suite):
        from tunebench.cli.suite import run_suite_command

        run_suite_command(config, folder, options)
    elif dry_run:
        _print_plan(config, folder, options)
    else:
        _run_study(config, folder, options)


def _print_plan(study: StudyConfig, folder: Path, options: RunOptions) -> None:
    """Print the plan of a study."""
    from tunebench.execution.dry_run import dry_run_rows

    found = dry_run_rows(study, folder=folder, tell=tell, **options.plan)
    print_plan(found, as_json=options.json)
    if not options.json:
        print_looks(found, study)
        print_search(study, found)


def _run_study(study: StudyConfig, folder: Path, options: RunOptions) -> None:
    """Run a study, and say how it ended."""
    from tunebench.analysis.analysis import analyse
    from tunebench.api import run_study
    from tunebench.execution.display import make_display
    from tunebench.report.words import closing_lines

    display = make_display(budget=options.plan["budget_seconds"], silent=options.json)
    result = run_study(
        study,
        folder=folder,
        unlock_test=options.unlock_test,
        display=display,
        tell=display.message,
        **options.plan,
    )
    if options.json:
        print_json(result.comparison.rows())
    else:
        for line in closing_lines(analyse(result.comparison), folder, result.report):
            out.print(line, markup=False)
    summary = result.summary
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed:
        err.print(f"{counted(len(summary.failed), 'run')} failed: {command('status', folder)}", markup=False)
        raise typer.Exit(1)


def _begun_study(study: str, changes: list[str], out_dir: Path | None) -> StudyConfig | Suite | None:
    """Return the study or suite inside a folder that is given in a study's place; None where none is."""
    from tunebench.store.imported import ImportedStudy
    from tunebench.store.study_folder import StudyStore
    from tunebench.store.suite_folder import SuiteStore
    from tunebench.study.suite import load_suite
    from tunebench.study.yaml_file import presets

    store, suite = StudyStore(Path(study)), SuiteStore(Path(study))
    if study in presets() or not (store.plan_file.exists() or suite.there):
        return None
    given = [*changes, *(["--out"] if out_dir is not None else [])]
    file = suite.suite_file if suite.there else store.study_file
    if given:
        raise ConfigError(
            "A folder goes on with the study inside it, as it is.",
            value=" ".join(given),
            fix=f"{command('run', study)}; or give {file} with these options",
        )
    if suite.there:
        return load_suite(str(suite.suite_file))
    found = store.study()
    if isinstance(found, ImportedStudy):
        raise StoreError("The folder holds imported runs; nothing can be trained in it.", value=study)
    return found


@app.command(epilog="Example: tunebench status out/quickstart --json")
def status(folder: AnyFolderArgument, json_: JsonOption = False) -> None:
    """Show the state of every run of a study, or of every data set of a suite."""
    from tunebench.store.imported import is_imported
    from tunebench.store.study_folder import StudyStore
    from tunebench.store.suite_folder import SuiteStore, suite_status

    suite, imported = SuiteStore(folder), False
    if suite.there:
        rows = suite_status(suite)
    else:
        cells = StudyStore.open(folder).cells()
        imported = any(is_imported(cell.spec) for cell in cells)
        rows = [{"run_id": c.spec.run_id, "status": c.status, "error": c.reason} for c in cells]
    if json_:
        print_json(rows)
        return
    print_rows(rows)
    counts = Counter(row["status"] for row in rows)
    out.print(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
    if not imported and set(counts) - {"complete", "pruned", "left_out", "running"}:
        out.print(f"{command('run', folder)} trains what is pending, and trains again what failed.", markup=False)


@app.command(epilog="Example: tunebench discard-weights out/quickstart")
def discard_weights(
    folder: FolderArgument,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also delete weights of runs that are not scored on test yet. They can then never be scored.",
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Delete the trained weights of a study. Records, predictions and tables stay, and runs stay complete."""
    from tunebench.store.discard import discard_weights as discard

    found = discard(folder, everything=everything)
    if json_:
        print_json(asdict(found))
        return
    if found.runs:
        out.print(f"Weights of {counted(len(found.runs), 'run')} deleted, {found.bytes / 1e6:,.0f} MB.")
    else:
        out.print("No weights deleted.")
    if found.unscored:
        out.print(
            f"Kept: those of {counted(len(found.unscored), 'run')} that were not scored on test yet "
            "(--all deletes them, too)."
        )
