"""``leaderboard add`` and ``leaderboard render``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunebench.cli.app import AnyFolderArgument, app
from tunebench.cli.console import out
from tunebench.formatting import command

board_app = typer.Typer(no_args_is_help=True, help="A folder of results that others can add to, and its page.")
app.add_typer(board_app, name="leaderboard")

BoardArgument = Annotated[Path, typer.Argument(help="The folder of the leaderboard.", metavar="BOARD")]


@board_app.command(epilog="Example: tunebench leaderboard add out/reviews board --by 'Ada Lovelace'")
def add(
    folder: AnyFolderArgument,
    board: BoardArgument,
    by: Annotated[str, typer.Option(help="Who adds it.")],
    url: Annotated[str | None, typer.Option(help="Where more is to be read; http or https.")] = None,
    note: Annotated[str, typer.Option(help="What a reader should know.")] = "",
) -> None:
    """Add the selected runs of a study, or of all studies of a suite, with their predictions."""
    from tunebench.api import add_to_leaderboard

    for name in add_to_leaderboard(folder, board, by=by, url=url, note=note):
        out.print(f"added {name}", markup=False)
    out.print(f"Next: {command('leaderboard', 'render', board)}", markup=False)


@board_app.command(epilog="Example: tunebench leaderboard render board --title 'Reviews'")
def render(
    board: BoardArgument,
    title: Annotated[str | None, typer.Option(help="Of the page; default the folder's name.")] = None,
) -> None:
    """Write index.html: all entries, their scores computed again where their predictions are there."""
    from tunebench.api import write_leaderboard

    path, refused = write_leaderboard(board, title=title)
    for name, reason in refused.items():
        out.print(f"left out {name}: {reason}", markup=False)
    out.print(f"Page: {path}", markup=False)
