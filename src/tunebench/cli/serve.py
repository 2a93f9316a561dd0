"""``serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from tunebench.cli.app import AllowedHostOption, DeviceOption, TokenOption, app
from tunebench.cli.console import tell


@app.command(epilog="Example: tunebench serve models/reviews snippets=models/reviews-lora --port 8000")
def serve(
    sources: Annotated[
        list[str],
        typer.Argument(help="Exports, PEFT adapters or folders of runs. NAME=PATH gives a name.", metavar="PATH"),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on. Everyone who can reach it can send requests.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8000,
    token: TokenOption = None,
    allowed_host: AllowedHostOption = None,
    device: DeviceOption = "auto",
    threads: Annotated[int | None, typer.Option(help="Number of threads; default all cores.", min=1)] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    max_texts: Annotated[int, typer.Option(help="Maximum number of texts in a request.", min=1)] = 64,
    max_characters: Annotated[int, typer.Option(help="Maximum number of characters in a text.", min=1)] = 20_000,
    max_body: Annotated[int, typer.Option(help="Maximum size of a request body in bytes.", min=1)] = 1_000_000,
    max_waiting: Annotated[
        int, typer.Option(help="Maximum number of waiting texts, over all requests.", min=1)
    ] = 1024,
    shutdown_seconds: Annotated[
        int, typer.Option(help="Time to finish accepted requests at shutdown.", min=1)
    ] = 30,
) -> None:
    """Serve models over HTTP: /v1/predict, /v1/models, /metrics, and a page to try them at /."""
    from tunebench.web.serving.limits import Limits
    from tunebench.web.serving.server import serve as run

    run(
        sources,
        host=host,
        port=port,
        token=token,
        allowed_hosts=allowed_host or (),
        limits=Limits(texts=max_texts, characters=max_characters, body_bytes=max_body, waiting=max_waiting),
        device=device,
        threads=threads,
        precision=precision,  # type: ignore[arg-type]
        shutdown_seconds=shutdown_seconds,
        tell=tell,
    )
