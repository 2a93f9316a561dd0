"""``results``, ``tables``, ``report`` and ``presets``."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated

import typer

from tunebench.cli.app import FolderArgument, JsonOption, app
from tunebench.cli.console import out, print_json, print_rows, print_tables


@app.command(epilog="Example: tunebench results out/quickstart --csv > results.csv")
def results(
    folder: FolderArgument,
    json_: JsonOption = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print one row for each run, with everything that was measured."""
    from tunebench.analysis.load import load_comparison
    from tunebench.report.tables.render import csv_cell

    comparison = load_comparison(folder)
    rows = comparison.rows()
    if json_:
        print_json(rows)
    elif csv_:
        # A metric of another package is a column of the runs that have it.
        names = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(sys.stdout, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: json.dumps(v) if isinstance(v, dict) else csv_cell(v) for k, v in row.items()} for row in rows
        )
    else:
        keys = (
            "strategy",
            "train_size",
            "learning_rate",
            "seed",
            "status",
            "metric",
            "score",
            comparison.task.always_shown[-1],
            "test_loss",
        )
        print_rows([{k: row[k] for k in (*keys, "train_seconds", "trainable_params")} for row in rows])


@app.command(epilog="Example: tunebench tables out/quickstart --format markdown scores time")
def tables(
    folder: FolderArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Names of tables; default all.")] = None,
    format_: Annotated[str, typer.Option("--format", help="text, markdown, csv or latex.")] = "text",
) -> None:
    """Print the tables of a study."""
    from tunebench.analysis.load import load_comparison

    print_tables(load_comparison(folder), names=names, style=format_)


@app.command(epilog="Example: tunebench recommend out/quickstart --prefer size --margin 1 --metric mcc")
def recommend(
    folder: FolderArgument,
    prefer: Annotated[
        str, typer.Option(help="What to prefer: score, cost (training time) or size (stored weights).")
    ] = "score",
    margin: Annotated[
        float | None,
        typer.Option(
            help="Equivalence margin in points of the metric, or hundredths of its unit; default the study's."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric to decide by; default the metric of the study.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Training size to decide at; default the largest with the most strategies.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Recommend a strategy, with the reasons, the doubts, and what would change the answer."""
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.load import load_comparison
    from tunebench.analysis.recommend import recommend as decide
    from tunebench.report.words import recommendation_text

    analysis = analyse(load_comparison(folder, metric=metric))
    found = decide(analysis, prefer=prefer, margin=margin, size=size)  # type: ignore[arg-type]
    if json_:
        print_json(found.to_dict())
    else:
        out.print(recommendation_text(analysis, found), markup=False)


@app.command(epilog="Example: tunebench report out/quickstart")
def report(
    folder: FolderArgument,
    run_figures: Annotated[
        bool | None,
        typer.Option(help="Also draw the figures of single runs; default if there are at most 24 runs."),
    ] = None,
) -> None:
    """Write report.html, report.md, the tables (text, Markdown, CSV, LaTeX) and the figures of a study again."""
    from tunebench.api import write_report

    out.print(f"Report: {write_report(folder, run_figures=run_figures)}", markup=False)


@app.command(epilog="Example: tunebench presets")
def presets() -> None:
    """List the studies that come with the package."""
    from tunebench.study.yaml_file import load_study
    from tunebench.study.yaml_file import presets as known

    print_rows([{"preset": name, "description": load_study(name).description} for name in known()])
