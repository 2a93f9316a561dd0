"""The routes of a real server: right answers, refusals, metrics, and what the OpenAPI promises."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

import tunebench
from tunebench.web.serving.app import create_app
from tunebench.web.serving.models import load_models
from web.serving.conftest import Served

JSON = {"Content-Type": "application/json"}


def test_one_and_many_texts(client: httpx.Client, models: dict[str, Path]) -> None:
    texts = ["a lovely film", "dull " * 40, "été\ttwo\nlines 🎬"]
    many = client.post("/v1/predict", json={"texts": texts}).raise_for_status().json()
    assert many["model"] == models["plain"].name
    predictor = tunebench.load(models["plain"], precision="fp32")
    for answer, shares in zip(many["predictions"], predictor.predict_proba(texts), strict=True):
        assert list(answer["probabilities"]) == list(predictor.label_names)
        np.testing.assert_allclose(list(answer["probabilities"].values()), shares, atol=1e-4)
        assert answer["label"] == predictor.label_names[int(shares.argmax())]
        assert answer["probability"] == max(answer["probabilities"].values())
    for text, answer in zip(texts, many["predictions"], strict=True):
        one = client.post("/v1/predict", json={"texts": text, "model": None}).json()
        assert one["predictions"][0]["probability"] == pytest.approx(answer["probability"], abs=1e-4)


def test_models_and_health(client: httpx.Client, models: dict[str, Path]) -> None:
    listed = client.get("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == [path.name for path in models.values()]
    assert [model["default"] for model in listed] == [True, False, False, False, False]
    assert [model["format"] for model in listed] == ["merged"] + ["adapter"] * 4
    shares = {model["name"]: model["shares_base_with"] for model in listed}
    assert shares["two"] == ["one", "three"] and shares["lone"] == shares["distilbert"] == []
    assert {(model["max_length"], model["truncation"]) for model in listed} == {(512, "head")}
    assert listed[3]["labels"] == ["three-0", "three-1", "three-2"]
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def _texts(*texts: Any, **more: Any) -> bytes:
    return json.dumps({"texts": list(texts), **more}).encode()


BAD: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "no-json": (b"texts=a", 400),
    "cut-off": (b'{"texts": "a', 400),
    "no-utf8": (b'{"texts": "\xff\xfe"}', 400),
    "surrogate": (b'{"texts": "half \\ud83c"}', 400),
    "surrogate-as-bytes": (b'{"texts": "half \xed\xa0\xbc"}', 400),
    "surrogate-in-a-key": (b'{"texts": "a", "\\udc00": 1}', 400),
    "raw-control": (b'{"texts": "a\x01b"}', 400),
    "deep": (b"[" * 100_000, 400),
    "long-number": (b'{"texts": ' + b"9" * 9000 + b"}", 400),
    "byte-order-mark": (b'\xef\xbb\xbf{"texts": "a"}', 400),
    "control": (b'{"texts": "nul \\u0000"}', 422),
    "escape": (_texts("fine", "\x1b[31m"), 422),
    "null": (b"null", 422),
    "list": (b'["a"]', 422),
    "number": (b'{"texts": 1}', 422),
    "nan": (b'{"texts": NaN}', 422),
    "object": (b'{"texts": {"a": "b"}}', 422),
    "mixed": (_texts("a", 1), 422),
    "nested": (_texts(["a"]), 422),
    "no-texts": (b"{}", 422),
    "no-text": (_texts(), 422),
    "empty-text": (_texts("a", ""), 422),
    "too-many": (_texts(*["a"] * 65), 422),
    "too-long": (_texts("a" * 20_001), 422),
    "typo": (_texts("a", modle="x"), 422),
    "model-number": (_texts("a", model=1), 422),
    "model-unknown": (_texts("a", model="nobody"), 404),
    "10-mb": (b'{"texts": "' + b"a" * 10_000_000 + b'"}', 413),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies_are_refused(client: httpx.Client, name: str) -> None:
    body, status = BAD[name]
    answer = client.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] and len(answer.content) < 10_000
    assert client.get("/readyz").status_code == 200


def test_on_loopback_other_names_are_refused(client: httpx.Client, models: dict[str, Path]) -> None:
    """A page elsewhere may have its own name resolve to this machine; the browser then takes it for its own."""
    for path in ("/", "/v1/models", "/openapi.json", "/healthz"):
        assert client.get(path, headers={"Host": "rebound.example"}).status_code == 400
    for name in ("rebound.example:8000", "localhost.rebound.example", "127.0.0.1.rebound.example", "[::1", ""):
        answer = client.post("/v1/predict", json={"texts": "a"}, headers={"Host": name})
        assert answer.status_code == 400 and "one of these hosts" in answer.json()["error"]
    for name in ("localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:99"):
        assert client.post("/v1/predict", json={"texts": "a"}, headers={"Host": name}).status_code == 200
    loaded = load_models([str(models["plain"])], threads=1)
    for host, status in (("0.0.0.0", 200), ("127.0.0.2", 400), ("localhost", 400)):
        api = TestClient(create_app(loaded, host=host), base_url="http://box.example")
        assert api.get("/v1/models").status_code == status


def test_what_comes_while_it_shuts_down_is_told_to_come_again(models: dict[str, Path]) -> None:
    app = create_app(load_models([str(models["plain"])], threads=1))
    with TestClient(app, base_url="http://localhost") as api:
        assert api.post("/v1/predict", json={"texts": "a"}).status_code == 200
        assert api.get("/readyz").json() == {"status": "ready"}
    refused = api.post("/v1/predict", json={"texts": "a"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "shutting down" in refused.text
    assert (api.get("/readyz").status_code, api.get("/healthz").status_code) == (503, 200)


def test_who_leaves_is_computed_no_further_and_is_no_failure_of_the_server(models: dict[str, Path]) -> None:
    asked: list[Future[np.ndarray]] = []

    class Never:
        """Takes texts, and never answers."""

        waiting, alive = 0, True

        def __init__(self, **options: Any) -> None:
            pass

        def submit(self, model: Any, texts: Any) -> Future[np.ndarray]:
            asked.append(Future())
            return asked[-1]

        def close(self, timeout: float | None = None) -> None:
            pass

    app = create_app(load_models([str(models["plain"])], threads=1), answerer=Never)
    with answering(app) as port:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/v1/predict", _texts("a"), JSON)
            until(lambda: bool(asked))
        until(lambda: asked[0].cancelled())
        with closing(socket.create_connection(("127.0.0.1", port))) as half:
            half.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
            until(lambda: app.state.tally.running == 1)
        until(lambda: app.state.tally.running == 0)
        counted = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert set(
        re.findall(r'^tunebench_requests_total{route="/v1/predict",status="(.*)"} (.*)$', counted, re.M)
    ) == {("499", "2.0")}
    tally = app.state.tally
    assert (tally.taken, tally.answered, tally.left, tally.running) == (3, 1, 2, 0)


@contextmanager
def answering(app: FastAPI) -> Iterator[int]:
    """Have uvicorn serve an application on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(30)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_refusal_names_the_place(client: httpx.Client) -> None:
    problems = client.post("/v1/predict", content=_texts("a", 1, ""), headers=JSON).json()["problems"]
    assert [problem["where"] for problem in problems] == ["texts.1", "texts.2"]


