"""One run in several processes of this machine: data parallel, each with its share of every batch.

The parent process waits; its children form the group
(:mod:`tunebench.engine.process_group`) and each runs :func:`tunebench.training.registry.run_one`. The first of
them writes to the run's folder. A child that dies, or fails, takes the others with it, and the run has failed with
that reason; children whose parent dies end at once, since the run's lock died with it.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunebench.data import TextDataset
from tunebench.execution.executors.children import READY, ask_for_work, hear_child, start_child, tell_child
from tunebench.execution.executors.remote import Orders, as_error, describe_error
from tunebench.execution.runner import environment
from tunebench.execution.signals import STOP_SIGNALS
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.live import Progress
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt, Interrupted

#: Seconds between looks at whether to stop.
_POLL = 0.2
#: Seconds the others have to end by themselves once one has failed, so that the first cause is seen.
_GRACE = 2.0
#: Seconds they have to end after the record came.
_FAREWELL = 30.0


class ProcessDiedError(RuntimeError):
    """One of the processes that trained a run together ended without a message."""


def run_in_processes(attempt: Attempt) -> RunRecord:
    """Train one run in ``execution.processes`` processes; see :func:`tunebench.training.registry.run_one`.

    What several processes cannot train together runs in this process.

    Raises:
        Interrupted: ``stop`` turned true.
        ProcessDiedError: A process was killed.
        Exception: Whatever one of them raised first, under its name.
    """
    from tunebench.training.registry import run_one

    if not STRATEGIES[attempt.spec.kind].data_parallel:
        return run_one(attempt)
    execution = attempt.execution
    # Frozen layers' outputs are kept by one process for itself.
    there = execution.model_copy(update={"threads": devices.threads_of(execution), "prefix_cache": None})
    orders = Orders.of(attempt)
    with TemporaryDirectory(prefix="tunebench-") as place:
        work = _Work(Path(place), attempt.spec, attempt.dataset, attempt.folder.path, there, orders)
        members: list[_Member] = []
        try:
            for rank in range(execution.processes):
                # No daemons: a worker of several, itself one, may start them, and they watch their parent.
                members.append(_Member(rank, *start_child(_run_child, rank, name=f"tunebench-rank-{rank}")))
            return _follow(members, work, attempt)
        finally:
            for member in members:
                member.end()


@dataclass(frozen=True)
class _Work:
    """What every process of the group is given."""

    place: Path
    spec: RunSpec
    dataset: TextDataset
    path: Path
    execution: Execution
    orders: Orders


class _Member:
    """One process of the group, as its parent sees it."""

    def __init__(self, rank: int, process: Any, connection: Connection) -> None:
        self.rank, self.process, self.connection = rank, process, connection
        self.silent = True
        self.at_work = False

    def receive(self) -> tuple[str, Any] | None:
        """Return the next message; None when there will be no more."""
        message = hear_child(self.connection)
        if message is not None:
            self.silent = self.silent and message[0] in (READY, "progress", "prune")
        return message

    def send(self, kind: str, value: Any) -> None:
        """Tell it something, if it still listens."""
        tell_child(self.connection, (kind, value))

    def end(self) -> None:
        """Kill it, unless it has ended."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


