"""A real server over a folder, and a page that fails the test on any error of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tunebench.web.watching.app import create_app
from tunebench.web.watching.server import _listen


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder, and gives the page's address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(folder: Path) -> str:
        listening = _listen("127.0.0.1", 0)
        config = uvicorn.Config(
            create_app(folder, pause=0), log_level="error", lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address; the test fails if the page wrote an error or asked elsewhere."""
    contexts, errors = [], []

    def start(url: str, *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else errors.append(request.url))
        page.goto(url)
        page.wait_for_selector(".cell", timeout=20_000)
        return page

    yield start
    for context in contexts:
        context.close()
    assert errors == []
