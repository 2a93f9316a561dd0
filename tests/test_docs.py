"""What the README shows must work as it stands, and what pages link to must be there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from click import Command, Group

from tunebench import cli
from tunebench.study.strict_yaml import parse_yaml
from tunebench.study.yaml_file import check_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Everything that is read as a page, here or on the site.
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("docs/design/*.md"),
    *ROOT.glob("docs/results/**/*.md"),
]
PAGES = [page for page in PAGES if "tables" not in page.parts]


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


def test_public_names_load() -> None:
    import tunebench

    assert sorted(tunebench.__all__) == tunebench.__all__
    for name in tunebench.__all__:
        assert getattr(tunebench, name) is not None
    with pytest.raises(AttributeError):
        tunebench.nothing_of_the_sort  # noqa: B018


def test_the_citation_names_this_version() -> None:
    import tunebench

    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert found["version"] == tunebench.__version__


@pytest.mark.parametrize("page", sorted(str(page.relative_to(ROOT)) for page in PAGES))
def test_links_lead_to_files_that_the_repository_keeps(page: str) -> None:
    """A report's own figures are drawn by ``make reports``, as it says; all else that pages link to is kept."""
    folder = (ROOT / page).parent
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [folder / target for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)]
    if page.endswith("report.md"):
        targets = [target for target in targets if target.parent.name != "figures"]
    assert [str(target) for target in targets if not target.exists()] == []
    if targets and (ROOT / ".git").exists():
        asked = "\n".join(str(target) for target in targets)
        found = subprocess.run(
            ["git", "check-ignore", "--stdin"], cwd=ROOT, input=asked, capture_output=True, text=True
        )
        assert found.stdout == ""


def test_the_site_shows_every_page() -> None:
    """Sphinx warns of pages without a place; this says it without building."""
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {
        line for block in re.findall(r"```{toctree}\n(.*?)```", contents, re.DOTALL) for line in block.split()
    }
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in PAGES if page.parent != ROOT}
    reports = {page for page in pages if page.endswith("/report")}
    assert "results/*/report" in listed
    assert pages - reports - {"index"} <= listed
