"""What docs/serving.md shows must work as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tunebench import cli
from tunebench.web.serving.app import create_app
from tunebench.web.serving.batching import _ROUND, MicroBatcher
from tunebench.web.serving.limits import Limits
from tunebench.web.serving.models import load_models
from tunebench.web.serving.schema import PredictAnswer
from web.serving.conftest import Served

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


LINES = [line for block in blocks("console") for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("tunebench")])
def test_commands_parse(line: str) -> None:
    _, name, *words = shlex.split(line)
    tree: Any = typer.main.get_command(cli.app)
    tree.commands[name].make_context(name, words)  # raises on an option that is not there


def test_the_requests_work(server: Served) -> None:
    for line in (line for line in LINES if line.startswith("curl")):
        words = shlex.split(line.replace("http://127.0.0.1:8000", server.url).replace('"forum"', '"two"'))
        result = subprocess.run([*words, "--noproxy", "*", "-sS"], capture_output=True, text=True, check=True)
        assert json.loads(result.stdout)["predictions"], result.stdout
    found: dict[str, Any] = {}
    exec(blocks("python")[0].replace("http://127.0.0.1:8000", server.url), found)
    assert len(found["labels"]) == 2
    PredictAnswer.model_validate_json(blocks("json")[0])


def test_routes_statuses_and_limits_are_those_of_the_code(models: dict[str, Path]) -> None:
    app = create_app(load_models([str(models["plain"])], threads=1))
    schema = app.openapi()
    shown = set(re.findall(r"^\| `(GET|POST) (\S+)`", PAGE, flags=re.MULTILINE))
    documented = {(method.upper(), path) for path, entry in schema["paths"].items() for method in entry}
    assert shown == documented | {("GET", "/"), ("GET", "/openapi.json")}
    statuses = set(re.findall(r"^\| (\d{3}) \|", PAGE, flags=re.MULTILINE))
    assert statuses | {"200"} == set(schema["paths"]["/v1/predict"]["post"]["responses"])
    limits = Limits()
    for value in (limits.texts, limits.characters, limits.body_bytes, limits.waiting, limits.requests, _ROUND):
        assert f"{value:,}" in PAGE
    assert f"At most {limits.connections} connections" in PAGE
    assert f"within {limits.head_seconds:.0f} seconds" in PAGE
    assert f"within {limits.body_seconds:.0f} seconds" in PAGE
    assert MicroBatcher.__init__.__kwdefaults__["batch_tokens"] == 8192


def test_importing_needs_neither_torch_nor_the_extra() -> None:
    code = (
        "import sys, tunebench.cli, tunebench.web.serving.server, tunebench.web.serving.limits;"
        "assert not {'torch', 'fastapi', 'uvicorn', 'prometheus_client', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'fastapi' else found(name, *rest)\n"
        "sys.argv = ['tunebench', 'serve', 'anything']\n"
        "from tunebench.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2 and "[serve]" in result.stderr and "Traceback" not in result.stderr
