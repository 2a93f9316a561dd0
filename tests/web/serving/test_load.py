"""Load from a second process: every answer right and in order, none lost, also when the server ends.

``TUNEBENCH_LOAD_REQUESTS=10000 pytest tests/web/serving/test_load.py`` sends so many.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import tunebench
from faults.commands import refused
from faults.commands import tunebench as command
from web.serving.conftest import Served, serving

REQUESTS = int(os.environ.get("TUNEBENCH_LOAD_REQUESTS", "400"))
WORDS = "the film was a story of two men in paris who met again after many lovely dull awful superb years".split()


def cases(paths: dict[str, Path], *, count: int, texts: int = 4, words: int = 60) -> list[dict[str, Any]]:
    """Requests for each model, with the answers it gives when it is loaded alone."""
    generator = np.random.default_rng(0)
    found = []
    for path in paths.values():
        predictor = tunebench.load(path, precision="fp32")
        for _ in range(count):
            chosen = [
                " ".join(generator.choice(WORDS, size=int(generator.integers(1, words))))
                for _ in range(int(generator.integers(1, texts + 1)))
            ]
            shares = predictor.predict_proba(chosen).tolist()
            found.append({"model": path.name, "texts": chosen, "probabilities": shares})
    return found


def client(server: Served, file: Path, requests: int, concurrency: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("load_client.py")), server.url, str(file)]
    return subprocess.Popen(
        [*command, str(requests), str(concurrency), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def counts(process: subprocess.Popen[str]) -> dict[str, int]:
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found: dict[str, int] = json.loads(out)
    return found


def test_mixed_load_is_answered_rightly_and_in_order(
    server: Served, models: dict[str, Path], tmp_path: Path
) -> None:
    asked = cases(models, count=12)
    shares = [case["probabilities"] for case in asked]
    # Nearly all answers differ, so one that belongs to another text or adapter would be seen.
    first = np.array([rows[0][0] for rows in shares])
    assert np.mean(np.abs(first[:, None] - first[None, :]) < 4e-4) < 0.1
    (tmp_path / "cases.json").write_text(json.dumps(asked))
    assert counts(client(server, tmp_path / "cases.json", REQUESTS, 32)) == {"right": REQUESTS}
    # They were computed together: fewer batches than texts.
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
    batches, texts = (
        float(re.search(rf"^tunebench_batch_texts_{key} (\S+)$", metrics, re.M)[1]) for key in ("count", "sum")
    )  # type: ignore[index]
    assert texts > 1.5 * batches


def test_more_than_may_wait_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    paths = {"plain": models["plain"]}
    (tmp_path / "cases.json").write_text(json.dumps(cases(paths, count=4, words=150)))
    with serving(str(models["plain"]), "--precision", "fp32", "--max-waiting", "8", "--max-texts", "8") as server:
        found = counts(client(server, tmp_path / "cases.json", 120, 64))
        assert found.keys() == {"right", "refused"} and sum(found.values()) == 120
        answer = httpx.post(f"{server.url}/v1/predict", json={"texts": "a"}, trust_env=False)
        assert answer.status_code == 200


def test_sigterm_under_load_drops_nothing_that_was_taken(models: dict[str, Path], tmp_path: Path) -> None:
    paths = {name: models[name] for name in ("one", "two", "three")}
    (tmp_path / "cases.json").write_text(json.dumps(cases(paths, count=4, texts=8, words=150)))
    # On a busy machine the client may have nothing in flight just when the signal comes.
    assert any(_stopped_under_load(paths, tmp_path / "cases.json") > 0 for _ in range(5))


def _stopped_under_load(paths: dict[str, Path], given: Path) -> int:
    """Stop a server under load, check that nothing is dropped, and return how many requests were in flight."""
    with serving(*map(str, paths.values()), "--precision", "fp32") as server:
        load = client(server, given, 1_000_000, 24, "--until-closed")
        metric = re.compile(r'^tunebench_requests_total\{route="/v1/predict",status="200"\} (\S+)$', re.M)
        asked = 0
        while True:
            asked += 1
            found = metric.search(httpx.get(f"{server.url}/metrics", trust_env=False).text)
            if found and float(found[1]) > 60:
                break
            assert load.poll() is None
            time.sleep(0.05)
        status, said = server.stop()
        got = counts(load)
    assert status == 0
    closing = re.search(r"answering the last (\d+) requests", said)
    closed = re.search(r"shut down: (\d+) of (\d+) requests", said)
    assert closing is not None and closed is not None, said
    # Whatever the server took, the client has the right answer to.
    answered, taken = int(closed[1]), int(closed[2])
    assert answered == taken == got["right"] + asked
    assert not {"wrong", "refused"} & got.keys()
    return int(closing[1])


@pytest.mark.parametrize("arguments", [["nowhere"], ["--port", "70000"], ["--host", "no.such.host.invalid"]])
def test_what_cannot_be_served_is_an_error_of_the_user(models: dict[str, Path], arguments: list[str]) -> None:
    paths = [] if arguments == ["nowhere"] else [str(models["plain"])]
    assert (problem := refused(command("serve", *paths, *arguments))) == "", problem


def test_an_address_that_is_taken_is_refused_before_anything_is_loaded(
    server: Served, models: dict[str, Path]
) -> None:
    port = server.url.rpartition(":")[2]
    ended = command("serve", models["plain"], "--port", port)
    assert (problem := refused(ended, ["cannot listen on this address"])) == "", problem
    assert "loading" not in ended.err
