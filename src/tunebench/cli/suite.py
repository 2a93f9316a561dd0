"""``run`` of a suite: one study over many data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tunebench.cli.console import err, out, print_json, tell
from tunebench.cli.plans import print_plan, print_search
from tunebench.formatting import command, counted

if TYPE_CHECKING:
    from tunebench.cli.run_options import RunOptions
    from tunebench.study.suite import Suite


def run_suite_command(suite: Suite, folder: Path, options: RunOptions) -> None:
    """Run a suite or resume it, or print its plan.

    Args:
        suite: The suite.
        folder: Where it is written.
        options: How it is run.
    """
    from tunebench.api import run_suite
    from tunebench.execution.dry_run import dry_run_suite
    from tunebench.report.suite.words import closing_of_suite

    if options.dry_run:
        found = dry_run_suite(suite, folder=folder, tell=tell, **options.plan)
        print_plan(found, as_json=options.json)
        if not options.json:
            print_search(next(iter(suite.studies.values())), found)
        return
    result = run_suite(suite, folder, unlock_test=options.unlock_test, tell=tell, **options.plan)
    if options.json:
        rows = [{"data_set": name, **row} for name, one in result.studies.items() for row in one.comparison.rows()]
        print_json(rows)
    else:
        for line in closing_of_suite(result.report, folder):
            out.print(line, markup=False)
    if result.interrupted:
        raise typer.Exit(130)
    if result.failed or result.failed_runs:
        err.print(_failed(result.failed, result.failed_runs, folder), markup=False)
        raise typer.Exit(1)


def recommend_over_data(
    folder: Path, *, prefer: str, margin: float | None, metric: str | None, size: int | None, json_: bool
) -> None:
    """Print the answer of a suite over its data sets."""
    from dataclasses import asdict

    from tunebench.analysis.load_suite import load_suite_analysis
    from tunebench.analysis.suite_words import suite_answer
    from tunebench.report.suite.words import suite_text

    suite = load_suite_analysis(folder, metric=metric, margin=margin)
    answer = suite_answer(suite, size=None if size is None else str(size), prefer=prefer)  # type: ignore[arg-type]
    if json_:
        print_json(asdict(answer) | {"metric": suite.metric.name, "margin": suite.margin})
    else:
        out.print(suite_text(suite, answer), markup=False)


def _failed(data_sets: dict[str, str], runs: int, folder: Path) -> str:
    parts = [f"{counted(len(data_sets), 'data set')} failed ({', '.join(data_sets)})"] if data_sets else []
    parts += [f"{counted(runs, 'run')} failed"] if runs else []
    return f"{' and '.join(parts)}: {command('status', folder)}"
