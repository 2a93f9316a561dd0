"""Commands whose standard streams are closed, full, or of an encoding that lacks what is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fakes
from faults import study as faulty
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.training.attempt import Attempt

MAIN = [sys.executable, "-W", "ignore", "-m", "tunebench"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a failure in letters that a narrow encoding lacks."""

    def train(attempt: Attempt) -> RunRecord:
        if attempt.spec.kind == "lora":
            raise RuntimeError("mémoire pleine")
        return fakes.train(attempt)

    target = tmp_path_factory.mktemp("streams")
    fakes.run(target, fakes.make_study(train_sizes=[10]), train)
    return target


def run(folder: Path, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a shell's redirection behind it."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *MAIN, "status", str(folder)]
    env = faulty.environment(folder / "cache") | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_a_name_that_the_encoding_lacks_is_replaced_and_that_is_said(folder: Path) -> None:
    ended = run(folder, "", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (ended.returncode, ended.stdout.count("m?moire pleine")) == (0, 1)
    assert "were replaced by '?'" in ended.stderr and "Traceback" not in ended.stderr
    whole = run(folder, "", PYTHONIOENCODING="utf-8")
    assert "mémoire pleine" in whole.stdout and not whole.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error_and_no_file_takes_its_number(closed: str, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ended = run(folder, closed)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert StudyStore.open(folder).cells()[0].status == "complete"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device here that is always full")
def test_a_full_standard_output_is_one_message(folder: Path) -> None:
    ended = run(folder, "> /dev/full")
    assert ended.returncode == 2 and "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
