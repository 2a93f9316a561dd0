"""The short form of ``make faults``: a few real kills of a real study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from faults import study as faulty


def test_killed_again_and_again_a_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # In a process of its own: the forks want one without threads, which pytest's is not by now.
    script = (
        "import json, sys; from pathlib import Path; from faults.kills import run_kills\n"
        "tally, runs = run_kills(Path(sys.argv[1]), kills=4, per_study=4, seed=7, train_sizes=[40], epochs=2)\n"
        "print(json.dumps([tally.kills, tally.runs_compared, tally.wrong, runs]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
        env=faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kills, compared, wrong, runs = json.loads(done.stdout.splitlines()[-1])
    assert wrong == []
    assert kills >= 4
    assert len(runs) == 2
    assert compared >= 2
