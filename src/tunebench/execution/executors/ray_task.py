"""The part of the Ray executor that runs on the cluster: one run in a folder of its own, sent back as bytes."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunebench.data.tokens import preload
from tunebench.execution.executors.ray_files import Shared, pack, unfinished, unpack
from tunebench.execution.executors.remote import Orders, describe_error
from tunebench.execution.runner import environment
from tunebench.machine.settings import Execution
from tunebench.store.live import Progress
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Interrupted, TrainFunction

#: Seconds between two reports of one run, and between two questions whether to stop.
_INTERVAL = 0.5
#: Seconds between looks for the answer whether a run is to be given up.
_ANSWER = 0.05


class Mailbox:
    """An actor on the driver's machine, between driver and runs.

    Events wait here until the driver takes them; whether to stop, and the answers of a search, wait here
    for the runs.
    """

    def __init__(self) -> None:
        self._events: list[tuple[str, str, Any]] = []
        self._answers: dict[tuple[str, int], bool] = {}
        self._stopping = False

    def put(self, key: str, kind: str, value: Any) -> None:
        """Leave an event for the driver."""
        self._events.append((key, kind, value))

    def take(self) -> list[tuple[str, str, Any]]:
        """Return the events in the order they came, once."""
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        """Ask all runs to stop."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether runs are to stop."""
        return self._stopping

    def answer(self, key: str, number: int, value: bool) -> None:
        """Leave an answer."""
        self._answers[key, number] = value

    def answered(self, key: str, number: int) -> bool | None:
        """Return the answer, once; None while there is none."""
        return self._answers.pop((key, number), None)


def run_task(
    key: str,
    spec: dict[str, Any],
    execution: Execution,
    shared: Shared,
    files: Mapping[str, bytes],
    mailbox: Any,
    train: TrainFunction,
    orders: Orders,
) -> dict[str, Any]:
    """Train one run.

    Args:
        key: Names this attempt in the mailbox.
        spec: The run, as JSON.
        execution: Device and threads, as the driver resolved them.
        shared: What all runs share.
        files: What an earlier attempt left: checkpoint and best weights so far.
        mailbox: The actor's handle.
        train: Trains one run.
        orders: What the driver decides.

    Returns:
        ``record`` and ``files``; or ``interrupted`` and ``files``; or ``error`` and ``environment``.
    """
    run = RunSpec.model_validate(spec)
    with TemporaryDirectory(prefix="tunebench-") as root:
        folder = RunFolder(Path(root) / "runs" / run.run_id)
        line = _Line(key, mailbox, folder)
        line.send("started", socket.gethostname())
        handler = _Relay(line)
        logging.getLogger().addHandler(handler)
        try:
            here = _with_model(run, shared.models.get(run.model.source), Path(root) / "model")
            folder.begin(here)
            unpack(files, folder.path)
            preload(shared.tokens)
            record = train(orders.attempt(here, shared.dataset, folder, execution, line))
            record = record.model_copy(update={"spec": run})
            kept = [folder.path / name for name in record.files]
            kept += [
                path for name in execution.trackers for path in (folder.path / name).rglob("*") if path.is_file()
            ]
            return {"record": record.model_dump(mode="json"), "files": pack(kept, folder.path)}
        except Interrupted as reason:
            return {"interrupted": str(reason), "files": unfinished(folder)}
        except Exception as error:
            return {"error": describe_error(error), "environment": environment(execution).model_dump(mode="json")}
        finally:
            logging.getLogger().removeHandler(handler)


class _Line:
    """What a run tells the driver, and asks it."""

    def __init__(self, key: str, mailbox: Any, folder: RunFolder) -> None:
        self._key, self._mailbox, self._folder = key, mailbox, folder
        self._reported = self._asked = 0.0
        self._phase: str | None = None
        self._stopping = False
        self._questions = 0
        self._sent = _state(folder)

    def send(self, kind: str, value: Any) -> None:
        """Leave an event; nothing waits for it."""
        self._mailbox.put.remote(self._key, kind, value)

    def report(self, progress: Progress) -> None:
        """Send the run's progress, not too often, everything that it logs, and each new checkpoint."""
        now = time.monotonic()
        if progress.logged or progress.phase != self._phase or now - self._reported >= _INTERVAL:
            self._phase, self._reported = progress.phase, now
            self.send("progress", progress)
        state = _state(self._folder)
        if state and state != self._sent:
            import ray

            # As a reference: the driver fetches it from this machine, and the mailbox never holds it.
            self._sent = state
            self.send("checkpoint", [ray.put(unfinished(self._folder))])

    def stop(self) -> bool:
        """Ask, not too often, whether the run is to stop."""
        now = time.monotonic()
        if not self._stopping and now - self._asked >= _INTERVAL:
            import ray

            self._asked = now
            self._stopping = bool(ray.get(self._mailbox.stopping.remote()))
        return self._stopping

    def prune(self, scores: list[float]) -> bool:
        """Ask the driver's search whether to give the run up, and wait for the answer."""
        import ray

        self._questions += 1
        self.send("prune", (self._questions, scores))
        while not self._stopping:
            answer = ray.get(self._mailbox.answered.remote(self._key, self._questions))
            if answer is not None:
                return bool(answer)
            self.stop()
            time.sleep(_ANSWER)
        return False


class _Relay(logging.Handler):
    """Sends libraries' warnings to the run's log."""

    def __init__(self, line: _Line) -> None:
        super().__init__(logging.WARNING)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        self._line.send("log", f"{record.levelname.lower()}: {record.getMessage()}")


def _state(folder: RunFolder) -> tuple[tuple[str, int], ...]:
    """Tell one checkpoint from another without reading it."""
    found = (path for path in folder.checkpoint.rglob("state.json"))
    return tuple(sorted((str(path), path.stat().st_mtime_ns) for path in found))


def _with_model(spec: RunSpec, files: Mapping[str, bytes] | None, folder: Path) -> RunSpec:
    """Write the model's files here, and return the same run (content decides the id) that reads them."""
    if files is None:
        return spec
    unpack(files, folder)
    return spec.model_copy(update={"model": spec.model.model_copy(update={"source": str(folder)})})
