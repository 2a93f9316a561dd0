"""Several runs side by side on one machine: worker processes that share a study through its locks.

Every worker walks the same plan; the lock of a run decides who takes it. In a search for learning rates, a worker
takes all rates of one strategy and size, as these are compared with each other. Threads are split between the
workers, and every record says how many there were, since their times are shared.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.execution.display import Display
from tunebench.execution.executors.base import Executor
from tunebench.execution.executors.children import (
    READY,
    ask_for_work,
    hear_child,
    leave_terminal,
    start_child,
    tell_child,
)
from tunebench.execution.runner import Job, Summary, failed_at, run_plan
from tunebench.execution.search import compared_together, run_search
from tunebench.execution.signals import stop_on_signals
from tunebench.machine import cores, devices
from tunebench.store.live import Progress
from tunebench.study.parts import Search
from tunebench.study.spec import RunSpec

#: Seconds between looks at whether to stop.
_POLL = 0.5


class ProcessExecutor(Executor):
    """Worker processes on this machine.

    A worker that dies leaves its run to the others; what is still open when all have ended is done in
    this process.
    """

    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells in ``execution.workers`` processes; ``job.train`` is a module-level function."""
        failures = {spec.run_id: failed_at(spec, job.store) for spec in specs}
        # Only what is open: complete runs are verified once, below, and not again by every worker.
        open_ = _open(specs, job)
        count = min(job.execution.at_a_time, len(open_))
        summary = _share_out([_Work(open_, _for_workers(job), failures)] * count, count, job)
        left = _left(specs, summary)
        if left:
            summary.add(run_plan(left, job, failures=failures))
        return summary

    def search(self, specs: Sequence[RunSpec], job: Job, search: Search) -> Summary:
        """Choose learning rates, in so many processes; see :func:`tunebench.execution.search.run_search`."""
        failures = {spec.run_id: failed_at(spec, job.store) for spec in specs}
        groups = compared_together(specs)
        work = [_Work(group, _for_workers(job), failures, search) for group in groups if _open(group, job)]
        summary = _share_out(work, min(job.execution.at_a_time, len(work)), job)
        left = {spec.run_id for spec in _left(specs, summary)}
        # All that are compared with what is left: their scores decide whether it goes on.
        again = [spec for group in groups if left & {s.run_id for s in group} for spec in group]
        if again:
            rest = run_search(again, job, search=search, failures=failures)
            done = {*summary.complete, *summary.failed}
            rest.skipped = [run_id for run_id in rest.skipped if run_id not in done]
            rest.failed = [run_id for run_id in rest.failed if run_id not in done]
            summary.add(rest)
        return summary


@dataclass(frozen=True)
class _Work:
    """What a worker is given at a time; the job's display is a :class:`_Sender`.

    Attributes:
        specs: Runs.
        job: What they share.
        failures: When each failed before this began.
        search: How they are compared while they train; None where they are not.
    """

    specs: Sequence[RunSpec]
    job: Job
    failures: Mapping[str, int | None]
    search: Search | None = None

    def do(self, display: _Sender) -> Summary:
        """Train the runs in a worker, and send what happens."""
        job = replace(self.job, display=display)
        if self.search is None:
            return run_plan(self.specs, job, failures=self.failures, waits=display.waits)
        return run_search(self.specs, job, search=self.search, failures=self.failures)


def _for_workers(job: Job) -> Job:
    """Return a job as workers get it. Threads are settled here, as a worker may be bound to a part of the cores."""
    execution = job.execution.model_copy(update={"threads": devices.threads_of(job.execution)})
    return replace(job, execution=execution, display=_Sender(), estimates={})


def _open(specs: Sequence[RunSpec], job: Job) -> list[RunSpec]:
    return [spec for spec in specs if not job.store.run_folder(spec.run_id).complete]


def _left(specs: Sequence[RunSpec], summary: Summary) -> list[RunSpec]:
    """Return the runs that no worker did; none after a stop."""
    done = {*summary.complete, *summary.failed}
    return [] if summary.stopped else [spec for spec in specs if spec.run_id not in done]


