"""Telling trackers about a study while it runs, from the one process that hears of all its runs.

Everything is sent from a thread of its own, so neither training nor the display waits for a tracker.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tunebench.errors import StoreError, first_line
from tunebench.execution.tracking.base import Ending, StudyLog, without_secrets
from tunebench.files import is_regular, read_json, set_aside, write_json
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.execution.display import Display
    from tunebench.execution.runner import Summary
    from tunebench.store.live import Progress
    from tunebench.store.run_folder import RunFolder
    from tunebench.store.study_folder import StudyStore

_LOG = logging.getLogger(__name__)
#: At the end, seconds without any progress after which a tracker is given up.
_PATIENCE = 20.0


def _mlflow(study: StudyConfig, store: StudyStore) -> StudyLog:
    from tunebench.execution.tracking.mlflow_log import MlflowLog

    return MlflowLog(study, folder=store.folder, key=_study_key(store))


def _trackio(study: StudyConfig, store: StudyStore) -> StudyLog:
    from tunebench.execution.tracking.trackio_log import TrackioLog

    return TrackioLog(study)


_MAKERS: dict[str, Callable[[StudyConfig, Any], StudyLog]] = {"mlflow": _mlflow, "trackio": _trackio}


class StudyTrackers:
    """A study's trackers, as a display that passes on what it receives.

    Args:
        store: The study.
        display: Shows the progress.
        senders: One a tracker.
    """

    def __init__(self, store: StudyStore, display: Display, senders: Sequence[_Sender]) -> None:
        self._store, self._display, self._senders = store, display, senders
        self._specs: dict[str, RunSpec] = {}
        self._begun: set[str] = set()
        self._ending: Ending = "failed"
        self._files: list[Path] = []

    @property
    def display(self) -> Display:
        """What the executors are to tell."""
        return self if self._senders else self._display

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """Pass on."""
        self._display.start(estimates, at_a_time)

    def update(self, progress: Progress) -> None:
        """Pass on, and send what joined the run's log."""
        self._display.update(progress)
        if progress.logged or progress.run_id not in self._begun:
            self._begun.add(progress.run_id)
            spec = self._spec(progress.run_id)
            for sender in self._senders:
                sender.send(partial(sender.log.log, spec, progress.logged))

    def finish(self, run_id: str, line: str) -> None:
        """Pass on, and send the record."""
        self._display.finish(run_id, line)
        if run_id in self._begun:
            self._send_record(run_id)

    def message(self, line: str) -> None:
        """Pass on."""
        self._display.message(line)

    def stop(self) -> None:
        """Pass on."""
        self._display.stop()

    def wrap_up(self, summary: Summary, *, files: Sequence[Path]) -> None:
        """Send what the records say by now, scores that came later and runs of other sessions included.

        Args:
            summary: How the study ended.
            files: Of the study as a whole.
        """
        self._ending = "interrupted" if summary.interrupted else "failed" if summary.failed else "complete"
        self._files = list(files)
        if self._senders and not summary.interrupted:
            for planned in self._store.planned():
                self._send_record(planned.spec.run_id)

    def close(self) -> None:
        """Wait until all is sent, or a tracker answers no more."""
        for sender in self._senders:
            files = [path for path in self._files if path.is_file()]
            sender.send(partial(sender.log.close, self._ending, files))
        for sender in self._senders:
            sender.close()

    def _send_record(self, run_id: str) -> None:
        spec, folder = self._spec(run_id), self._store.run_folder(run_id)
        for sender in self._senders:
            sender.send(partial(_end, sender.log, spec, folder))

    def _spec(self, run_id: str) -> RunSpec:
        if run_id not in self._specs:
            self._specs = {spec.run_id: spec for spec in self._store.trainable()}
        return self._specs[run_id]


def _end(log: StudyLog, spec: RunSpec, folder: RunFolder) -> None:
    try:
        record = folder.read()
    except StoreError:
        return  # damaged: whoever reads the study is told so
    if record is not None:
        log.end(spec, record, [path for path in (folder.record, folder.failure, folder.log) if is_regular(path)])


@contextmanager
def track_study(
    names: Sequence[str],
    study: StudyConfig,
    *,
    store: StudyStore,
    display: Display,
    tell: Callable[[str], None],
) -> Iterator[StudyTrackers]:
    """Open a study at its trackers, and close it there at the end.

    Args:
        names: Trackers; those that each run tells itself are left to it.
        study: The study.
        store: Its folder.
        display: Shows the progress.
        tell: Told which tracker does not answer.

    Yields:
        What to show progress with in the display's place.
    """
    senders = []
    for name in (name for name in names if name in _MAKERS):
        try:
            # Two sessions of one study may begin at the same time, and are to find one another there.
            with FileLock(store.folder / "runs" / ".locks" / "tracking.lock"):
                senders.append(_Sender(name, _MAKERS[name](study, store), tell))
        except Exception as error:
            _warn(name, error, tell)
    trackers = StudyTrackers(store, display, senders)
    try:
        yield trackers
    finally:
        trackers.close()


class _Sender:
    """Sends to one tracker, in order and in the background, until it fails."""

    def __init__(self, name: str, log: StudyLog, tell: Callable[[str], None]) -> None:
        self.name, self.log, self._tell = name, log, tell
        self._broken = False
        self._done = 0
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tunebench-{name}", daemon=True)
        self._thread.start()

    def send(self, call: Callable[[], None]) -> None:
        """Have something sent; never waits."""
        if not self._broken:
            self._calls.put(call)

    def close(self) -> None:
        """Wait for what is still to be sent, as long as the tracker takes it."""
        self._calls.put(None)
        while self._thread.is_alive():
            before = self._done
            self._thread.join(_PATIENCE)
            if self._thread.is_alive() and self._done == before:
                self._broken = True
                _warn(self.name, TimeoutError(f"no answer for {_PATIENCE:.0f} s"), self._tell)
                return

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if not self._broken:
                    call()
            except Exception as error:
                self._broken = True
                _warn(self.name, error, self._tell)
                return
            self._done += 1


def _warn(name: str, error: Exception, tell: Callable[[str], None]) -> None:
    line = f"tracker {name} failed and is left out of the rest of this session: {type(error).__name__}: "
    line += without_secrets(first_line(error))
    _LOG.warning(line)
    tell(line)


def _study_key(store: StudyStore) -> str:
    """Return what a study's folder is known by at trackers, wherever it is moved."""
    path = store.folder / "tracking.json"
    try:
        key = str(read_json(path)["key"]) if path.exists() else ""
    except (StoreError, KeyError, TypeError):
        set_aside(path)
        key = ""
    if not key.isalnum():
        key = uuid.uuid4().hex
        write_json(path, {"key": key})
    return key
