"""Several runs side by side on one machine: worker processes that share a study through its locks.

Every worker walks the same plan; the lock of a run decides who takes it. Threads are split between
the workers, and every record says how many there were, since their times are shared.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunebench.errors import TunebenchError
from tunebench.execution.display import Display
from tunebench.execution.executors.base import Executor
from tunebench.execution.runner import Job, Summary, failed_at, run_plan
from tunebench.execution.signals import stop_on_signals
from tunebench.store.live import Progress
from tunebench.study.spec import RunSpec

#: Seconds between looks at whether a worker died.
_POLL = 0.5


class ProcessExecutor(Executor):
    """Worker processes on this machine.

    A worker that dies leaves its run to the others; what is still open when all have ended is done in
    this process.
    """

    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells in ``execution.workers`` processes; ``job.train`` is a module-level function."""
        store, display = job.store, job.display
        context = multiprocessing.get_context("spawn")
        messages: Any = context.Queue()
        failures = {spec.run_id: failed_at(spec, store) for spec in specs}
        open_ = [spec for spec in specs if not store.run_folder(spec.run_id).complete]
        count = min(job.execution.workers, max(1, len(open_)))
        # Only what is open: complete runs are verified once, below, and not again by every worker.
        arguments = (open_, replace(job, display=_Sender(messages), estimates={}), failures)
        workers = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(count)]
        display.start({spec.run_id: job.estimates.get(spec.run_id, 0.0) / count for spec in open_})
        summary = Summary()
        try:
            with stop_on_signals(display) as stop:
                for worker in workers:
                    worker.start()
                told, waiting = False, 0
                while any(worker.is_alive() for worker in workers) or not messages.empty():
                    if stop() and not told:
                        told = summary.interrupted = True
                        for worker in workers:
                            worker.terminate()  # SIGTERM: each saves its checkpoint
                    try:
                        kind, value = messages.get(timeout=_POLL)
                    except queue.Empty:
                        continue
                    if kind == "waits":
                        # One alone may wait for what another one does; all of them wait for other processes.
                        waiting += 1
                        if waiting == count:
                            display.message(value)
                        continue
                    _relay(kind, value, display, summary)
        finally:
            display.stop()
        for worker in workers:
            if worker.exitcode:
                display.message(f"a worker ended with code {worker.exitcode}; its run is resumed")
        done = set(summary.complete) | set(summary.failed)
        left = [spec for spec in specs if spec.run_id not in done]
        if summary.interrupted or not left:
            return summary
        summary.add(run_plan(left, job, failures=failures))
        return summary


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


def _work(specs: list[RunSpec], job: Job, failures: dict[str, int | None]) -> None:
    """Walk the plan in a worker, and send back what happens; the display is a :class:`_Sender`."""
    if hasattr(os, "setsid"):
        # A Ctrl-C in the terminal reaches the parent only, which then asks each worker once.
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    display = job.display
    assert isinstance(display, _Sender)
    try:
        summary = run_plan(specs, job, failures=failures, waits=display.waits)
    except (OSError, TunebenchError) as error:
        # A full disk, say: the parent goes on with what is left, and ends with the error if it lasts.
        display.message(f"a worker stopped: {error}")
        return
    # What another worker did is that worker's to report.
    summary.failed = [run_id for run_id in summary.failed if run_id in display.mine]
    display.end(summary)


def _end_with_parent() -> None:
    """End this process once its parent has: out of reach of a Ctrl-C, it would go on with run after run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Sender:
    """A display that sends everything about this worker's own runs to the parent."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages
        self.mine: set[str] = set()

    def start(self, estimates: Mapping[str, float]) -> None:
        """The parent has begun already."""

    def update(self, progress: Progress) -> None:
        """Send on."""
        self.mine.add(progress.run_id)
        self._messages.put(("update", progress))

    def finish(self, run_id: str, line: str) -> None:
        """Send on what this worker did itself."""
        if run_id in self.mine:
            self._messages.put(("finish", (run_id, line)))

    def message(self, line: str) -> None:
        """Send on."""
        self._messages.put(("message", line))

    def waits(self, line: str) -> None:
        """Send that this worker has nothing left to do but wait."""
        self._messages.put(("waits", line))

    def end(self, summary: Summary) -> None:
        """Send how this worker's runs ended."""
        self._messages.put(("summary", summary))

    def stop(self) -> None:
        """The parent ends the display."""
