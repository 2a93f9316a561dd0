"""Progress of a grid of runs: a live display, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from tunebench.formatting import duration
from tunebench.store.live import Progress
from tunebench.store.study_folder import PlannedRun


class Display(Protocol):
    """Receives the progress of the runner."""

    def start(self, estimates: Mapping[str, float]) -> None:
        """Begin; ``estimates`` are seconds a run, of the runs that are to be done."""

    def update(self, progress: Progress) -> None:
        """Show the progress of the current run."""

    def finish(self, run_id: str, line: str) -> None:
        """A run ended; ``line`` says how."""

    def message(self, line: str) -> None:
        """Say something."""

    def stop(self) -> None:
        """End."""


class JobDisplay(Display, Protocol):
    """Receives the progress of a whole job: what the runner does, and what comes before and after it."""

    def stage(self, line: str) -> None:
        """The job does something else now."""

    def outline(self, plan: Outline) -> None:
        """A plan is made."""


@dataclass(frozen=True)
class Outline:
    """A plan, as a display shows it.

    Attributes:
        runs: Its runs, those left out marked.
        done: Ids of the runs that are complete already.
        score_of: Returns the best validation score of a run that has ended; None where it has none.
        better: Returns the better of two scores.
    """

    runs: Sequence[PlannedRun]
    done: Sequence[str]
    score_of: Callable[[str], float | None]
    better: Callable[[float, float], float]


class TimeLeft:
    """Time left for a grid: estimates, scaled by how long the finished ones really took.

    Args:
        estimates: Seconds by run id.
    """

    def __init__(self, estimates: Mapping[str, float]) -> None:
        self._open = dict(estimates)
        self._estimated = self._taken = 0.0
        self._started: dict[str, float] = {}

    def begin(self, run_id: str) -> None:
        """A run begins."""
        self._started.setdefault(run_id, time.monotonic())

    def end(self, run_id: str) -> None:
        """A run ended."""
        estimate = self._open.pop(run_id, None)
        begun = self._started.pop(run_id, None)
        if estimate is not None and begun is not None:
            self._estimated += estimate
            self._taken += time.monotonic() - begun

    def seconds(self) -> float:
        """Return the seconds left."""
        factor = self._taken / self._estimated if self._estimated > 0 else 1.0
        now = time.monotonic()
        gone = sum(
            min(now - begun, self._open.get(run_id, 0.0) * factor) for run_id, begun in self._started.items()
        )
        return max(0.0, sum(self._open.values()) * factor - gone)


class MayGo:
    """A stream whose reader may go, as a terminal that closes: what cannot be written is dropped.

    A run must not fail because nobody reads how it goes; the signal that says so comes after the failed write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that can be done."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainDisplay:
    """Lines for logs and pipes: at the start, every half minute, and at the end of each run.

    Args:
        stream: Where to write.
        interval: Seconds between lines of one run.
    """

    def __init__(self, stream: TextIO | None = None, *, interval: float = 30.0) -> None:
        self._stream = MayGo(stream or sys.stderr)
        self._interval = interval
        self._last = 0.0
        self._left = TimeLeft({})
        self._done, self._total = 0, 0

    def stage(self, line: str) -> None:
        """Write it."""
        self.message(line)

    def outline(self, plan: Outline) -> None:
        """Nothing: the lines of the runs say it one by one."""

    def start(self, estimates: Mapping[str, float]) -> None:
        """Say how much there is to do."""
        self._left = TimeLeft(estimates)
        self._done, self._total = 0, len(estimates)
        self.message(f"{self._total} runs to do, about {duration(self._left.seconds())}")

    def update(self, progress: Progress) -> None:
        """Write a line when the run begins, and when the last one is old."""
        self._left.begin(progress.run_id)
        now = time.monotonic()
        if progress.phase != "prepare" and now - self._last < self._interval:
            return
        self._last = now
        self.message(f"[{self._done + 1}/{self._total}] {describe(progress)}, {self._ends()}")

    def finish(self, run_id: str, line: str) -> None:
        """Write how it ended."""
        self._left.end(run_id)
        self._done += 1
        self.message(f"[{self._done}/{self._total}] {line}, {self._ends()}")

    def message(self, line: str) -> None:
        """Write a line."""
        self._stream.write(line + "\n")
        self._stream.flush()

    def stop(self) -> None:
        """Nothing to clean up."""

    def _ends(self) -> str:
        return f"{duration(self._left.seconds())} left"


class SilentDisplay(PlainDisplay):
    """Says only what nobody may miss, such as that a run failed: for output that a program reads."""

    def stage(self, line: str) -> None:
        """Nothing."""

    def start(self, estimates: Mapping[str, float]) -> None:
        """Nothing."""

    def update(self, progress: Progress) -> None:
        """Nothing."""

    def finish(self, run_id: str, line: str) -> None:
        """Nothing; the command says which runs failed."""


def make_display(*, budget: float | None = None, silent: bool = False) -> JobDisplay:
    """Return the live view on a terminal whose cursor moves, else plain lines.

    Args:
        budget: Seconds that the job may take; None for no limit.
        silent: Show no progress.
    """
    from tunebench.execution.live_view import LiveView

    if silent:
        return SilentDisplay()
    moves = sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    return LiveView(budget=budget) if moves else PlainDisplay()


def describe(progress: Progress, *, short: bool = False) -> str:
    """Describe a run's progress in one line."""
    parts = [] if short else [progress.run_id.rsplit("-", 1)[0]]
    parts.append(f"{progress.phase} {progress.step:,}/{progress.total:,}" if progress.total else progress.phase)
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.best is not None:
        parts.append(f"best {progress.best:.4f}")
    return ", ".join(parts)
