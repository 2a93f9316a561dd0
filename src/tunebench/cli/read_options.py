"""How the file of a command is read that takes one and no study: ``--set data.encoding=cp1252``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tunebench.data.reference import ReadOptions

ReadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="How the file is read, as in run: data.encoding=cp1252, data.separator=tab, data.header=false.",
    ),
]


def read_options(given: list[str] | None, file: Path | None, option: str) -> ReadOptions:
    """Check what ``--set`` says of a file, which an option of the command names.

    Raises:
        typer.BadParameter: There is no such file.
        ConfigError: It says something else, or what cannot be.
    """
    from tunebench.study.yaml_file import load_read_options

    if given and file is None:
        raise typer.BadParameter(f"it says how {option} FILE is read, and none is given", param_hint="--set")
    return load_read_options(given or [])
