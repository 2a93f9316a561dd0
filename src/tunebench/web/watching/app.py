"""What answers the page: three files of its own, the state of the study, and one run in detail.

There is nothing but GET, and nothing here writes. Needs the ``watch`` extra.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunebench.formatting import for_json
from tunebench.store.run_folder import is_run_id
from tunebench.web.hosts import TokenCheck, host_names
from tunebench.web.watching.run import describe_run
from tunebench.web.watching.study import WatchedStudy

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    allowed_hosts: Sequence[str] = (),
    token: str | None = None,
    pause: float = 0.5,
) -> FastAPI:
    """Return the application that serves one study's folder.

    Args:
        folder: The folder.
        host: What the server listens on; on loopback, requests under names that are not this machine's own
            are refused (:func:`~tunebench.web.hosts.host_names`).
        allowed_hosts: Further names that requests may have.
        token: What requests must have; None for nothing.
        pause: Seconds for which a look at the folder is good.

    Raises:
        StoreError: There is no study, or its plan is damaged.
    """
    study = WatchedStudy(folder, pause=pause)
    package = Path(str(importlib.resources.files("tunebench")))
    static = package / "web" / "watching" / "static"
    # FastAPI's own pages load scripts from a CDN.
    app = FastAPI(title="tunebench watch", docs_url=None, redoc_url=None, openapi_url=None)
    names = host_names(host, allowed_hosts)
    app.add_middleware(TokenCheck, token=token)
    if names is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)
    app.add_middleware(_Headers)

    # Plain functions: FastAPI runs them in threads, so that a slow disk holds up one request and not all.
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(static / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/api/study")
    def state(request: Request, since: str | None = None) -> Response:
        return _answer(request, study.state(since))

    @app.get("/api/runs/{run_id}")
    def run(request: Request, run_id: str) -> Response:
        found = study.planned(run_id) if is_run_id(run_id) else None
        if found is None:
            raise HTTPException(404, "The study has no such run.")
        return _answer(request, describe_run(*found))

    # The theme is switched as in the report, by the same script.
    @app.get("/static/theme.js", include_in_schema=False)
    def theme() -> FileResponse:
        return FileResponse(package / "report" / "html" / "theme.js")

    app.mount("/static", StaticFiles(directory=static), name="static")
    return app


def _answer(request: Request, value: dict[str, Any]) -> Response:
    """Answer with JSON, or with 304 where the browser has it already."""
    body = json.dumps(for_json(value), allow_nan=False, separators=(",", ":")).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in (part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


class _Headers:
    """Adds the headers that forbid the page everything but its own files."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)
