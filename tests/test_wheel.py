"""The wheel holds all of the package and nothing else, and works alone, outside the checkout."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from wheels import ROOT, built, run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist."""
    wheel, sdist = built(tmp_path_factory.mktemp("build"))
    assert wheel.name.endswith("-py3-none-any.whl") and sdist.name.endswith(".tar.gz")
    return wheel


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment with the wheel, which finds its dependencies where the tests find them."""
    folder = tmp_path_factory.mktemp("alone") / "env"
    venv.create(folder, symlinks=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, at=folder)
    # Only now, or pip would take the tests' own tunebench for the wheel's. No .pth file is read in what a .pth file
    # adds, so the checkout is not found although it is installed there.
    (own,) = folder.glob("**/site-packages")
    places = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "dependencies.pth").write_text("\n".join(places) + "\n", encoding="utf-8")
    return scripts


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    files = (path for path in (source / "tunebench").rglob("*") if path.is_file())
    package = {path.relative_to(source).as_posix() for path in files if "__pycache__" not in path.parts}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == package
    assert "tunebench/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_works_alone(
    alone: Path, tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    """It runs a study and writes the report. TF-IDF is enough: encoders need no other kind of file."""
    place = run(alone / "python", "-c", "import tunebench; print(tunebench.__file__)", at=tmp_path)
    assert Path(place.strip()).is_relative_to(alone.parent)
    assert "quickstart" in run(alone / "tunebench", "presets", at=tmp_path)
    study = {
        "name": "tiny",
        "model": str(tiny_model("bert")),
        "data": str(reviews),
        "strategies": ["tfidf"],
        "train_sizes": [40],
        "seeds": [1],
        "max_length": 16,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    run(alone / "tunebench", "run", "tiny.yaml", "--out", "out", "--no-measure", at=tmp_path)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "1 complete" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert all(part in page for part in ("</html>", "<style>", "<script"))
