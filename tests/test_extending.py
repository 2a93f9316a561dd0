"""The example package installs as its README says, and its strategy and metric work from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tunebench.errors import TunebenchError
from tunebench.store.study_folder import StudyStore
from tunebench.study.yaml_file import load_study

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "extending"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")

#: Runs a study without a report. Prints the metric of its predictions, of three classes, and of one class alone.
RUN = """
import sys
from pathlib import Path
import numpy as np
from tunebench import Execution, api, load_study, run_study
from tunebench.execution.display import make_display
from tunebench.tasks.metrics import METRICS
api._write_report = lambda comparison, folder, **options: folder
path = Path(sys.argv[1])
study = load_study(str(path))
run_study(study, folder=path.parent / "out", execution=Execution(), display=make_display(), measure=False)
(predictions,) = path.parent.glob("out/runs/*/predictions.npz")
stored = np.load(predictions)
print(METRICS["kappa"](stored["labels"], stored["logits"]))
print(METRICS["kappa"](np.array([0, 0, 1, 1, 2]), np.eye(3)[[0, 1, 1, 1, 2]]))
print(METRICS["kappa"](np.array([1, 1]), np.eye(2)[[1, 1]]))
"""


def python(*words: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python, with a folder before those that it searches."""
    places = [str(path)] if path else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, *map(str, words)], env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which a copy of the example was installed: building leaves files behind."""
    folder = tmp_path_factory.mktemp("extending")
    shutil.copytree(EXAMPLE, folder / "copy")
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    done = python("-m", "pip", "install", *options, "--target", folder / "target", folder / "copy")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "target"


@pytest.fixture(scope="module")
def study(
    installed: Path, tiny_model: Callable[[str], Path], reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[float]]:
    """The folder of a finished study of one run with the strategy, and the values of the metric."""
    folder = tmp_path_factory.mktemp("norms")
    written = {
        "name": "tiny",
        "model": str(tiny_model("bert")),
        "data": str(reviews),
        "strategies": {"norms": {"learning_rate": 1e-2}},
        "train_sizes": [40],
        "seeds": [1],
        "max_length": 16,
        "epochs": 1,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    done = python("-c", RUN, folder / "study.yaml", path=installed)
    assert done.returncode == 0, done.stderr
    return folder / "out", [float(line) for line in done.stdout.split()]


def test_the_strategy_trains_layer_norms_and_head(study: tuple[Path, list[float]]) -> None:
    (run,) = (study[0] / "runs").glob("norms-*")
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert record["status"] == "complete" and record["spec"]["kind"] == "norms"
    trained = load_file(run / "weights.safetensors")
    head = {"bert.pooler.dense", "classifier"}
    norms = {"bert.embeddings.LayerNorm"} | {
        f"bert.encoder.layer.{layer}.{part}.LayerNorm"
        for layer in (0, 1)
        for part in ("attention.output", "output")
    }
    assert set(trained) == {f"{module}.{part}" for module in head | norms for part in ("weight", "bias")}
    assert sum(value.size for value in trained.values()) == record["parameters"]["trainable"]


def test_the_metric_scores_the_run(study: tuple[Path, list[float]]) -> None:
    def slow(labels: np.ndarray, predicted: np.ndarray) -> float:
        agreement = (labels == predicted).mean()
        chance = sum((labels == c).mean() * (predicted == c).mean() for c in range(3))
        return float((agreement - chance) / (1 - chance))

    (path,) = (study[0] / "runs").glob("norms-*/predictions.npz")
    with np.load(path) as stored:
        of_run = slow(stored["labels"], stored["logits"].argmax(1))
    of_three = slow(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 2]))
    assert study[1] == pytest.approx([of_run, of_three, np.nan], nan_ok=True) and 0 < of_three < 1


def test_without_the_package_its_study_is_refused_and_the_strategy_named(study: tuple[Path, list[float]]) -> None:
    folder = study[0]
    for read in (StudyStore.open(folder).study, lambda: load_study(str(folder.parent / "study.yaml"))):
        with pytest.raises(TunebenchError) as caught:
            read()
        message = str(caught.value)
        assert "'norms'" in message and "install the package that adds it" in message and "damaged" not in message


def test_the_readme_counts_the_lines_of_the_files() -> None:
    counts = re.findall(r"`([\w/]+\.py)`.*\| (\d+) \|", README)
    assert len(counts) == 2
    for name, count in counts:
        lines = (EXAMPLE / name).read_text(encoding="utf-8").splitlines()
        assert sum(bool(line.strip()) for line in lines) == int(count), name


def test_the_readme_shows_the_entry_points_of_the_package() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert shown in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
