"""The command line: parse, one library call, print."""

from __future__ import annotations

import csv
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from tunebench import __version__
from tunebench.config import Execution
from tunebench.errors import TunebenchError
from tunebench.progress import duration, make_display

if TYPE_CHECKING:
    from tunebench.comparison import Comparison

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Compare fine-tuning strategies for text classification, controlled and honestly.",
    epilog="Start with: [bold]tunebench run quickstart[/bold]",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training on it.")
app.add_typer(data_app, name="data")
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False)

StudyArgument = Annotated[str, typer.Argument(help="A preset's name or a YAML file.", metavar="STUDY")]
FolderArgument = Annotated[Path, typer.Argument(help="A study's folder.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: tunebench run quickstart --set epochs=2 --out out/quick --budget 30m")
def run(
    study: StudyArgument,
    model: Annotated[str | None, typer.Option(help="Packaged name, Hub name or folder.")] = None,
    data: Annotated[str | None, typer.Option(help="Packaged name, Hub name, file or folder.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, dotted keys.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder; default out/NAME.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate, train nothing.")] = False,
    budget: Annotated[str | None, typer.Option(help="Leave out what does not fit: 3h, 90m.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Compute threads; default all cores.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Runs side by side; threads are split.", min=1)] = 1,
    measure: Annotated[bool, typer.Option(help="Measure speed for the estimates.")] = True,
    json_: JsonOption = False,
) -> None:
    """Run a study, or go on with it: what is complete is skipped, what is not is resumed."""
    from tunebench.api import dry_run_rows, run_study
    from tunebench.plan import parse_duration
    from tunebench.study_file import load_study

    config = load_study(study, overrides=set_ or [], model=model, data=data)
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise typer.BadParameter(f"{device!r}: allowed are auto, cpu, cuda, mps", param_hint="--device")
    if workers > 1 and threads is None:
        threads = max(1, (os.cpu_count() or 1) // workers)
    execution = Execution(device=device, threads=threads, workers=workers)
    seconds = None if budget is None else parse_duration(budget)
    folder = out_dir or Path("out") / config.name
    if dry_run:
        rows = dry_run_rows(
            config, execution=execution, folder=folder, budget_seconds=seconds, measure=measure, tell=_tell
        )
        _print_plan(rows, as_json=json_)
        return
    result = run_study(
        config,
        folder=folder,
        execution=execution,
        budget_seconds=seconds,
        measure=measure,
        display=make_display(),
        tell=_tell,
    )
    if json_:
        _json(result.comparison.rows())
    else:
        _print_tables(result.comparison, names=None, style="text")
        out.print(f"Report: {result.report}")
    summary = result.summary
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed:
        err.print(f"{len(summary.failed)} runs failed: tunebench status {folder}")
        raise typer.Exit(1)


@app.command(epilog="Example: tunebench status out/quickstart --json")
def status(folder: FolderArgument, json_: JsonOption = False) -> None:
    """Show the state of every run of a study."""
    from tunebench.store import StudyStore

    cells = StudyStore.open(folder).cells()
    rows = [{"run_id": c.spec.run_id, "status": c.status, "error": c.row["error"]} for c in cells]
    if json_:
        _json(rows)
        return
    _print_rows(rows)
    counts = {s: sum(c.status == s for c in cells) for s in dict.fromkeys(c.status for c in cells)}
    out.print(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))


@app.command(epilog="Example: tunebench results out/quickstart --csv > results.csv")
def results(
    folder: FolderArgument,
    json_: JsonOption = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print one row a run with everything measured."""
    from tunebench.api import load_comparison

    rows = load_comparison(folder).rows()
    if json_:
        _json(rows)
    elif csv_:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in rows)
    else:
        keys = ("strategy", "train_size", "learning_rate", "seed", "status", "macro_f1", "accuracy", "test_loss")
        _print_rows([{k: row[k] for k in (*keys, "train_seconds", "trainable_params")} for row in rows])


@app.command(epilog="Example: tunebench tables out/quickstart --format markdown macro_f1 time")
def tables(
    folder: FolderArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Tables; default all.")] = None,
    format_: Annotated[str, typer.Option("--format", help="text, markdown or csv.")] = "text",
) -> None:
    """Print the tables of a study."""
    from tunebench.api import load_comparison

    _print_tables(load_comparison(folder), names=names, style=format_)


@app.command(epilog="Example: tunebench report out/quickstart")
def report(folder: FolderArgument) -> None:
    """Write tables, figures and report.md of a study anew."""
    from tunebench.api import write_report

    out.print(f"Report: {write_report(folder)}")


@app.command(epilog="Example: tunebench presets")
def presets() -> None:
    """List the studies that ship with the package."""
    from tunebench.study_file import load_study
    from tunebench.study_file import presets as known

    _print_rows([{"preset": name, "description": load_study(name).description} for name in known()])


@data_app.command("audit", epilog="Example: tunebench data audit imdb-reviews --max-length 256")
def data_audit(
    source: Annotated[str, typer.Argument(help="Packaged name, Hub name, file or folder.", metavar="D")],
    model: Annotated[str, typer.Option(help="Whose tokenizer counts tokens.")] = "minilm",
    max_length: Annotated[int, typer.Option(help="Where training would cut.", min=4)] = 256,
    text_column: Annotated[str | None, typer.Option(help="Column of texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    json_: JsonOption = False,
) -> None:
    """Count classes, lengths, truncation and duplicates of a data set."""
    from tunebench.api import audit_source

    found = audit_source(
        source, model=model, max_length=max_length, text_column=text_column, label_column=label_column
    )
    if json_:
        _json(found.to_dict())
        return
    for name, split in found.splits.items():
        balance = ", ".join(f"{label} {n:,} ({split.share[label]:.1%})" for label, n in split.per_class.items())
        out.print(f"{name}: {split.examples:,} texts; {balance}", markup=False)
        for unit, lengths in (("characters", split.characters), ("tokens", split.tokens)):
            if lengths is None:
                continue
            line = f"  {unit}: median {lengths.median:,.0f}, mean {lengths.mean:,.1f}, 95 % {lengths.p95:,.0f}, "
            line += f"longest {lengths.maximum:,}"
            if lengths.truncated is not None:
                line += f"; {lengths.truncated:.1%} longer than {max_length}, mean kept {lengths.mean_kept:,.1f}"
            out.print(line)
        out.print(f"  copies of earlier texts: {split.duplicates}; with another label: {split.conflicting}")
    if found.test_in_train is not None:
        out.print(
            f"test texts that stand in train: {found.test_in_train}; with another label: {found.shared_conflicting}"
        )
    for line in found.warnings:
        out.print(f"note: {line}", markup=False)


@app.command(epilog="Example: tunebench doctor --json")
def doctor(json_: JsonOption = False) -> None:
    """Say what this machine can do, and what is missing."""
    from tunebench.doctor import examine

    found = examine(folder=Path("."))
    if json_:
        _json([vars(finding) for finding in found])
    else:
        for finding in found:
            mark = {"ok": "ok     ", "note": "note   ", "problem": "problem"}[finding.level]
            advice = f"  ({finding.advice})" if finding.advice else ""
            out.print(f"{mark} {finding.topic:<22} {finding.value}{advice}", markup=False)
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


@app.command(epilog="Example: tunebench bench --model minilm --grid")
def bench(
    model: Annotated[str, typer.Option(help="distilbert, minilm, or a model folder.")] = "distilbert",
    grid: Annotated[bool, typer.Option("--grid", help="Estimate the whole paper grid both ways.")] = False,
    attention_dropout: Annotated[
        float | None, typer.Option(help="For our side; default the model's own.", min=0, max=0.99)
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time to use; two rounds at least.", min=1)] = 420.0,
    threads: Annotated[int | None, typer.Option(help="Compute threads; default all cores.", min=1)] = None,
    json_: JsonOption = False,
) -> None:
    """Measure our training and evaluation against a plain Trainer script, in one sitting."""
    from tunebench.bench import render, run_bench

    result = run_bench(model, seconds=seconds, attention_dropout=attention_dropout, threads=threads, tell=_tell)
    if json_:
        _json(result.to_dict())
    else:
        sys.stdout.write(render(result, grid=grid))


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


def main() -> None:
    """Run the command line; user errors become one message and exit code 2."""
    # Deprecations between the libraries below are not the user's to mend.
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        app()
    except TunebenchError as error:
        err.print(f"[bold red]error:[/bold red] {_escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _tell(line: str) -> None:
    err.print(line, markup=False)


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _print_tables(comparison: Comparison, *, names: list[str] | None, style: str) -> None:
    from tunebench.rendering import RENDERERS, to_rich
    from tunebench.tables import make_tables

    if style not in RENDERERS:
        raise typer.BadParameter(f"{style!r}: allowed are {', '.join(RENDERERS)}", param_hint="--format")
    for table in make_tables(comparison, names):
        if style == "text" and sys.stdout.isatty():
            out.print(to_rich(table), "")
        else:
            sys.stdout.write(RENDERERS[style](table) + "\n")


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table on a terminal, and as tab-separated text in a pipe."""
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in [columns, *cells]:
            sys.stdout.write("\t".join(line) + "\n")
        return
    table = RichTable(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for line in cells:
        table.add_row(*(_escape(text) for text in line))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).splitlines()[0]


def _print_plan(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _json(rows)
        return
    shown = [
        {
            "strategy": row["strategy"],
            "size": row["train_size"],
            "rate": f"{row['learning_rate']:g}",
            "seed": str(row["seed"]),
            "steps": row["steps"],
            "trainable": row["trainable_params"],
            "time": duration(row["seconds"]),
            "memory": f"{row['memory_bytes'] / 1e9:.1f} GB",
            "disk": f"{row['disk_bytes'] / 1e6:.0f} MB",
            "plan": "left out" if row["left_out"] else "run",
        }
        for row in rows
    ]
    _print_rows(shown)
    kept = [row for row in rows if not row["left_out"]]
    total = sum(row["seconds"] for row in kept)
    how = "measured here" if rows and rows[0]["measured"] else "derived from the arithmetic"
    out.print(f"{len(kept)} of {len(rows)} runs, about {duration(total)} ({how})")


if __name__ == "__main__":
    main()
