"""Several runs side by side on one machine: worker processes that share a study through its locks.

Every worker walks the same plan; the lock of a run decides who takes it. Threads are split between
the workers, and every record says how many there were, since their times are shared.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.execution.display import Display
from tunebench.execution.executors.base import Executor
from tunebench.execution.executors.children import READY, ask_for_work, hear_child, start_child, tell_child
from tunebench.execution.runner import Job, Summary, failed_at, run_plan
from tunebench.execution.signals import stop_on_signals
from tunebench.store.live import Progress
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
        store, display = job.store, job.display
        failures = {spec.run_id: failed_at(spec, store) for spec in specs}
        open_ = [spec for spec in specs if not store.run_folder(spec.run_id).complete]
        count = min(job.execution.workers, len(open_))
        summary = Summary()
        if count:
            display.start({spec.run_id: job.estimates.get(spec.run_id, 0.0) / count for spec in open_})
            # Only what is open: complete runs are verified once, below, and not again by every worker.
            work = _Work(open_, replace(job, display=_Sender(), estimates={}), failures)
            try:
                _run_workers(count, work, display, summary)
            finally:
                display.stop()
        done = set(summary.complete) | set(summary.failed)
        left = [spec for spec in specs if spec.run_id not in done]
        if summary.stopped or not left:
            return summary
        summary.add(run_plan(left, job, failures=failures))
        return summary


@dataclass(frozen=True)
class _Work:
    """What every worker is given; the job's display is a :class:`_Sender`."""

    specs: list[RunSpec]
    job: Job
    failures: dict[str, int | None]


def _run_workers(count: int, work: _Work, display: Display, summary: Summary) -> None:
    """Start so many workers, and pass on what they say until all have ended."""
    workers: list[BaseProcess] = []
    open_: list[Connection] = []
    with stop_on_signals(display) as stop:
        for number in range(count):
            worker, connection = start_child(_run_child, name=f"tunebench-worker-{number}", daemon=True)
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
                    tell_child(connection, work)
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


def _run_child(connection: Connection) -> None:
    """Walk the plan in a worker, and send back what happens."""
    if hasattr(os, "setsid"):
        # A Ctrl-C in the terminal reaches the parent only, which then asks each worker once.
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = ask_for_work(connection)
    except (EOFError, OSError):
        return  # the parent has ended, and with it what was to be done
    assert isinstance(work, _Work)
    display = _Sender(connection)
    try:
        job = replace(work.job, display=display)
        summary = run_plan(work.specs, job, failures=work.failures, waits=display.waits)
    except (OSError, TunebenchError) as error:
        # A full disk, say: the parent does what is left, and ends with the error if it lasts.
        display.message(f"a worker stopped: {error}")
        return
    # What another worker did is that worker's to report.
    summary.failed = [run_id for run_id in summary.failed if run_id in display.mine]
    display.end(summary)


def _end_with_parent() -> None:
    """End this process once its parent has ended; no Ctrl-C reaches it, and it would train run after run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


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

    def start(self, estimates: Mapping[str, float]) -> None:
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