def test_bodies_of_unknown_length_are_bounded(client: httpx.Client) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield b'{"texts": "'
        for _ in range(count):
            yield b"word " * 2000
        yield b'"}'

    assert client.post("/v1/predict", content=chunks(1), headers=JSON).status_code == 200
    assert client.post("/v1/predict", content=chunks(200), headers=JSON).status_code == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_types_are_refused(client: httpx.Client, kind: str) -> None:
    """A page of another site can send these without asking the browser's permission."""
    answer = client.post("/v1/predict", content=_texts("a"), headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_a_connection_outlives_the_time_that_clients_keep_one(server: Served) -> None:
    """Some keep one for 5 s (httpx); a server that closes it then loses what is sent at that moment."""
    with closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)) as connection:
        for pause in (6, 0):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            opened = connection.sock
            time.sleep(pause)
            assert connection.sock is opened and opened is not None


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    assert client.get("/v1/nothing").status_code == 404
    answer = client.get("/v1/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]


def test_metrics_count(client: httpx.Client) -> None:
    def value(line: str) -> float:
        found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, flags=re.MULTILINE)
        return float(found[1]) if found else 0.0

    lines = [
        'tunebench_requests_total{route="/v1/predict",status="200"}',
        'tunebench_requests_total{route="/v1/predict",status="422"}',
        'tunebench_requests_total{route="other",status="404"}',
        'tunebench_texts_total{model="two"}',
        "tunebench_batch_texts_sum",
    ]
    before = [value(line) for line in lines]
    client.post("/v1/predict", json={"texts": ["a", "b", "c"], "model": "two"})
    client.post("/v1/predict", json={"texts": []})
    client.get("/anything")
    assert [value(line) - old for line, old in zip(lines, before, strict=True)] == [1, 1, 1, 3, 3]
    assert value("tunebench_texts_waiting") == 0
    assert value("tunebench_requests_running") == 1  # the one that asks
    assert client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_the_openapi_holds(server: Served) -> None:
    # Not above: each worker would import it to collect these tests. And not later: parsing the last of its modules
    # deep in a stack upsets Python 3.11.
    import schemathesis.specs.openapi.schemas
    from schemathesis.specs.openapi import checks as promises

    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checks = [
        schemathesis.checks.not_a_server_error,
        promises.status_code_conformance,
        promises.content_type_conformance,
        promises.response_schema_conformance,
        promises.response_headers_conformance,
        promises.negative_data_rejection,
        promises.positive_data_acceptance,
        promises.unsupported_method,
    ]
    tested = []
    for result in schema.get_all_operations():
        operation = result.ok()
        _check_operation(operation, checks)
        tested.append(operation.label)
    assert "POST /v1/predict" in tested and len(tested) == 5


def _check_operation(operation: Any, checks: list[Any]) -> None:
    from hypothesis import HealthCheck, given, settings
    from schemathesis import GenerationMode

    statuses = set()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def run(case: Any) -> None:
            statuses.add(case.call_and_validate(checks=checks).status_code)

        if mode == GenerationMode.POSITIVE or operation.method == "post":
            run()
    if operation.method == "post":
        assert 200 in statuses and statuses & {400, 422}
