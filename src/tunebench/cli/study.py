"""``run``, ``status`` and ``discard-weights``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebench.cli.app import FolderArgument, JsonOption, StudyArgument, app, check_device
from tunebench.cli.console import err, out, print_json, print_rows, tell
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import command, duration

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig


@app.command(
    epilog="Example: tunebench run quickstart --set epochs=2 --out out/quick --budget 30m; "
    "tunebench run out/quick resumes it"
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
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
    """Run a study, or resume it: complete runs are skipped, the others continue from their last checkpoint."""
    from tunebench.analysis.analysis import analyse
    from tunebench.api import dry_run_rows, run_study
    from tunebench.execution.display import make_display
    from tunebench.formatting import parse_duration, parse_size
    from tunebench.machine.settings import Execution
    from tunebench.report.words import closing_lines
    from tunebench.study.yaml_file import load_study

    changes = [name for name, value in (("--model", model), ("--data", data), ("--set", set_)) if value]
    begun = _begun_study(study, changes, out_dir)
    config = begun or load_study(study, overrides=set_ or [], model=model, data=data)
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
    if dry_run:
        rows = dry_run_rows(
            config, execution=execution, folder=folder, budget_seconds=seconds, measure=measure, tell=tell
        )
        _print_plan(rows, as_json=json_)
        if config.search.method == "halving" and not json_:
            then = f"Then {len(config.draws) - 1} more at each chosen setting."
            if config.folds:
                then = "Then the other folds and seeds, and the runs on all texts, at what it chooses."
            out.print(f"At most: the search stops runs early. {then}")
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


def _begun_study(study: str, changes: list[str], out_dir: Path | None) -> StudyConfig | None:
    """Return the study inside a folder that is given in a study's place; None where none is."""
    from tunebench.store.imported import ImportedStudy
    from tunebench.store.study_folder import StudyStore
    from tunebench.study.yaml_file import presets

    store = StudyStore(Path(study))
    if study in presets() or not store.plan_file.exists():
        return None
    given = [*changes, *(["--out"] if out_dir is not None else [])]
    if given:
        raise ConfigError(
            "A folder goes on with the study inside it, as it is.",
            value=" ".join(given),
            fix=f"{command('run', study)}; or give {store.study_file} with these options",
        )
    found = store.study()
    if isinstance(found, ImportedStudy):
        raise StoreError("The folder holds imported runs; nothing can be trained in it.", value=study)
    return found


@app.command(epilog="Example: tunebench status out/quickstart --json")
def status(folder: FolderArgument, json_: JsonOption = False) -> None:
    """Show the state of every run of a study."""
    from tunebench.store.study_folder import StudyStore

    cells = StudyStore.open(folder).cells()
    rows = [{"run_id": c.spec.run_id, "status": c.status, "error": c.reason} for c in cells]
    if json_:
        print_json(rows)
        return
    print_rows(rows)
    counts = {s: sum(c.status == s for c in cells) for s in dict.fromkeys(c.status for c in cells)}
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


def _print_plan(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    tuned = dict.fromkeys(name for row in rows for name in row["settings"])
    folded = any(row["fold"] is not None for row in rows)
    cut = any(row["truncation"] != "head" for row in rows)
    shown = [
        {
            "strategy": row["strategy"],
            "size": row["train_size"],
            "rate": None if row["learning_rate"] is None else f"{row['learning_rate']:g}",
            **{name: None if name not in row["settings"] else f"{row['settings'][name]:g}" for name in tuned},
            "seed": str(row["seed"]),
            **({"fold": str(row["fold"])} if folded else {}),
            **({"truncation": row["truncation"]} if cut else {}),
            "steps": row["steps"],
            "trainable": row["trainable_params"],
            "time": duration(row["seconds"]),
            "memory": f"{row['memory_bytes'] / 1e9:.1f} GB",
            "disk": f"{row['disk_bytes'] / 1e6:.0f} MB",
            "plan": "left out" if row["left_out"] else "run",
        }
        for row in rows
    ]
    print_rows(shown)
    kept = [row for row in rows if not row["left_out"]]
    total = sum(row["seconds"] for row in kept)
    how = "measured here" if rows and rows[0]["measured"] else "estimated from the arithmetic"
    out.print(f"{len(kept)} of {len(rows)} runs, about {duration(total)} ({how})")
    prefixed = [row for row in kept if row["prefix_layers"] is not None]
    if prefixed:
        size = sum(row["prefix_bytes"] for row in prefixed) / 1e6
        out.print(
            f"{len(prefixed)} runs cache frozen layers on disk: about {size:.0f} MB until the study is complete"
        )
