"""``run`` of a suite: one study over many data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tunebench.cli.console import err, print_json, tell
from tunebench.cli.study import print_plan, print_search

if TYPE_CHECKING:
    from tunebench.study.suite import Suite


def run_suite_command(
    suite: Suite, folder: Path, *, dry_run: bool, json_: bool, unlock_test: bool, **how: Any
) -> None:
    """Run a suite or resume it, or print its plan.

    Args:
        suite: The suite.
        folder: Where it is written.
        dry_run: Print the plan alone.
        json_: Print JSON.
        unlock_test: Allow a second look at the test parts.
        how: Execution, budget and measuring, as :func:`tunebench.api.run_suite` takes them.
    """
    from tunebench.api import dry_run_suite, run_suite

    if dry_run:
        print_plan(dry_run_suite(suite, folder=folder, tell=tell, **how), as_json=json_)
        if not json_:
            print_search(next(iter(suite.studies.values())))
        return
    result = run_suite(suite, folder, unlock_test=unlock_test, tell=tell, **how)
    if json_:
        rows = [{"data_set": name, **row} for name, one in result.studies.items() for row in one.comparison.rows()]
        print_json(rows)
    if result.interrupted:
        raise typer.Exit(130)
    if result.failed or result.failed_runs:
        err.print(_failed(result.failed, result.failed_runs, folder), markup=False)
        raise typer.Exit(1)


def _failed(data_sets: dict[str, str], runs: int, folder: Path) -> str:
    parts = [f"{len(data_sets)} data sets failed ({', '.join(data_sets)})"] if data_sets else []
    parts += [f"{runs} runs failed"] if runs else []
    return f"{' and '.join(parts)}: tunebench status {folder}"
