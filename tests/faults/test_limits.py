"""What the system itself refuses: a real disk that fills up under a study, and a real limit on memory."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import warm
from faults import study as faulty
from tunebench.store.study_folder import StudyStore


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that may grow to 8 GB, of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs a privileged user")
    yield folder
    subprocess.run(["umount", folder], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def _long_texts(folder: Path, **changes: Any) -> Path:
    """Write a study of the reference engine whose texts fill 512 tokens."""
    study = faulty.make(folder, train_sizes=[64], max_length=512, epochs=1, engine="reference", **changes)
    words = " ".join(["word"] * 600)
    for file in (folder / "data").glob("*.csv"):
        head, *lines = file.read_text().splitlines()
        file.write_text("\n".join([head, *(f"{words} {line}" for line in lines)]) + "\n")
    return study


def used(folder: Path) -> int:
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())


def test_a_disk_that_fills_up_costs_no_finished_run_and_leaves_a_study_that_goes_on(
    disk: Path, tmp_path: Path
) -> None:
    # The adapter first: what comes after it, the whole model, is the larger.
    strategies = dict(reversed(faulty.STRATEGIES.items()))
    study = faulty.make(tmp_path / "input", strategies=strategies, train_sizes=[40], epochs=1)
    environment = faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"}
    whole = faulty.start(study, tmp_path / "whole", environment=environment)
    whole.join()
    out, told = disk / "out", tmp_path / "told.txt"
    process = faulty.start(study, out, environment=environment, told=told)
    while process.is_alive() and not list(out.glob("runs/*/record.json")):
        time.sleep(0.02)
    # From here on a checkpoint has no room: others have taken what the plan found free.
    resize(disk, str(used(disk) + 300_000))
    process.join(300)
    said = told.read_text()
    assert process.exitcode not in (0, None)
    assert "No space left on device" in said, said
    assert "Traceback" not in said, said
    kept = faulty.results(out)
    expected = faulty.results(tmp_path / "whole")
    assert 1 <= len(kept) < len(expected)
    assert all(run == expected[run_id] for run_id, run in kept.items())

    resize(disk, "8g")
    again = faulty.start(study, out, environment=environment, told=told)
    again.join()
    assert again.exitcode == 0, told.read_text()
    assert faulty.results(out) == expected
    assert faulty.leftovers(out) == []


def test_a_run_that_hits_the_memory_limit_is_a_record_and_the_next_one_trains(tmp_path: Path) -> None:
    strategies = {
        "greedy": {"kind": "full", "learning_rate": 1e-3, "batch_size": 64},
        "modest": {"kind": "full", "learning_rate": 1e-3, "batch_size": 2},
    }
    # The limit is set after a first study: what is left is for one run, not for what a process keeps from then
    # on, such as libraries, generated code, and an arena of 64 MB for each thread of as many as there are cores.
    first = _long_texts(tmp_path / "first", strategies={"modest": strategies["modest"]})
    study = _long_texts(tmp_path / "input", strategies=strategies)
    told, out = tmp_path / "told.txt", tmp_path / "out"
    environment = faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"}
    process = warm.start(_run_limited, first, study, out, environment=environment, told=told)
    process.join()
    said = told.read_text()
    assert "Traceback" not in said, said
    states = {cell.spec.label: cell.status for cell in StudyStore.open(out).cells()}
    assert states == {"greedy": "out_of_memory", "modest": "complete"}, said
    assert process.exitcode not in (0, 2)
    assert "out of memory" in said


def _run_limited(first: Path, study: Path, out: Path) -> None:
    """Run one study, and then another with 600 MB more than the process has by then."""
    with pytest.raises(SystemExit, match="0"):
        faulty.run(first, first.with_suffix(".out"))
    size = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (size + 600 * 2**20,) * 2)
    faulty.run(study, out)
