"""``results``, ``tables``, ``report`` and ``presets``."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from tunebench.cli.app import AnyFolderArgument, JsonOption, app, is_suite
from tunebench.cli.console import out, print_json, print_rows, print_tables

#: Columns of results that people read.
_KEYS = ("strategy", "train_size", "learning_rate", "seed", "status", "metric", "score")


@app.command(epilog="Example: tunebench results out/quickstart --csv > results.csv")
def results(
    folder: AnyFolderArgument,
    json_: JsonOption = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print one row for each run, with everything that was measured."""
    from tunebench.execution.looks import read_results
    from tunebench.formatting import csv_text

    if json_ and csv_:
        raise typer.BadParameter("it prints another format than --json: drop one", param_hint="--csv")
    comparison = None if is_suite(folder) else read_results(folder)
    if comparison is None:
        from tunebench.analysis.load_suite import suite_rows

        rows = suite_rows(folder)
    else:
        rows = comparison.rows()
    if json_:
        print_json(rows)
    elif csv_:
        # A metric of another package is a column of the runs that have it.
        names = list(dict.fromkeys(key for row in rows for key in row))
        cells = ([row.get(name, "") for name in names] for row in rows)
        values = ([json.dumps(v) if isinstance(v, dict) else v for v in row] for row in cells)
        sys.stdout.write(csv_text(names, values))
    else:
        keys: tuple[str, ...] = ("data_set", *_KEYS)
        if comparison is not None:
            keys = (*_KEYS, comparison.task.always_shown[-1], "test_loss")
        print_rows([{k: row[k] for k in (*keys, "train_seconds", "trainable_params")} for row in rows])


@app.command(epilog="Example: tunebench tables out/quickstart --format markdown scores time")
def tables(
    folder: AnyFolderArgument,
    names: Annotated[list[str] | None, typer.Argument(help="Names of tables; default all.")] = None,
    format_: Annotated[str, typer.Option("--format", help="text, markdown, csv or latex.")] = "text",
) -> None:
    """Print the tables of a study, or those of a suite over its data sets."""
    from tunebench.analysis.analysis import analyse
    from tunebench.execution.looks import read_results
    from tunebench.report.tables import make_tables
    from tunebench.report.tables.render import RENDERERS

    if format_ not in RENDERERS:
        raise typer.BadParameter(f"{format_!r}: allowed are {', '.join(RENDERERS)}", param_hint="--format")
    if is_suite(folder):
        from tunebench.analysis.load_suite import load_suite_analysis
        from tunebench.report.suite.tables import suite_tables

        print_tables(suite_tables(load_suite_analysis(folder), names), style=format_)
    else:
        print_tables(make_tables(analyse(read_results(folder)), names), style=format_)


@app.command(epilog="Example: tunebench recommend out/quickstart --prefer size --margin 1 --metric mcc")
def recommend(
    folder: AnyFolderArgument,
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
        int | None,
        typer.Option(
            help="Training size to decide at; default the largest with scores of all its strategies (of a suite: "
            "with the most data sets)."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Recommend a strategy, with the reasons, the doubts, and what would change the answer.

    Of a suite, the answer is over its data sets.
    """
    if is_suite(folder):
        from tunebench.cli.suite import recommend_over_data

        recommend_over_data(folder, prefer=prefer, margin=margin, metric=metric, size=size, json_=json_)
        return
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.recommend import recommend as decide
    from tunebench.execution.looks import read_results
    from tunebench.report.words import recommendation_text

    analysis = analyse(read_results(folder, metric=metric))
    found = decide(analysis, prefer=prefer, margin=margin, size=size)  # type: ignore[arg-type]
    if json_:
        print_json(found.to_dict())
    else:
        out.print(recommendation_text(analysis, found), markup=False)


@app.command(epilog="Example: tunebench report out/quickstart")
def report(
    folder: AnyFolderArgument,
    run_figures: Annotated[
        bool | None,
        typer.Option(help="Also draw the figures of single runs; default if there are at most 24 runs."),
    ] = None,
) -> None:
    """Write report.html, report.md, the tables (text, Markdown, CSV, LaTeX) and the figures of a study again.

    Of a suite, also those of the studies of its data sets.
    """
    from tunebench.api import write_report, write_suite_report

    if is_suite(folder):
        out.print(f"Report: {write_suite_report(folder, studies=True, run_figures=run_figures)}", markup=False)
        return
    out.print(f"Report: {write_report(folder, run_figures=run_figures)}", markup=False)


@app.command(epilog="Example: tunebench presets")
def presets() -> None:
    """List the studies that come with the package."""
    from tunebench.study.yaml_file import load_study
    from tunebench.study.yaml_file import presets as known

    print_rows([{"preset": name, "description": load_study(name).description} for name in known()])
