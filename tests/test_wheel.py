"""The wheel holds all of the package and nothing else, and works alone, outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tunebench.engine.native.build import VARIANTS

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, at: Path, **environment: str) -> str:
    """Run a command that can import nothing from the checkout, and return what it prints."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | environment
    done = subprocess.run([str(word) for word in command], cwd=at, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building leaves files behind."""
    copy = tmp_path_factory.mktemp("build") / "copy"
    skip = shutil.ignore_patterns("results", "__pycache__", "*.egg-info")
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    """The wheel, built from the sdist."""
    place = checkout.parent / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place, checkout, at=checkout.parent)
    assert len(list(place.glob("tunebench-*.tar.gz"))) == 1
    (found,) = place.glob("*.whl")
    assert found.name.endswith("-py3-none-any.whl")
    return found


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


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_wheel_with_compiled_kernels_says_for_which_system_it_is(checkout: Path) -> None:
    place, build = checkout.parent / "prebuilt", (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    run(*build, "--outdir", place, checkout, at=checkout.parent, TUNEBENCH_PREBUILT="1")
    (found,) = place.glob("*.whl")
    assert "-py3-none-linux_" in found.name
    names = [name for name in zipfile.ZipFile(found).namelist() if name.endswith(".so")]
    assert len(names) == len(VARIANTS)
    assert all(name.startswith("tunebench/engine/native/prebuilt/kernels-") for name in names)


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
