"""What docs/export.md shows must work as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from tunebench import cli
from tunebench.inference.export import EXPORTERS

PAGE = (Path(__file__).parents[3] / "docs" / "export.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


LINES = [re.split(r" [<>] ", line)[0] for block in blocks("console") for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_commands_parse(line: str) -> None:
    program, name, *words = shlex.split(line)
    tree: Any = typer.main.get_command(cli.app)
    assert program == "tunebench"
    tree.commands[name].make_context(name, words)  # raises on an option that is not there


def test_the_loader_runs(
    lively_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lively_model("bert"), tmp_path / "models" / "reviews")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(blocks("python")[0], found)
    assert len(found["labels"]) == len(found["shares"]) == 2  # type: ignore[arg-type]


@pytest.mark.offline_weights
def test_the_classifier_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[1], {})
    assert capsys.readouterr().out.strip() in ("['good']", "['bad']")


def test_the_tolerances_are_those_of_the_code() -> None:
    tight = {EXPORTERS[name].tolerance for name in ("adapter", "merged", "linear", "onnx")}
    assert len(tight) == 1
    (first,) = tight
    assert (first.logit_difference, first.equal_predictions, first.score_loss) == (0.001, 0.99, 0.005)
    int8 = EXPORTERS["onnx-int8"].tolerance
    assert (int8.logit_difference, int8.equal_predictions, int8.score_loss) == (None, 0.95, 0.02)
