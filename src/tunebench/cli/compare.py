"""``compare``: finished studies side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import app
from tunebench.cli.console import out


@app.command(epilog="Example: tunebench compare out/lora-study out/full-study --out out/both")
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished studies.", metavar="DIR DIR...")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for tables and report.")] = Path("out/compared"),
) -> None:
    """Show finished studies on one page, with paired tests where they were scored on the same test texts.

    They must share data, test part, metric, labels, validation and selection. What differs is named.
    """
    from tunebench.api import compare_studies

    out.print(f"Report: {compare_studies(folders, out_dir)}", markup=False)
