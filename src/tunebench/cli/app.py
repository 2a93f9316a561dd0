"""The command tree. Each module of this package holds the commands of one subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Compare fine-tuning strategies for text classification, with honest statistics.",
    epilog="Start with: [bold]tunebench choose DATA[/bold], or tunebench run quickstart",
)
data_app = typer.Typer(no_args_is_help=True, help="Check a data set before training on it.")
app.add_typer(data_app, name="data")

#: Variable of the environment that holds the password of a server.
_TOKEN = "TUNEBENCH_TOKEN"
StudyArgument = Annotated[
    str,
    typer.Argument(
        help="The name of a preset, a YAML file, or the folder of a study or of a suite.", metavar="STUDY"
    ),
]
FolderArgument = Annotated[Path, typer.Argument(help="The folder of a study.", metavar="DIR")]
AnyFolderArgument = Annotated[Path, typer.Argument(help="The folder of a study or of a suite.", metavar="DIR")]


def _given_token(value: str | None) -> str | None:
    """Return the token. An empty variable, which typer takes for none, is refused as an empty token is."""
    if value is None and os.environ.get(_TOKEN) != "":
        return None
    from tunebench.web.hosts import check_token

    check_token(value or "")
    return value


TokenOption = Annotated[
    str | None,
    typer.Option(
        callback=_given_token,
        help="Password for every request, as a bearer token or as the password that a browser asks for.",
        envvar=_TOKEN,
        show_envvar=True,
    ),
]
AllowedHostOption = Annotated[
    list[str] | None,
    typer.Option(help="Host name that requests may have, without a port; may be repeated.", metavar="NAME"),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Number of threads; default all cores.", min=1, max=1024)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def is_suite(folder: Path) -> bool:
    """Tell whether a folder holds a suite."""
    from tunebench.store.suite_folder import SuiteStore

    return SuiteStore(folder).there


def check_device(device: str) -> None:
    """Refuse what is no device, before anything is read.

    Raises:
        BadParameter: It is none.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise typer.BadParameter(f"{device!r}: allowed are auto, cpu, cuda, mps", param_hint="--device")
