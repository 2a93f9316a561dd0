"""What the system itself refuses: a real disk that fills up under a study, and a real limit on memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    subprocess.run(faulty.command(study, tmp_path / "whole"), env=environment, check=True, capture_output=True)
    out = disk / "out"
    process = subprocess.Popen(
        faulty.command(study, out), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while process.poll() is None and not list(out.glob("runs/*/record.json")):
        time.sleep(0.02)
    # From here on a checkpoint has no room: others have taken what the plan found free.
    resize(disk, str(used(disk) + 300_000))
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "No space left on device" in said, said
    assert "Traceback" not in said, said
    kept = faulty.results(out)
    expected = faulty.results(tmp_path / "whole")
    assert 1 <= len(kept) < len(expected)
    assert all(run == expected[run_id] for run_id, run in kept.items())

    resize(disk, "8g")
    subprocess.run(faulty.command(study, out), env=environment, check=True, capture_output=True)
    assert faulty.results(out) == expected
    assert faulty.leftovers(out) == []


def test_a_run_that_hits_the_memory_limit_is_a_record_and_the_next_one_trains(tmp_path: Path) -> None:
    strategies = {
        "greedy": {"kind": "full", "learning_rate": 1e-3, "batch_size": 64},
        "modest": {"kind": "full", "learning_rate": 1e-3, "batch_size": 2},
    }
    first = _long_texts(tmp_path / "first", strategies={"modest": strategies["modest"]})
    study = _long_texts(tmp_path / "input", strategies=strategies)
    # The limit is set after a first study: what is left is for one run, not for what a process keeps from then
    # on, such as libraries, generated code, and an arena of 64 MB for each thread of as many as there are cores.
    script = (
        "import resource, sys\n"
        "from tunebench import api, cli\n"
        "api._write_report = lambda comparison, folder, **options: folder / 'report.html'\n"
        "first, *rest = sys.argv[1:]\n"
        "sys.argv[1:] = ['run', first, '--out', first + '.out', *rest[3:]]\n"
        "try: cli.main()\n"
        "except SystemExit as ended: assert not ended.code, ended\n"
        "size = next(int(l.split()[1]) * 1024 for l in open('/proc/self/status') if l.startswith('VmSize'))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 600 * 2**20,) * 2)\n"
        "sys.argv[1:] = ['run', *rest]\n"
        "cli.main()"
    )
    args = (first, study, "--out", tmp_path / "out", "--no-measure", "--threads", "1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, args)],
        env=faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    states = {cell.spec.label: cell.status for cell in StudyStore.open(tmp_path / "out").cells()}
    assert states == {"greedy": "out_of_memory", "modest": "complete"}, done.stderr
    assert done.returncode not in (0, 2)
    assert "out of memory" in done.stderr
