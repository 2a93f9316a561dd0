"""The server process: its socket, its signals, its shutdown."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunebench.errors import ConfigError, MissingExtraError
from tunebench.web.connections import bounded_protocol
from tunebench.web.hosts import check_token, exposure
from tunebench.web.serving.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tunebench.inference.predictor import Precision

#: Seconds that an unused connection stays open. Longer than clients keep one (httpx 5 s, many proxies 60 s):
#: where the server closes first, it may do so just when the client sends.
_KEEP_ALIVE = 75


def serve(
    sources: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    limits: Limits | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    shutdown_seconds: int = 30,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Load classifiers and answer requests until SIGTERM or SIGINT; what was taken by then is finished.

    Args:
        sources: Folders, each as ``PATH`` or ``NAME=PATH``; the first is the default model.
        host: Address to listen at.
        port: 0 takes a free one.
        token: What requests must have; None for nothing. Health checks need none.
        allowed_hosts: Further host names that requests may have.
        limits: Bounds on requests.
        device: See :func:`tunebench.load`.
        threads: See :func:`tunebench.load`.
        precision: See :func:`tunebench.load`.
        shutdown_seconds: Time for requests that are being answered when the end comes.
        tell: Told what is loaded, and where the server listens.

    Raises:
        ConfigError: The address cannot be had, the token is none, or two models have the same name.
        ModelError: A folder holds no classifier.
        MissingExtraError: Without the ``serve`` extra.
    """
    check_extra()
    check_token(token)
    limits = limits or Limits()
    with bind(host, port) as listener:
        from tunebench.web.serving.app import create_app
        from tunebench.web.serving.models import load_models

        models = load_models(sources, device=device, threads=threads, precision=precision, tell=tell)
        app = create_app(models, host=host, limits=limits, token=token, allowed_hosts=allowed_hosts)
        if (line := exposure(host, token)) is not None:
            tell(line)
        run(app, listener, limits=limits, shutdown_seconds=shutdown_seconds, tell=tell)


def check_extra() -> None:
    """Refuse without the packages of the ``serve`` extra.

    Raises:
        MissingExtraError: One is missing.
    """
    import importlib.util

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "serve")


@contextmanager
def bind(host: str, port: int) -> Iterator[socket.socket]:
    """Take an address, before anything slow is done; nobody can connect yet.

    Raises:
        ConfigError: The server cannot listen on it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"There is no such address: {error.strerror}.", value=f"{host}:{port}") from None
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"The server cannot listen on this address: {getattr(error, 'strerror', None) or error}.",
                value=f"{host}:{port}",
                fix="choose another --port (0 picks a free one)",
            ) from None
        yield listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(
    app: FastAPI,
    listener: socket.socket,
    *,
    limits: Limits | None = None,
    shutdown_seconds: int = 30,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        app: What :func:`~tunebench.web.serving.app.create_app` gave.
        listener: A bound socket.
        limits: Bounds on connections; those on requests are the application's.
        shutdown_seconds: Time for requests that are being answered when the end comes.
        tell: Told where it listens, as soon as requests are taken; and how it ended.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                tell(f"listening: {url_of(listener)}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            tally = app.state.tally
            tell(f"shutting down: answering the last {tally.running} requests")
            await super().shutdown(sockets)
            left = f"; clients that had left: {tally.left}" if tally.left else ""
            tell(f"shut down: {tally.answered} of {tally.taken} requests were answered{left}")

    bounds = limits or Limits()
    config = uvicorn.Config(
        app,
        http=bounded_protocol(connections=bounds.connections, head_seconds=bounds.head_seconds),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=shutdown_seconds,
        timeout_keep_alive=_KEEP_ALIVE,
        # Addresses of clients are neither logged nor used.
        proxy_headers=False,
    )
    # After its own shutdown uvicorn raises the signal again, for whoever handled it before: an end that was
    # asked for and went well is no failure.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        Server(config).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)
