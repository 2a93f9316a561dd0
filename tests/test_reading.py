"""Commands that only read results import no library that trains, on a study as a run leaves it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from report.studies import make_study_folder

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "sklearn", "optuna", "tokenizers"}
#: Runs the command line with its arguments, then says on a line of its own what was imported.
RUN = """
import sys
from tunebench import cli
try:
    cli.main()
finally:
    print("\\nimported", *sorted(sys.modules))
"""


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


#: What is left out too, by command: results are tables of records, and help is words.
UNUSED = {
    "report": set(),
    "import": {"jinja2", "matplotlib", "pandas"},
    "--help": {"numpy", "pydantic", "scipy", "yaml"},
    "--version": {"numpy", "pydantic", "scipy", "yaml"},
}


@pytest.mark.parametrize(
    "command", ["report", "recommend", "tables", "results", "status", "import", "--help", "--version"]
)
def test_reading_imports_nothing_that_trains(command: str, trainer_folder: Path, tmp_path: Path) -> None:
    if command == "import":
        known = ["data=imdb", "train_size=5000", "seed=1", "model=bert-base-uncased", "kind=full"]
        words = [str(trainer_folder), "--out", str(tmp_path / "out"), *(w for k in known for w in ("--set", k))]
    elif command.startswith("--"):
        words = []
    else:
        words = [str(make_study_folder(tmp_path, sizes=(500,)))]
        words += ["--no-run-figures"] if command == "report" else []
    done = subprocess.run(
        [sys.executable, "-c", RUN, command, *words], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "tunebench.cli" in imported
    reading = {"jinja2", "matplotlib", "pandas", "pyarrow", "tunebench.data.load"}
    assert not imported & (HEAVY | UNUSED.get(command, reading))


def test_importing_the_tables_leaves_scipys_parts_for_when_they_are_needed() -> None:
    """They take most of a second, so modules import scipy, which loads each part when it is first used."""
    code = "import sys, tunebench.report.tables, tunebench.analysis.recommend; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy.special", "scipy.stats", "scipy.optimize"} & set(done.stdout.split())
