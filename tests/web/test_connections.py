"""Connections that send nothing, half of something, or without end: each is closed, and the server answers on."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.responses import JSONResponse
from typer.testing import CliRunner

from tunebench.cli.app import app
from tunebench.errors import ConfigError
from tunebench.web.connections import HEAD_BYTES, bounded_protocol
from tunebench.web.hosts import check_token, exposure, has_token, host_names, is_loopback
from tunebench.web.serving.admission import AdmissionControl, Tally
from tunebench.web.serving.limits import Limits
from tunebench.web.serving.metrics import Metrics
from tunebench.web.serving.schema import request_type, strange_keys

CONNECTIONS, HEAD_SECONDS, BODY = 8, 0.5, 1_000
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    await JSONResponse({"path": scope["path"]})(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with narrow bounds, behind the admission control of ``tunebench serve``, with a token."""
    admission = AdmissionControl(
        answer,
        names=host_names("127.0.0.1"),
        token="right",
        limits=Limits(body_bytes=BODY),
        metrics=Metrics(lambda: 0.0),
        tally=Tally(),
        routes=frozenset(),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = bounded_protocol(connections=CONNECTIONS, head_seconds=HEAD_SECONDS)
    server = uvicorn.Server(uvicorn.Config(admission, http=protocol, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def connect(port: int) -> closing[socket.socket]:
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    return closing(found)


def closes(client: socket.socket) -> bytes:
    """Return what comes until the other side closes; a timeout fails the test."""
    said = b""
    try:
        while part := client.recv(65_536):
            said += part
    except ConnectionError:
        pass
    return said


def send_without_end(client: socket.socket, part: bytes, most: int) -> int:
    """Send until the other side closes, and return how much it took; more than ``most`` is a failure."""
    sent = 0
    try:
        while sent <= most:
            client.sendall(part)
            sent += len(part)
    except OSError:
        return sent
    raise AssertionError(f"{sent:,} bytes were taken")


def status(port: int, head: bytes) -> int:
    with connect(port) as client:
        client.sendall(head + b"\r\n")
        return int(client.recv(65_536).split()[1])


@pytest.mark.parametrize("half", [b"", b"POST", HEAD, HEAD + b"X: " + b"a" * 1_000])
def test_half_a_head_is_waited_for_only_so_long(port: int, half: bytes) -> None:
    with connect(port) as client:
        client.sendall(half)
        assert closes(client) == b""


def test_half_a_second_head_is_waited_for_only_so_long(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in client.recv(65_536)
        time.sleep(2 * HEAD_SECONDS)  # a connection that is not used stays
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in client.recv(65_536)
        client.sendall(HEAD)
        assert closes(client) == b""


def test_a_head_has_a_largest_size(port: int) -> None:
    with connect(port) as client:
        client.sendall(HEAD)
        send_without_end(client, b"X: " + b"a" * 1_000 + b"\r\n", most=32 * HEAD_BYTES + 2**23)


def test_more_connections_than_allowed_are_told_so_and_closed(port: int) -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(connect(port)) for _ in range(CONNECTIONS)]
        for client in kept:
            client.sendall(HEAD)
        time.sleep(0.1)
        for _ in range(20):
            with connect(port) as client:
                assert closes(client).startswith(b"HTTP/1.1 503 ")
        # Half-sent heads hold their places for a moment only.
        assert [closes(client) for client in kept] == [b""] * CONNECTIONS
    assert status(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n") == 200


TOKEN = b"Authorization: Bearer right\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ENDLESS = {
    "too large, its length not told": HEAD + TOKEN + CHUNKED,
    "too large, its length told": HEAD + TOKEN + b"Content-Length: 1000000000000\r\n",
    "for another host": HEAD.replace(b"127.0.0.1", b"elsewhere") + CHUNKED,
    "without the token": HEAD + CHUNKED,
    "of a request that has no body": HEAD.replace(b"POST", b"GET") + TOKEN + CHUNKED,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_body_that_is_not_wanted_is_not_read_without_end(port: int, name: str) -> None:
    head = ENDLESS[name]
    with connect(port) as client:
        part = b"a" * 1_000 if b"Length" in head else b"3e8\r\n" + b"a" * 1_000 + b"\r\n"
        client.sendall(head + b"\r\n" + 70 * part)
        assert b"connection: close" in client.recv(65_536).lower()
        # What the kernel holds for both sides is a few megabytes.
        send_without_end(client, part, most=64 * BODY + 2**24)
    assert status(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n") == 200


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (b"", False),
        (b"Authorization: Bearer right\r\n", True),
        (b"authorization: bearer right\r\n", True),
        (b"Authorization: Basic bWU6cmlnaHQ=\r\n", True),  # me:right
        (b"Authorization: Basic cmlnaHQ=\r\n", False),  # no password
        (b"Authorization: Basic %%%\r\n", False),
        (b"Authorization: Bearer righ\r\n", False),
        (b"Authorization: Bearer \xff\r\n", False),
        (b"Authorization: right\r\n", False),
        (b"X-Token: right\r\n", False),
    ],
)
def test_only_requests_with_the_token_are_answered(port: int, given: bytes, right: bool) -> None:
    assert status(port, b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + given) == (200 if right else 401)
    assert status(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + given) == 200


def test_who_may_ask() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "LOCALHOST", "0.0.0.0", "::", "box")] == [
        *(True, True, True, False, False, False)
    ]
    assert host_names("0.0.0.0") is None
    names = host_names("0.0.0.0", ["Box.example"])
    assert names is not None and "box.example" in names and "other.example" not in names
    assert exposure("127.0.0.1", None) is None
    assert "everyone" in (exposure("0.0.0.0", None) or "") and "not encrypted" in (exposure("::", "x") or "")
    assert has_token({"headers": []}, None) and not has_token({"headers": []}, "x")
    for token in ("", "two words", "clé", "a\n"):
        with pytest.raises(ConfigError) as caught:
            check_token(token)
        assert not token or token not in str(caught.value)


def test_many_unknown_keys_cost_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = request_type(Limits())
    body = json.dumps({"texts": "a"} | {f"key {number}": 1 for number in range(50_000)}).encode()
    validated: list[Any] = []
    monkeypatch.setattr(kind, "model_validate_json", validated.append)
    problems = strange_keys(kind, body)
    assert len(problems) == 21 and problems[-1].what == "49980 more keys are not permitted"
    assert strange_keys(kind, b'{"texts": "a", "modle": 1}') == [] == strange_keys(kind, b"[]")
    long = strange_keys(kind, json.dumps({"k" * 10_000 + str(number): 1 for number in range(30)}).encode())
    assert sum(len(problem.where) for problem in long) <= 20 * 200
    with pytest.raises(ValueError, match="line 1"):
        strange_keys(kind, b"{")


def test_an_empty_variable_is_no_way_to_serve_without_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where the file of a secret is missing."""
    monkeypatch.setenv("TUNEBENCH_TOKEN", "")
    for command in (["serve", str(tmp_path)], ["watch", str(tmp_path)]):
        ended = CliRunner().invoke(app, [*command, "--port", "0"])
        assert ended.exit_code != 0 and "This is no token" in f"{ended.output}{ended.exception}"
