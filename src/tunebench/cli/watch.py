"""``watch``."""

from __future__ import annotations

from typing import Annotated

import typer

from tunebench.cli.app import AllowedHostOption, FolderArgument, TokenOption, app
from tunebench.cli.console import out, tell


@app.command(epilog="Example: tunebench watch out/quickstart --port 0")
def watch(
    folder: FolderArgument,
    host: Annotated[str, typer.Option(help="Address to listen on. Any but 127.0.0.1 lets others see the page.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8321,
    token: TokenOption = None,
    allowed_host: AllowedHostOption = None,
) -> None:
    """Show a running or finished study on a local web page. The page only reads the folder."""
    from tunebench.web.watching.server import watch as serve

    tell("Ctrl-C stops this page. The study keeps running.")
    serve(
        folder,
        host=host,
        port=port,
        token=token,
        allowed_hosts=allowed_host or (),
        tell=lambda url: out.print(f"Watching {folder} at {url}", markup=False),
        warn=tell,
    )