def _follow(members: list[_Member], work: _Work, attempt: Attempt) -> RunRecord:
    """Give each its work, pass on what the first process tells until all have ended, and return its record."""
    open_ = {member.connection: member for member in members}
    record: RunRecord | None = None
    interrupted: str | None = None
    errors: list[Exception] = []
    deadline = float("inf")
    told = False
    while open_ and time.monotonic() < deadline:
        if attempt.stop() and not told:
            told = True
            for member in members:
                if member.at_work:
                    member.send("stop", None)
        for connection in wait(list(open_), timeout=_POLL):
            member = open_[connection]  # type: ignore[index]
            message = member.receive()
            if message is None:
                del open_[connection]  # type: ignore[arg-type]
                if member.silent:
                    deadline = min(deadline, time.monotonic() + _GRACE)
                continue
            kind, value = message
            if kind == READY:
                member.at_work = tell_child(member.connection, work)
                if told:
                    member.send("stop", None)
            elif kind == "progress":
                attempt.report(value)
            elif kind == "prune":
                member.send("answer", attempt.prune is not None and attempt.prune(value))
            elif kind == "interrupted":
                interrupted = value
            elif kind == "error":
                errors.append(as_error(*value))
                deadline = min(deadline, time.monotonic() + _GRACE)
            elif value is not None:
                record = RunRecord.model_validate(value)
                deadline = min(deadline, time.monotonic() + _FAREWELL)
    for member in members:
        # What the others say then is only that they lost it.
        if member.silent and not member.connection.closed and member.connection not in open_:
            member.process.join()
            raise ProcessDiedError(_obituary(member, len(members)))
    if errors:
        raise errors[0]
    if interrupted is not None:
        raise Interrupted(interrupted)
    if record is None:
        raise ProcessDiedError("The processes of the run ended without a record.")
    return record


def _obituary(member: _Member, count: int) -> str:
    code = member.process.exitcode
    if code is None or code >= 0:
        how = f"ended with code {code}"
    else:
        how = f"was ended by signal {-code} ({signal.Signals(-code).name})"
        if -code == signal.SIGKILL:
            how += "; the system does this when memory runs out"
    return f"Process {member.rank + 1} of the {count} that train this run {how}."


def _run_child(connection: Connection, rank: int) -> None:
    """Do the work of one process of the group, in that process."""
    for number in STOP_SIGNALS:
        # A Ctrl-C reaches all in the terminal, and so does its end; the parent asks for a stop, once.
        signal.signal(number, signal.SIG_IGN)
    try:
        work = ask_for_work(connection)
    except (EOFError, OSError):
        return  # the parent has ended, and the run's lock with it
    assert isinstance(work, _Work)
    execution, orders = work.execution, work.orders
    line = _Line(connection, first=rank == 0)
    from tunebench.engine import process_group
    from tunebench.training.registry import run_one

    device = devices.resolve_device(execution.device)
    try:
        process_group.join(
            rank, execution.processes, place=work.place, device=device, threads=execution.threads or 1
        )
        record = run_one(orders.attempt(work.spec, work.dataset, RunFolder(work.path), execution, line))
        line.send("record", record.model_dump(mode="json") if rank == 0 else None)
    except Interrupted as reason:
        line.send("interrupted", str(reason))
    except Exception as error:
        line.send("error", (describe_error(error), environment(execution).model_dump(mode="json")))
        line.close()
        # Others may wait in a collective for what will not come, and this one would wait with them.
        os._exit(1)
    process_group.leave()
    line.close()


class _Line:
    """What a process of the group tells its parent, and asks it. All but the first only tell how they ended."""

    def __init__(self, connection: Connection, *, first: bool) -> None:
        self._connection, self._first = connection, first
        self._stopping = False
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, kind: str, value: Any) -> None:
        """Send the parent a message."""
        try:
            self._connection.send((kind, value))
        except OSError:
            os._exit(1)

    def close(self) -> None:
        """Write out what was printed; nothing is sent after this."""
        sys.stdout.flush()
        sys.stderr.flush()

    def report(self, progress: Progress) -> None:
        """Send the run's progress."""
        if self._first:
            self.send("progress", progress)

    def stop(self) -> bool:
        """Tell whether the parent asked for a stop."""
        return self._first and self._stopping

    def prune(self, scores: list[float]) -> bool:
        """Have the parent's search decide, and wait for it."""
        if not self._first:
            return False
        self.send("prune", scores)
        return self._answers.get()

    def _listen(self) -> None:
        while True:
            try:
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone, and the run's lock with it
            if kind == "stop":
                self._stopping = True
            else:
                self._answers.put(bool(value))
