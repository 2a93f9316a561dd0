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
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import command

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig
    from tunebench.study.suite import Suite


@app.command(
    epilog="Example: tunebench run quickstart --set epochs=2 --out out/quick --budget 30m; "
    "tunebench run out/quick resumes it; tunebench run suite.yaml --dry-run"
)
def run(
    study: StudyArgument,
    model: Annotated[str | None, typer.Option(help="The model: a packaged name, a folder or a Hub name.")] = None,
    data: Annotated[
        str | None, typer.Option(help="The data: a packaged name, a file, a folder or a Hub name.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the study: epochs=2, data.text_column=review."),
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the results; default out/NAME.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the study and estimate its cost. Train nothing.")
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help="Time limit, such as 3h or 90m. Runs that do not fit are left out.")
    ] = None,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads for each run; default its share of the cores.", min=1, max=1024)
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Number of runs that train at the same time. They share the cores.", min=1, max=1024)
    ] = 1,
    processes: Annotated[
        int, typer.Option(help="Number of processes for each run (data parallel).", min=1, max=1024)
    ] = 1,
    executor: Annotated[
        str | None, typer.Option(help="serial, processes or ray; default processes if --workers is above 1.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; default a new one on this machine.", metavar="HOST:PORT"),
    ] = None,
    tracker: Annotated[
        list[str] | None, typer.Option(help="Also log to tensorboard, mlflow or trackio. May be repeated.")
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure the speed of this machine for the estimates.")] = True,
    unlock_test: Annotated[
        bool,
        typer.Option("--unlock-test", help="Allow a second look at the test part. Every table then reports it."),
    ] = False,
    prefix_cache: Annotated[
        str, typer.Option(help="Disk space for cached outputs of frozen layers, such as 2GB, or off.")
    ] = "2GB",
    keep_memory: Annotated[
        bool | None,
        typer.Option(
            help="Keep freed memory for the next step: faster, same results; default with the fast engine."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Run a study, or resume it: complete runs are skipped, the others continue from their last checkpoint.

    A file whose data is a list is a suite: the same study on each data set, and an answer over all of them.
    """
    from tunebench.analysis.analysis import analyse
    from tunebench.api import dry_run_rows, run_study
    from tunebench.execution.display import make_display
    from tunebench.formatting import parse_duration, parse_size
    from tunebench.machine.settings import Execution
    from tunebench.report.words import closing_lines
    from tunebench.study.suite import Suite, check_suite, is_suite
    from tunebench.study.yaml_file import check_study, read_study

    changes = [name for name, value in (("--model", model), ("--data", data), ("--set", set_)) if value]
    begun = _begun_study(study, changes, out_dir)
    raw = {} if begun else read_study(study, overrides=set_ or [], model=model, data=data)
    config = begun or (check_suite(raw) if is_suite(raw) else check_study(raw))
    check_device(device)
    if executor not in (None, "serial", "processes", "ray"):
        raise typer.BadParameter(f"{executor!r}: allowed are serial, processes, ray", param_hint="--executor")
    kept = parse_size(prefix_cache)
    execution = Execution(
        device=device,
        threads=threads,
        workers=workers,
        processes=processes,
        executor=executor,
        ray_address=ray_address,
        trackers=tuple(dict.fromkeys(tracker or ())),
        prefix_cache=kept,
        keep_memory=keep_memory,
    )
    seconds = None if budget is None else parse_duration(budget)
    folder = Path(study) if begun else out_dir or Path("out") / config.name
    if isinstance(config, Suite):
        from tunebench.cli.suite import run_suite_command

        run_suite_command(
            config,
            folder,
            dry_run=dry_run,
            json_=json_,
            unlock_test=unlock_test,
            execution=execution,
            budget_seconds=seconds,
            measure=measure,
        )
        return
    if dry_run:
        rows = dry_run_rows(
            config, execution=execution, folder=folder, budget_seconds=seconds, measure=measure, tell=tell
        )
        print_plan(rows, as_json=json_)
        if not json_:
            print_looks(rows, config)
            print_search(config)
        return
    display = make_display(budget=seconds, silent=json_)
    result = run_study(
        config,
        folder=folder,
        execution=execution,
        budget_seconds=seconds,
        measure=measure,
        unlock_test=unlock_test,
        display=display,
        tell=display.message,
    )
    if json_:
        print_json(result.comparison.rows())
    else:
        for line in closing_lines(analyse(result.comparison), folder, result.report):
            out.print(line, markup=False)
    summary = result.summary
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed:
        err.print(f"{len(summary.failed)} runs failed: {command('status', folder)}", markup=False)
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
    from tunebench.store.study_folder import StudyStore
    from tunebench.store.suite_folder import SuiteStore, suite_status

    suite = SuiteStore(folder)
    if suite.there:
        rows = suite_status(suite)
    else:
        cells = StudyStore.open(folder).cells()
        rows = [{"run_id": c.spec.run_id, "status": c.status, "error": c.reason} for c in cells]
    if json_:
        print_json(rows)
        return
    print_rows(rows)
    counts = Counter(row["status"] for row in rows)
    out.print(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))


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
    out.print(f"Weights of {len(found.runs)} runs deleted, {found.bytes / 1e6:,.0f} MB.")
    if found.unscored:
        out.print(
            f"Kept: those of {len(found.unscored)} runs that were not scored on test (--all deletes them, too)."
        )
