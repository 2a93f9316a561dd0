"""The page's server, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from tunebench.errors import MissingExtraError, TunebenchError
from tunebench.store.study_folder import StudyStore
from tunebench.web.connections import bounded_protocol
from tunebench.web.hosts import check_token, exposure

#: Bounds for the few browsers that look at a page.
_CONNECTIONS, _HEAD_SECONDS = 128, 10.0


def watch(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8321,
    allowed_hosts: Sequence[str] = (),
    token: str | None = None,
    tell: Callable[[str], None],
    warn: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve the watch page of a study until interrupted.

    Args:
        folder: The study's folder; it is only read.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        allowed_hosts: Further host names that requests may have.
        token: What requests must have; None for nothing.
        tell: Told the page's address when it can be opened.
        warn: Told who can reach the page, where others than this machine can.

    Raises:
        StoreError: There is no study in the folder.
        MissingExtraError: FastAPI or uvicorn is not installed.
        ConfigError: The token is none.
        TunebenchError: The address cannot be listened on.
    """
    StudyStore.open(folder)  # what is wrong with the folder is said whether or not the extra is there
    check_token(token)
    try:
        import uvicorn

        from tunebench.web.watching.app import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise MissingExtraError("fastapi or uvicorn", "watch") from None
    app = create_app(folder, host=host, allowed_hosts=allowed_hosts, token=token)
    listening = _listen(host, port)
    # Connections that a browser keeps open must not hold up the end.
    config = uvicorn.Config(
        app,
        http=bounded_protocol(connections=_CONNECTIONS, head_seconds=_HEAD_SECONDS),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        lifespan="off",
    )
    address, chosen = listening.getsockname()[:2]
    shown = "127.0.0.1" if address in ("0.0.0.0", "::") else address
    if (line := exposure(host, token)) is not None:
        warn(line)
    tell(f"http://{f'[{shown}]' if ':' in shown else shown}:{chosen}/")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has ended in order, and says once more why
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise TunebenchError(
            f"There is no such address here: {error.strerror}.", value=host, fix="--host 127.0.0.1"
        ) from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise TunebenchError(
            f"The server cannot listen on this address: {error.strerror}.",
            value=f"{host}:{port}",
            fix="--port 0 picks a free port",
        ) from None
    return found
