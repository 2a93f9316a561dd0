"""Admission control in front of the routes: host names, limits on bodies and concurrent requests, their count."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from tunebench.web.hosts import CHALLENGE, has_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tunebench.web.serving.limits import Limits
    from tunebench.web.serving.metrics import Metrics

#: A header's name or address, the latter in brackets where it has colons, and its port.
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?")
#: What tells nothing but that the server lives: those who ask have no token.
_OPEN = frozenset({"/healthz", "/readyz"})
#: What a request is counted as whose client left before its answer; nginx calls it so, too. No client sees it.
CLIENT_LEFT = 499
#: A body that is too large is read and dropped up to so many times the limit, because most clients look for
#: an answer only when they have sent everything.
_DROPPED = 64


@dataclass
class Tally:
    """Requests of a server's life.

    Attributes:
        taken: Of which the head was read.
        answered: Whose answer was sent to its end.
        left: Whose client left before.
        running: That are being answered.
    """

    taken: int = 0
    answered: int = 0
    left: int = 0
    running: int = 0


class AdmissionControl:
    """ASGI middleware that refuses other hosts' names, reads whole bodies under the limits, and counts requests.

    Args:
        app: What is behind it.
        names: Host names that requests may have, without ports; None for any.
        token: What requests must have, those of :data:`_OPEN` apart; None for nothing.
        limits: Bounds on bodies and requests.
        metrics: Where requests are counted.
        tally: Counts them as well.
        routes: Paths that are counted by name; others count together.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: Sequence[str] | None,
        token: str | None,
        limits: Limits,
        metrics: Metrics,
        tally: Tally,
        routes: frozenset[str],
    ) -> None:
        self._names, self._token = names, token
        self._app, self._limits, self._metrics, self._routes = app, limits, metrics, routes
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        unread = _has_body(scope)

        async def read() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if unread:
                    # Whatever else is sent would be read without end.
                    message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        self._tally.taken += 1
        self._tally.running += 1
        self._metrics.running.inc()
        try:
            await self._answer(scope, read, counted)
            if status == CLIENT_LEFT:
                self._tally.left += 1
            else:
                self._tally.answered += 1
        finally:
            self._tally.running -= 1
            self._metrics.running.dec()
            route = scope["path"] if scope["path"] in self._routes else "other"
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._names is not None and _host_name(scope) not in self._names:
            error = f"requests must be for one of these hosts: {', '.join(self._names)}"
            await refuse(400, error)(scope, receive, send)
            return
        if scope["path"] not in _OPEN and not has_token(scope, self._token):
            await refuse(401, "a token is needed", headers={"WWW-Authenticate": CHALLENGE})(scope, receive, send)
            return
        if scope["method"] != "POST":
            # Nothing else has a body to be read.
            await self._app(scope, receive, send)
            return
        if self._tally.running > self._limits.requests:
            await refuse(503, "too many requests at a time", retry_after=1)(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._body(receive), self._limits.body_seconds)
        except asyncio.TimeoutError:
            await refuse(408, "the body did not arrive in time")(scope, receive, send)
            return
        except ConnectionError:
            await Response(status_code=CLIENT_LEFT)(scope, receive, send)
            return
        if body is None:
            await refuse(413, f"the body has more than {self._limits.body_bytes} bytes")(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body, or None if it is too large.

        Raises:
            ConnectionError: The client went away.
        """
        parts: list[bytes] = []
        size, limit = 0, self._limits.body_bytes
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            else:
                parts.clear()
            if not message.get("more_body", False) or size > _DROPPED * limit:
                return b"".join(parts) if size <= limit else None


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _host_name(scope: Scope) -> str:
    """Return the name that a request is for, without its port; empty where it has none."""
    found = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
    return found[1].lower() if found else ""


def refuse(
    status: int,
    error: str,
    *,
    problems: list[dict[str, str]] | None = None,
    retry_after: int | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return an answer that says why there is none; see :class:`~tunebench.web.serving.schema.Refusal`."""
    headers = (headers or {}) | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return JSONResponse({"error": error, "problems": problems or []}, status_code=status, headers=headers)
