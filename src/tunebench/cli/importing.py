"""``import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import JsonOption, app
from tunebench.cli.console import out, print_json, print_tables, tell
from tunebench.formatting import command


@app.command(
    "import",
    epilog="Example: tunebench import results/full_5k results/lora_5k --out out/theirs --set data=imdb",
)
def import_(
    folders: Annotated[
        list[Path], typer.Argument(help="Output folders of Trainer scripts, one for each run.", metavar="FOLDER...")
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the imported study; new or empty.", metavar="DIR")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="State what the folders do not say: KEY=VALUE for all, FOLDER:KEY=VALUE for one."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Import runs of other Trainer scripts as a study. Unknown settings stay null."""
    from tunebench.analysis.analysis import analyse
    from tunebench.api import import_runs
    from tunebench.report.tables import make_tables

    comparison = import_runs(folders, folder=out_dir, settings=set_ or [], tell=tell)
    if json_:
        print_json(comparison.rows())
        return
    analysis = analyse(comparison)
    print_tables(make_tables(analysis, ["scores", "time", "score_per_million"]), style="text")
    for line in analysis.warnings:
        out.print(f"note: {line}", markup=False)
    out.print(f"{len(comparison.cells)} runs imported; next: {command('report', out_dir)}", markup=False)
