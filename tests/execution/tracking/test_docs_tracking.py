"""What docs/tracking.md shows must work as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tunebench import cli
from tunebench.execution.tracking import TRACKERS, study
from tunebench.execution.tracking.mlflow_log import _DEFAULTS

PAGE = (Path(__file__).parents[3] / "docs" / "tracking.md").read_text(encoding="utf-8")
LINES = [
    line.removeprefix("$ ").split("  #")[0]
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
    if "tunebench " in line
]


@pytest.mark.parametrize("line", LINES)
def test_commands_parse(line: str) -> None:
    words = shlex.split(line)
    _, name, *words = words[words.index("tunebench") :]
    tree: Any = typer.main.get_command(cli.app)
    context = tree.commands[name].make_context(name, words)  # raises on an option that is not there
    assert set(context.params["tracker"]) <= set(TRACKERS)


def test_the_page_says_what_the_code_does() -> None:
    assert f"given up after {_DEFAULTS['MLFLOW_HTTP_REQUEST_TIMEOUT']} seconds" in PAGE
    assert f"at most {study._PATIENCE:.0f} seconds" in PAGE
    assert all(name in PAGE for name in _DEFAULTS if "PRINTING" not in name)
    assert LINES