def _share_out(work: Sequence[_Work], count: int, job: Job) -> Summary:
    """Let so many workers do the work, with one display for all."""
    summary, display = Summary(), job.display
    if not count:
        return summary
    # Several workers may be given the same runs.
    specs = {spec.run_id: spec for each in work for spec in each.specs}
    open_ = _open(list(specs.values()), job)
    display.start({spec.run_id: job.estimates.get(spec.run_id, 0.0) for spec in open_}, count)
    try:
        _run_workers(count, work, display, summary)
    finally:
        display.stop()
    return summary


def _run_workers(count: int, work: Sequence[_Work], display: Display, summary: Summary) -> None:
    """Start so many workers, give each its next work, and pass on what they say until all have ended."""
    workers: list[BaseProcess] = []
    open_: list[Connection] = []
    to_do = deque(work)
    with stop_on_signals(display) as stop:
        for number in range(count):
            name = f"tunebench-worker-{number}"
            worker, connection = start_child(_run_child, number, count, name=name, daemon=True)
            workers.append(worker)
            open_.append(connection)
        told, waiting = False, 0
        while open_:
            if stop() and not told:
                told = summary.interrupted = True
                for worker in workers:
                    worker.terminate()  # SIGTERM: each saves its checkpoint
            heard: Any = wait(open_, timeout=_POLL)
            for connection in heard:
                message = hear_child(connection)
                if message is None:
                    open_.remove(connection)
                    connection.close()
                    continue
                kind, value = message
                if kind == READY:
                    tell_child(connection, to_do.popleft() if to_do and not summary.stopped else None)
                elif kind == "waits":
                    # One alone may wait for what another one does; all of them wait for other processes.
                    waiting += 1
                    if waiting == count:
                        display.message(value)
                else:
                    _relay(kind, value, display, summary)
    for worker in workers:
        worker.join()
        if worker.exitcode and not summary.interrupted:
            display.message(f"a worker ended with code {worker.exitcode}; its run is taken up again")


def _relay(kind: str, value: Any, display: Display, summary: Summary) -> None:
    if kind == "update":
        display.update(value)
    elif kind == "finish":
        display.finish(*value)
    elif kind == "message":
        display.message(value)
    else:
        # What it skipped was done by another worker.
        summary.add(replace(value, skipped=[]))


def _run_child(connection: Connection, number: int, count: int) -> None:
    """Do the work that the parent has, one part after the other, and send back what happens."""
    leave_terminal()
    cores.bind_worker(number, count)
    display = _Sender(connection)
    while (work := _next_work(connection)) is not None:
        try:
            summary = work.do(display)
        except (OSError, TunebenchError) as error:
            # A full disk, say: the parent does what is left, and ends with the error if it lasts.
            display.message(f"a worker stopped: {error}")
            return
        # What another worker did is that worker's to report.
        summary.failed = [run_id for run_id in summary.failed if run_id in display.mine]
        display.end(summary)
        if summary.stopped:
            return


def _next_work(connection: Connection) -> _Work | None:
    """Return what the parent has to do; None where there is nothing left, or the parent has ended."""
    try:
        work = ask_for_work(connection)
    except (EOFError, OSError):
        return None
    assert work is None or isinstance(work, _Work)
    return work


class _Sender:
    """A display that sends everything about this worker's own runs to the parent.

    Args:
        connection: To the parent; none while it is on its way to a worker.
    """

    def __init__(self, connection: Connection | None = None) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.mine: set[str] = set()

    def __reduce__(self) -> tuple[type[_Sender], tuple[()]]:
        return _Sender, ()

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """The parent has begun already."""

    def update(self, progress: Progress) -> None:
        """Send on."""
        self.mine.add(progress.run_id)
        self._send("update", progress)

    def finish(self, run_id: str, line: str) -> None:
        """Send on what this worker did itself."""
        if run_id in self.mine:
            self._send("finish", (run_id, line))

    def message(self, line: str) -> None:
        """Send on."""
        self._send("message", line)

    def waits(self, line: str) -> None:
        """Send that this worker has nothing left to do but wait."""
        self._send("waits", line)

    def end(self, summary: Summary) -> None:
        """Send what became of this worker's runs."""
        self._send("summary", summary)

    def stop(self) -> None:
        """The parent ends the display."""

    def _send(self, kind: str, value: Any) -> None:
        assert self._connection is not None
        # The thread that says "stopping" speaks too.
        with self._lock:
            try:
                self._connection.send((kind, value))
            except OSError:
                os._exit(1)  # the parent has ended
