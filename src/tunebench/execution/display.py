"""Progress of a grid of runs: a live display, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from tunebench.formatting import duration
from tunebench.store.live import Progress


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


class _MayGo:
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
        self._stream = _MayGo(stream or sys.stderr)
        self._interval = interval
        self._last = 0.0
        self._left = TimeLeft({})
        self._done, self._total = 0, 0

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


class RichDisplay:
    """One bar for the grid and one for the current run, with time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=cast("TextIO", _MayGo(sys.stderr)))
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[info]}"))
        self._bars = Bars(*columns, console=self._console)
        self._grid: TaskID | None = None
        self._run: TaskID | None = None
        self._left = TimeLeft({})

    def start(self, estimates: Mapping[str, float]) -> None:
        """Show the bars."""
        self._left = TimeLeft(estimates)
        for task in self._bars.task_ids:  # of the search, where the chosen rates follow
            self._bars.remove_task(task)
        self._bars.start()
        self._grid = self._bars.add_task("grid", total=len(estimates), info="")
        self._run = self._bars.add_task("run", total=1, info="")
        self._refresh()

    def update(self, progress: Progress) -> None:
        """Move the bars."""
        self._left.begin(progress.run_id)
        if self._run is not None:
            self._bars.update(
                self._run,
                description=progress.run_id.rsplit("-", 1)[0],
                completed=progress.step,
                total=progress.total or None,
                info=describe(progress, short=True),
            )
        self._refresh()

    def finish(self, run_id: str, line: str) -> None:
        """Advance the grid."""
        self._left.end(run_id)
        if self._grid is not None:
            self._bars.advance(self._grid)
        self._refresh()
        self.message(line)

    def message(self, line: str) -> None:
        """Print above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the bars away."""
        self._bars.stop()

    def _refresh(self) -> None:
        if self._grid is not None:
            self._bars.update(self._grid, info=f"{duration(self._left.seconds())} left")


def make_display() -> Display:
    """Return the live display on a terminal, else plain lines."""
    return RichDisplay() if sys.stderr.isatty() else PlainDisplay()


def describe(progress: Progress, *, short: bool = False) -> str:
    """Describe a run's progress in one line."""
    parts = [] if short else [progress.run_id.rsplit("-", 1)[0]]
    parts.append(f"{progress.phase} {progress.step:,}/{progress.total:,}" if progress.total else progress.phase)
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.best is not None:
        parts.append(f"best {progress.best:.4f}")
    return ", ".join(parts)
