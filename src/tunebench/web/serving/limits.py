"""Limits on requests, so that no request can exhaust the server."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds on requests; what is beyond them is refused with a 4xx or 503 before any work is done.

    Attributes:
        texts: Texts in one request.
        characters: Characters in one text. Most models read no more than their ``max_length`` tokens anyway.
        body_bytes: Bytes of a request's body.
        waiting: Texts that wait for an answer, over all models; beyond it 503 with ``Retry-After``.
        requests: Requests that are read or answered at a time; beyond it 503 as well.
        body_seconds: Time a client has to send a body.
        connections: Connections at a time; beyond it 503, and the connection is closed.
        head_seconds: Time a client has to send the head of a request.
    """

    texts: int = 64
    characters: int = 20_000
    body_bytes: int = 1_000_000
    waiting: int = 1024
    requests: int = 1024
    body_seconds: float = 30.0
    connections: int = 512
    head_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"The limit {name} must be positive.", value=value, allowed="more than 0")
        if self.texts > self.waiting:
            raise ConfigError(
                "A request may hold more texts than may wait, so it would never be accepted.",
                value=f"texts: {self.texts}, waiting: {self.waiting}",
                allowed="waiting at least as large as texts",
            )
