"""The short form of ``make faults``: a few real kills of a real study."""

from __future__ import annotations

import json
from pathlib import Path

import warm
from faults import study as faulty
from faults.kills import run_kills


def test_killed_again_and_again_a_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # In a process of its own: the forks want one without threads, which pytest's is not by now.
    environment = faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"}
    told, found = tmp_path / "told.txt", tmp_path / "found.json"
    process = warm.start(_kill_often, tmp_path, found, environment=environment, told=told)
    process.join()
    assert process.exitcode == 0, told.read_text()[-3000:]
    kills, compared, wrong, runs = json.loads(found.read_text())
    assert wrong == []
    assert kills >= 4
    assert len(runs) == 2
    assert compared >= 2


def _kill_often(root: Path, found: Path) -> None:
    tally, runs = run_kills(root, kills=4, per_study=4, seed=7, train_sizes=[40], epochs=2)
    found.write_text(json.dumps([tally.kills, tally.runs_compared, tally.wrong, runs]))
