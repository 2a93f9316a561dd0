"""Kill workers of a study, at random moments from the first instant of their start on, and their parent.

Workers start as a user's do, each a new Python. The runs are fake: they count steps and train nothing, so that most
kills hit what is special to workers: their start, the way their work takes to them, locks, and messages.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

import fakes
from faults.killer import Tally
from tunebench.store.study_folder import StudyStore

DRIVER = Path(__file__).parents[1] / "execution" / "executors" / "process_driver.py"
#: Cells of a study; times it is started and its parent killed, before it may end; workers of each start.
CELLS, STARTS, WORKERS = 6, 3, 2
#: Longest wait for a study of fake runs; beyond it, it hangs.
LIMIT = 900.0


def run_study(folder: Path, generator: random.Random, tally: Tally) -> None:
    """Run one study through kills, and count what was hit and what was wrong."""
    before = tally.kills
    for _ in range(STARTS):
        process = _start(folder)
        _kill_workers(process, generator.randint(0, WORKERS), generator, tally)
        time.sleep(generator.uniform(0, 2.0))
        if process.poll() is None:
            count(tally, "driver")
        process.kill()
        process.wait()
    process = _start(folder)
    _kill_workers(process, generator.randint(0, WORKERS), generator, tally)
    end(process, tally)
    # A step whose process was killed before its checkpoint is taken again, and no other.
    compare(folder, tally, most=(tally.kills - before) * WORKERS)


def count(tally: Tally, victim: str) -> None:
    """Count a kill."""
    tally.kills += 1
    tally.victims[victim] += 1


def end(process: subprocess.Popen[bytes], tally: Tally) -> None:
    """Wait for the end of a study's process, which must be a good one."""
    try:
        if code := process.wait(LIMIT):
            tally.wrong.append(f"it ended with exit code {code}")
    except subprocess.TimeoutExpired:
        tally.wrong.append("it hangs")
        for child in _children(process.pid):
            child.kill()
        process.kill()
        process.wait()


def compare(folder: Path, tally: Tally, *, most: int) -> None:
    """Note what a study of fake runs has lost, and whether more steps were taken again than its kills explain."""
    store = StudyStore.open(folder)
    cells = store.cells()
    for cell in cells:
        tally.runs_compared += 1
        if cell.record is None or cell.status != "complete":
            tally.wrong.append(f"{cell.spec.run_id}: {cell.status}")
        else:
            store.run_folder(cell.spec.run_id).verify(cell.record)
            tally.resumed += "resumed" in store.run_folder(cell.spec.run_id).log.read_text()
    steps = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(folder))
    if missing := [cell.spec.run_id for cell in cells if (cell.spec.run_id, fakes.STEPS) not in steps]:
        tally.wrong.append(f"complete without a last step: {missing}")
    tally.studies += 1
    again = sum(steps.values()) - len(steps)
    tally.moments["steps taken again"] += again
    if again > most:
        tally.wrong.append(f"{again} steps were taken again, more than {most}")


def _kill_workers(process: subprocess.Popen[bytes], most: int, generator: random.Random, tally: Tally) -> None:
    """Kill so many workers, each at a random moment after it appeared."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < most:
        workers = [child for child in _children(process.pid) if child.pid not in killed]
        if not workers:
            time.sleep(0.002)
            continue
        time.sleep(generator.choice([0.0, generator.uniform(0, 0.05), generator.uniform(0, 3.0)]))
        victim = generator.choice(workers)
        killed.add(victim.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            young = time.time() - victim.create_time() < 1
            victim.send_signal(signal.SIGKILL)
            count(tally, "worker in its first second" if young else "worker")


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
