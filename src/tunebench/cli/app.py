"""The command tree; one module of this package holds the commands of one subject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Compare fine-tuning strategies for text classification, controlled and honestly.",
    epilog="Start with: [bold]tunebench run quickstart[/bold]",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training on it.")
app.add_typer(data_app, name="data")

StudyArgument = Annotated[str, typer.Argument(help="A preset's name or a YAML file.", metavar="STUDY")]
FolderArgument = Annotated[Path, typer.Argument(help="A study's folder.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
