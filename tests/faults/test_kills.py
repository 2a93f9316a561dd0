"""Studies that are killed hard, again and again; ``faults.kills`` does the same as often as one likes."""

from __future__ import annotations

import json
from pathlib import Path

import warm
from faults import kills
from faults import study as faulty

KINDS = ("search by halving in two workers", "the test part is opened")


def test_killed_again_and_again_a_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # In a process of its own: the forks want one without threads, which pytest's is not by now.
    environment = faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"}
    said, found = tmp_path / "said.txt", tmp_path / "found.json"
    process = warm.start(_kill_often, tmp_path, found, environment=environment, told=said)
    process.join()
    assert process.exitcode == 0, said.read_text()[-3000:]
    told = json.loads(found.read_text())
    assert [part["wrong"] for part in told.values()] == [[], []]
    assert all(part["kills"] >= 1 and part["studies"] >= 1 for part in told.values())
    assert told["the test part is opened"]["looks"] >= 2


def _kill_often(root: Path, found: Path) -> None:
    kills.warm_up(root)
    told = {name: kills.run_kind(root, name, kills=2, seed=7).told() for name in KINDS}
    found.write_text(json.dumps(told))
