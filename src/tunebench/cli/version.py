"""``version``, and the option of that name."""

from __future__ import annotations

from typing import Annotated

import typer

from tunebench import __version__
from tunebench.cli.app import app
from tunebench.cli.console import out


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


def _version_option(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version_option, is_eager=True)
    ] = False,
) -> None:
    """Options of the command line itself; what they do happens while they are parsed."""
