"""Worker processes: what becomes of them when their parent ends, and what they say."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import fakes
from fakes import STEPS, steps_taken
from tunebench.execution.display import PlainDisplay
from tunebench.execution.executors.processes import ProcessExecutor
from tunebench.execution.executors.serial import SerialExecutor
from tunebench.execution.runner import Job, Summary
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.parts import Search

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a study of fake runs in two workers of a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begin(seconds: float, **changes: Any) -> subprocess.Popen[str]:
        driver = Path(__file__).with_name("process_driver.py")
        command = [sys.executable, str(driver), str(tmp_path), str(seconds), json.dumps(changes)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        # Workers lead sessions of their own, so they are ended one by one.
        family = [process] if process.poll() is not None else [*psutil.Process(process.pid).children(True), process]
        for member in family:
            member.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def wait_for_workers(folder: Path, count: int) -> set[int]:
    """Wait until so many processes took steps, and return their ids."""
    deadline = time.monotonic() + 120
    found: set[int] = set()
    while len(found) < count:
        assert time.monotonic() < deadline, "the workers took no steps"
        time.sleep(0.05)
        if (folder / "steps.txt").exists():
            found = {process for _, _, process in steps_taken(folder)}
    return found


def statuses(folder: Path) -> list[str]:
    return [cell.status for cell in StudyStore.open(folder).cells()]


def test_workers_end_with_a_parent_that_is_killed(start: Start, tmp_path: Path) -> None:
    parent = start(0.5)
    workers = [psutil.Process(number) for number in wait_for_workers(tmp_path, 2)]
    parent.kill()
    try:
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()
    taken = len(steps_taken(tmp_path))
    time.sleep(1.0)
    assert len(steps_taken(tmp_path)) == taken < 4 * STEPS
    assert "running" not in statuses(tmp_path)
    summary = fakes.run(tmp_path, fakes.make_study())
    assert not summary.failed and set(statuses(tmp_path)) == {"complete"}


def test_a_signal_to_the_parent_has_every_worker_save_a_checkpoint(start: Start, tmp_path: Path) -> None:
    parent = start(0.5)
    wait_for_workers(tmp_path, 2)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 130
    assert len(list(tmp_path.glob("runs/*/checkpoint/state.json"))) == 2
    fakes.run(tmp_path, fakes.make_study())
    assert len(steps_taken(tmp_path)) == 4 * STEPS  # not one step twice


def test_workers_say_that_they_wait_for_others_but_not_for_each_other(start: Start, tmp_path: Path) -> None:
    changes = {"train_sizes": [10]}
    store, specs = fakes.make_store(tmp_path, fakes.make_study(**changes))
    said = "waiting for 1 run that another process trains"
    with store.locked(specs[0].run_id):
        parent = start(0.3, **changes)
        assert parent.stderr is not None
        lines = iter(parent.stderr.readline, "")
        assert any(said in line for line in lines)
    assert said not in "".join(lines)
    assert parent.wait(60) == 0 and statuses(tmp_path) == ["complete"] * 2
    for left in tmp_path.glob("runs/*/record.json"):
        left.unlink()
    (tmp_path / "steps.txt").unlink()
    # One run is left, and one of the workers has it.
    store.run_folder(specs[0].run_id).commit(fakes.make_record(specs[0], store.run_folder(specs[0].run_id)))
    alone = start(0.5, **changes)
    assert alone.stderr is not None
    assert alone.wait(60) == 0 and said not in alone.stderr.read()


RATES = {"learning_rate": [1e-6, 1e-4, 1e-2, 3e-2]}


def search(folder: Path, workers: int, *, fatal: str = "") -> tuple[Summary, dict[str, str]]:
    """Search over the rates of two strategies at two sizes; return the summary and the status of each run."""
    study = fakes.make_study(strategies={"full": RATES, "lora": RATES})
    store, specs = fakes.make_store(folder, study)
    execution = Execution(device="cpu", threads=1, workers=workers)
    stream = io.StringIO()
    train = partial(fakes.train_for_search, fatal=fatal)
    job = Job(store, fakes.DATASET, execution, PlainDisplay(stream, interval=0.0), train)
    executor = (ProcessExecutor if workers > 1 else SerialExecutor)(execution)
    summary = executor.search(specs, job, Search(method="halving"))
    assert ("a worker ended with code 9" in stream.getvalue()) == bool(fatal)
    return summary, {cell.spec.run_id: cell.status for cell in store.cells()}


@pytest.mark.parametrize("fatal", ["", "lora"])
def test_a_search_in_two_workers_decides_as_in_one_process(tmp_path: Path, fatal: str) -> None:
    alone, expected = search(tmp_path / "alone", 1)
    shared, found = search(tmp_path / "shared", 2, fatal=fatal)
    assert found == expected and set(expected.values()) == {"complete", "pruned"}
    for one in (alone, shared):
        assert sorted(one.complete) == sorted(expected) and not one.failed and not one.skipped
    counted = [(run_id, step) for run_id, step, _ in steps_taken(tmp_path / "shared")]
    assert len(counted) == len(set(counted)) == len(steps_taken(tmp_path / "alone"))
    # What a worker left when it died is done here.
    assert (os.getpid() in {process for *_, process in steps_taken(tmp_path / "shared")}) == bool(fatal)
    again, same = search(tmp_path / "shared", 2)
    assert sorted(again.skipped) == sorted(expected) and not again.complete and same == found


def test_the_display_is_told_how_many_runs_share_the_time(tmp_path: Path) -> None:
    class Listens(PlainDisplay):
        def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
            given.update(estimates, together=at_a_time)

    given: dict[str, float] = {}
    store, specs = fakes.make_store(tmp_path, fakes.make_study())
    execution = Execution(device="cpu", threads=1, workers=2)
    estimates = {spec.run_id: 10.0 for spec in specs}
    display = Listens(io.StringIO())
    ProcessExecutor(execution).run(specs, Job(store, fakes.DATASET, execution, display, fakes.train, estimates))
    assert given == estimates | {"together": 2}
