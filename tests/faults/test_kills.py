"""The short form of ``make faults``: a few real kills of real studies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from faults import study as faulty

_SCRIPT = """
import json, sys
from pathlib import Path
from faults import kills
root = Path(sys.argv[1])
kills.warm_up(root)
told = {}
for name in ("one process, reference engine", "two workers", "the test part is opened"):
    told[name] = kills.run_kind(root, name, kills=2, seed=7).told()
print(json.dumps(told))
"""


def test_killed_again_and_again_a_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # In a process of its own: the forks want one without threads, which pytest's is not by now.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(tmp_path)],
        env=faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert [part["wrong"] for part in told.values()] == [[], [], []]
    assert all(part["kills"] >= 1 and part["studies"] >= 1 for part in told.values())
    assert told["the test part is opened"]["looks"] >= 2
