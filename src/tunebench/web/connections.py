"""Bounds on connections: how many there are, and how long and how large a request's head may be.

uvicorn has bounds for neither: a client that sends half a head keeps its connection for as long as it likes.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

#: Most bytes of a request's line and headers; what one read from a socket brings beyond them is let pass.
HEAD_BYTES = 65_536
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections\n"
)


def bounded_protocol(*, connections: int, head_seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with bounds, for its option ``http``.

    Args:
        connections: Most connections at a time; another one is answered with 503 and closed.
        head_seconds: Time for the head of a request, from its first byte, or from the connection on.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base = cast("Any", AutoHTTPProtocol)

    class Bounded(base):  # type: ignore[misc, valid-type]
        _timer: asyncio.TimerHandle | None = None
        _head = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                transport.write(_FULL)
                transport.close()
                return
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            if self._timer is None and self._between_requests:
                self._expect_head()
            super().data_received(data)
            if not self._between_requests:
                self._forget_head()
                return
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_head()
            super().connection_lost(exc)

        @property
        def _between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _expect_head(self) -> None:
            self._timer = asyncio.get_running_loop().call_later(head_seconds, self.transport.abort)

        def _forget_head(self) -> None:
            self._head = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return cast("type[asyncio.Protocol]", Bounded)
