"""Kill workers of a study, at random moments from the first instant of their start on, and their parent.

``python -m faults.worker_kills --studies 50 --out FILE``. The runs are fake: they count steps and train nothing, so
that most kills hit what is special to workers: their start, the way their work takes to them, locks, and messages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

import fakes
from tunebench.store.study_folder import StudyStore

DRIVER = Path(__file__).parents[1] / "execution" / "executors" / "process_driver.py"
#: Cells of a study; times it is started and its parent killed, before it may end; workers of each start.
CELLS, STARTS, WORKERS = 6, 3, 2
#: Longest wait for a study of fake runs; beyond it, it hangs.
LIMIT = 180.0


def run_study(folder: Path, generator: random.Random) -> Counter[str]:
    """Run one study through kills, and return what was hit and what was wrong."""
    found: Counter[str] = Counter()
    for _ in range(STARTS):
        process = _start(folder)
        found += _kill_workers(process, generator.randint(0, WORKERS), generator)
        time.sleep(generator.uniform(0, 2.0))
        found["parents killed"] += process.poll() is None
        process.kill()
        process.wait()
    process = _start(folder)
    found += _kill_workers(process, generator.randint(0, WORKERS), generator)
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        found["hung"] += 1
        for child in _children(process.pid):
            child.kill()
        process.kill()
        process.wait()
    else:
        found["ended badly"] += code != 0
    return found + _wrong(folder)


def _kill_workers(process: subprocess.Popen[bytes], count: int, generator: random.Random) -> Counter[str]:
    """Kill so many workers, each at a random moment after it appeared."""
    found: Counter[str] = Counter()
    killed: set[int] = set()
    while process.poll() is None and len(killed) < count:
        workers = [child for child in _children(process.pid) if child.pid not in killed]
        if not workers:
            time.sleep(0.002)
            continue
        time.sleep(generator.choice([0.0, generator.uniform(0, 0.05), generator.uniform(0, 3.0)]))
        victim = generator.choice(workers)
        killed.add(victim.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            age = time.time() - victim.create_time()
            victim.send_signal(signal.SIGKILL)
            found["workers killed"] += 1
            found["of which in their first second"] += age < 1
    return found


def _start(folder: Path) -> subprocess.Popen[bytes]:
    changes = json.dumps({"train_sizes": list(range(10, 10 + CELLS // 2))})
    command = [sys.executable, str(DRIVER), str(folder), "0.05", changes, "5000"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _children(number: int) -> list[psutil.Process]:
    """Return the workers; Python's own helper process is none of them."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(number).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("spawn_main" in part for part in child.cmdline()):
                    found.append(child)
    return found


def _wrong(folder: Path) -> Counter[str]:
    """Return what is lost, failed or done twice."""
    found: Counter[str] = Counter()
    store = StudyStore.open(folder)
    for cell in store.cells():
        found["runs compared"] += 1
        found["lost"] += cell.status != "complete"
        if cell.record is not None:
            store.run_folder(cell.spec.run_id).verify(cell.record)
    steps = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(folder))
    found["lost"] += sum((cell.spec.run_id, fakes.STEPS) not in steps for cell in store.cells())
    # A step whose process was killed before its checkpoint is taken again, and no other.
    found["steps taken again"] = sum(steps.values()) - len(steps)
    return found


def main() -> None:
    """Run studies and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    generator, found = random.Random(options.seed), Counter[str]()
    for number in range(options.studies):
        with tempfile.TemporaryDirectory(prefix="tunebench-faults-") as place:
            found += run_study(Path(place), generator)
        found["studies"] += 1
        sys.stderr.write(f"study {number + 1}: {dict(found)}\n")
    names = ("studies", "workers killed", "of which in their first second", "parents killed", "runs compared")
    names += ("steps taken again", "lost", "hung", "ended badly")
    summary: dict[str, Any] = {
        "command": f"python -m faults.worker_kills --studies {options.studies} --seed {options.seed}",
        **{name: found[name] for name in names},
    }
    text = json.dumps(summary, indent=1) + "\n"
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    kills = found["workers killed"] + found["parents killed"]
    sys.exit(
        int(found["lost"] + found["hung"] + found["ended badly"] + max(0, found["steps taken again"] - kills) > 0)
    )


if __name__ == "__main__":
    main()
