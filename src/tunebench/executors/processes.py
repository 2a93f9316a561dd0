"""Several runs side by side on one machine: worker processes that share a study through its locks.

Every worker walks the same plan; the lock of a run decides who takes it. Threads are split between
the workers, and every record says how many there were, since their times are shared.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Mapping, Sequence
from typing import Any

from tunebench.config import Execution, RunSpec
from tunebench.data import TextDataset
from tunebench.errors import TunebenchError
from tunebench.executors.base import Executor
from tunebench.progress import Display, Progress
from tunebench.runner import Summary, TrainFunction, failed_at, run_plan, stop_on_signals
from tunebench.store import StudyStore

#: Seconds between looks at whether a worker died.
_POLL = 0.5


class ProcessExecutor(Executor):
    """Worker processes on this machine.

    A worker that dies leaves its run to the others; what is still open when all have ended is done in
    this process.
    """

    def run(
        self,
        specs: Sequence[RunSpec],
        *,
        store: StudyStore,
        dataset: TextDataset,
        execution: Execution,
        display: Display,
        train: TrainFunction,
        estimates: Mapping[str, float],
    ) -> Summary:
        """Run the cells in ``execution.workers`` processes; ``train`` is a module-level function."""
        context = multiprocessing.get_context("spawn")
        messages: Any = context.Queue()
        failures = {spec.run_id: failed_at(spec, store) for spec in specs}
        open_ = [spec for spec in specs if not store.run_folder(spec.run_id).complete]
        count = min(execution.workers, max(1, len(open_)))
        # Only what is open: complete runs are verified once, below, and not again by every worker.
        arguments = (open_, store, dataset, execution, train, failures, messages)
        workers = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(count)]
        display.start({spec.run_id: estimates.get(spec.run_id, 0.0) / count for spec in open_})
        summary = Summary()
        try:
            with stop_on_signals(display) as stop:
                for worker in workers:
                    worker.start()
                told = False
                while any(worker.is_alive() for worker in workers) or not messages.empty():
                    if stop() and not told:
                        told = summary.interrupted = True
                        for worker in workers:
                            worker.terminate()  # SIGTERM: each saves its checkpoint
                    try:
                        kind, value = messages.get(timeout=_POLL)
                    except queue.Empty:
                        continue
                    _relay(kind, value, display, summary)
        finally:
            display.stop()
        for worker in workers:
            if worker.exitcode:
                display.message(f"a worker ended with code {worker.exitcode}; its run is taken up again")
        done = set(summary.complete) | set(summary.failed)
        left = [spec for spec in specs if spec.run_id not in done]
        if summary.interrupted or not left:
            return summary
        rest = run_plan(
            left,
            store=store,
            dataset=dataset,
            execution=execution,
            display=display,
            train=train,
            estimates=dict(estimates),
            failures=failures,
        )
        summary.complete += rest.complete
        summary.failed += rest.failed
        summary.skipped += rest.skipped
        summary.interrupted = rest.interrupted
        return summary


def _relay(kind: str, value: Any, display: Display, summary: Summary) -> None:
    if kind == "update":
        display.update(value)
    elif kind == "finish":
        display.finish(*value)
    elif kind == "message":
        display.message(value)
    else:
        summary.complete += value.complete
        summary.failed += value.failed
        summary.interrupted |= value.interrupted


def _work(
    specs: list[RunSpec],
    store: StudyStore,
    dataset: TextDataset,
    execution: Execution,
    train: TrainFunction,
    failures: dict[str, int | None],
    messages: Any,
) -> None:
    """Walk the plan in a worker, and send back what happens."""
    if hasattr(os, "setsid"):
        # A Ctrl-C in the terminal reaches the parent only, which then asks each worker once.
        os.setsid()
    display = _Sender(messages)
    try:
        summary = run_plan(
            specs,
            store=store,
            dataset=dataset,
            execution=execution,
            display=display,
            train=train,
            estimates={},
            failures=failures,
        )
    except (OSError, TunebenchError) as error:
        # A full disk, say: the parent goes on with what is left, and ends with the error if it lasts.
        messages.put(("message", f"a worker stopped: {error}"))
        return
    # What another worker did is that worker's to report.
    summary.failed = [run_id for run_id in summary.failed if run_id in display.mine]
    messages.put(("summary", summary))


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

    def stop(self) -> None:
        """The parent ends the display."""
