"""Commands that only read results import no library that trains, on a study as a run leaves it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from report.studies import make_study_folder

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "sklearn", "optuna", "tokenizers"}
#: Runs commands, a JSON list of their words, and then says on a line of its own what was imported.
RUN = """
import json, sys
from tunebench import cli
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
print("\\nimported", *sorted(sys.modules))
"""


def imported_by(*commands: list[str]) -> set[str]:
    """Return the names of the modules that are there after some commands."""
    words = [sys.executable, "-c", RUN, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    found = set(done.stdout.splitlines()[-1].split())
    assert "tunebench.cli" in found
    return found


@pytest.fixture(scope="module")
def trainer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a plain Trainer script leaves of a run, as far as an import needs it."""
    folder = tmp_path_factory.mktemp("theirs") / "full_5k"
    folder.mkdir()
    log = [
        {"loss": 0.6, "learning_rate": 5e-5, "epoch": 0.5, "step": 10},
        {"eval_loss": 0.5, "eval_accuracy": 0.8, "eval_f1": 0.79, "epoch": 1.0, "step": 20},
    ]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log, "global_step": 20, "epoch": 1.0}))
    return folder


def test_help_imports_nothing_that_commands_work_with() -> None:
    working = {"numpy", "pydantic", "scipy", "yaml", "tunebench.study", "tunebench.analysis", "tunebench.execution"}
    assert not imported_by(["--version"], ["--help"]) & (HEAVY | working)


def test_results_are_read_without_what_trains_draws_or_reads_texts(tmp_path: Path) -> None:
    folder = str(make_study_folder(tmp_path, sizes=(500,)))
    reading = {"jinja2", "matplotlib", "pandas", "pyarrow", "scipy.optimize", "scipy.stats", "tunebench.data.types"}
    found = imported_by(*([command, folder] for command in ("status", "results", "tables", "recommend")))
    assert not found & (HEAVY | reading)
    assert "scipy.special" in found and "scipy.special" not in imported_by(["status", folder], ["results", folder])


def test_reports_and_imports_need_nothing_that_trains(trainer_folder: Path, tmp_path: Path) -> None:
    known = ["data=imdb", "train_size=5000", "seed=1", "model=bert-base-uncased", "kind=full"]
    stated = [word for setting in known for word in ("--set", setting)]
    folder = str(make_study_folder(tmp_path, sizes=(500,)))
    found = imported_by(
        ["report", folder, "--no-run-figures"],
        ["import", str(trainer_folder), "--out", str(tmp_path / "out"), *stated],
    )
    assert not found & HEAVY


def test_importing_the_tables_leaves_scipys_parts_for_when_they_are_needed() -> None:
    """They take most of a second, so modules import scipy, which loads each part when it is first used."""
    code = "import sys, tunebench.report.tables, tunebench.analysis.recommend; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy.special", "scipy.stats", "scipy.optimize"} & set(done.stdout.split())
