"""What the README shows must work as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click import Command, Group

from tunebench import cli
from tunebench.study_file import check_study, parse_yaml

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("tunebench ")]


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_readme_parse(line: str) -> None:
    command: Command = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    while isinstance(command, Group):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    command.make_context("tunebench", words)  # raises on an option that is not there


def test_the_readmes_study_is_valid() -> None:
    (text,) = blocks("yaml")
    study = check_study(parse_yaml(text, where="README"))
    assert study.strategies["lora-everywhere"].learning_rate == (2.5e-4, 5e-4, 7.5e-4)


def test_the_readmes_python_runs() -> None:
    (code,) = blocks("python")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "all_linear\n"


def test_links_of_the_readme_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target


def test_public_names_load() -> None:
    import tunebench

    assert sorted(tunebench.__all__) == tunebench.__all__
    for name in tunebench.__all__:
        assert getattr(tunebench, name) is not None
    with pytest.raises(AttributeError):
        tunebench.nothing_of_the_sort  # noqa: B018
