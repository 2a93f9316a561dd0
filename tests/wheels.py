"""Builds wheels from a copy of the checkout, as a release does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, at: Path, **environment: str) -> str:
    """Run a command that can import nothing from the checkout, and return what it prints."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | environment
    done = subprocess.run([str(word) for word in command], cwd=at, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder: Path, *options: str, **environment: str) -> list[Path]:
    """Build from a copy of the checkout, since building leaves files behind; return what was built."""
    copy, place = folder / "copy", folder / "dist"
    skip = shutil.ignore_patterns("results", "__pycache__", "*.egg-info")
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = (sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", place, copy)
    run(*command, at=folder, **environment)
    return sorted(place.iterdir())
