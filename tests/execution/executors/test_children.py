"""Child processes that are killed at every point of their start, and a parent that ends meanwhile."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import util
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import fakes
from tunebench.data.types import Split, TextDataset
from tunebench.execution.display import PlainDisplay
from tunebench.execution.executors import data_parallel, processes
from tunebench.execution.executors.data_parallel import ProcessDiedError, run_in_processes
from tunebench.execution.executors.processes import ProcessExecutor
from tunebench.execution.runner import Job, Summary
from tunebench.machine.settings import Execution

#: More than a pipe holds, so that a parent that writes it to a dead child would wait.
TEXTS = ["a text that is much the same as the others, and not short" * 4] * 5_000
DATASET = TextDataset("fake", None, ("no", "yes"), Split(TEXTS, np.arange(len(TEXTS)) % 2), None)


def make_job(folder: Path, stream: io.StringIO, execution: Execution) -> tuple[list[Any], Job]:
    """Return two fake runs over a large data set."""
    store, specs = fakes.make_store(folder, fakes.make_study(train_sizes=[10]))
    return specs, Job(store, DATASET, execution, PlainDisplay(stream, interval=0.0), fakes.train)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns or raises; fail if it takes longer, since a hang would hold up all tests."""
    found: list[Any] = []

    def target() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, f"it hangs: not back after {seconds} s"
    return found[0]


def kill(number: int) -> None:
    """Kill a child, and wait until it is dead, but not yet reaped."""
    os.kill(number, signal.SIGKILL)
    while psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        pass


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Have children killed at a point of their start; returns their ids, which are filled in later."""

    def prepare(point: str, *, every: bool) -> list[int]:
        started: list[int] = []
        killed: set[int] = set()
        spawn, told = util.spawnv_passfds, processes.tell_child

        def kill_them() -> None:
            for number in started if every else started[:1]:
                if number not in killed:
                    killed.add(number)
                    kill(number)

        def spawned(path: Any, args: Any, fds: Any) -> int:
            number: int = spawn(path, args, fds)
            if any("spawn_main" in os.fsdecode(arg) for arg in args):  # the other child is Python's tracker
                started.append(number)
                if point == "spawned":
                    kill_them()
            return number

        def tell(connection: Any, value: Any) -> bool:
            if point == "ready":
                kill_them()
            heard = told(connection, value)
            if point == "told":
                kill_them()
            return heard

        monkeypatch.setattr(util, "spawnv_passfds", spawned)
        for module in (processes, data_parallel):
            monkeypatch.setattr(module, "tell_child", tell)
        return started

    return prepare


@pytest.mark.parametrize(
    ("point", "every"), [("spawned", True), ("spawned", False), ("ready", True), ("told", True), ("told", False)]
)
def test_a_worker_that_dies_while_it_starts_holds_up_nothing(
    point: str, every: bool, kill_at: Callable[..., list[int]], tmp_path: Path
) -> None:
    started, stream = kill_at(point, every=every), io.StringIO()
    execution = Execution(device="cpu", threads=1, workers=2)
    specs, job = make_job(tmp_path, stream, execution)
    summary = within(60, lambda: ProcessExecutor(execution).run(specs, job))
    assert isinstance(summary, Summary), summary
    assert sorted(summary.complete) == sorted(spec.run_id for spec in specs)
    assert not summary.failed and len(started) == 2
    assert "ended with code -9" in stream.getvalue()
    steps = [(run_id, step) for run_id, step, _ in fakes.steps_taken(tmp_path)]
    assert len(set(steps)) == 2 * fakes.STEPS


@pytest.mark.parametrize("point", ["spawned", "ready"])
def test_a_process_of_a_group_that_dies_while_it_starts_fails_the_run(
    point: str, kill_at: Callable[..., list[int]], tmp_path: Path
) -> None:
    kill_at(point, every=True)
    execution = Execution(device="cpu", threads=1, processes=2)
    specs, job = make_job(tmp_path, io.StringIO(), execution)
    attempt = job.attempt(specs[0], report=lambda progress: None, stop=lambda: False)
    error = within(60, lambda: run_in_processes(replace(attempt, callbacks=partial(list))))
    assert isinstance(error, ProcessDiedError) and "SIGKILL" in str(error)


def test_no_worker_is_started_where_nothing_is_open(kill_at: Callable[..., list[int]], tmp_path: Path) -> None:
    started = kill_at("never", every=False)
    fakes.run(tmp_path, fakes.make_study(train_sizes=[10]))
    execution = Execution(device="cpu", threads=1, workers=2)
    specs, job = make_job(tmp_path, io.StringIO(), execution)
    summary = ProcessExecutor(execution).run(specs, job)
    assert len(summary.skipped) == 2 and not started


#: Starts a worker of which the parent is gone before it can ask for its work.
_ORPHAN = """
import os, sys
from tunebench.execution.executors import {module}
from tunebench.execution.executors.children import start_child
if __name__ == "__main__":
    start_child({module}._run_child, *{arguments}, name="orphan")
    os._exit(0)
"""


@pytest.mark.parametrize(("module", "arguments"), [("processes", (0, 2)), ("data_parallel", (0,))])
def test_a_worker_whose_parent_has_ended_says_nothing(
    module: str, arguments: tuple[int, ...], tmp_path: Path
) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(_ORPHAN.format(module=module, arguments=arguments))
    # Standard error closes when the last one that holds it has ended: the worker.
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
