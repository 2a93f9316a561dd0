"""Progress of a grid of runs: a live display, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from tunebench.execution.display_parts import MayGo, Outline, describe
from tunebench.execution.live_view import LiveView
from tunebench.execution.time_left import TimeLeft
from tunebench.formatting import counted, duration
from tunebench.store.live import Progress


class Display(Protocol):
    """Receives the progress of the runner."""

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
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

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """Say how much there is to do."""
        self._left = TimeLeft(estimates, at_a_time)
        self._done, self._total = 0, len(estimates)
        self.message(f"{counted(self._total, 'run')} to do, about {duration(self._left.seconds())}")

    def update(self, progress: Progress) -> None:
        """Write a line when the run begins, and when the last one is old."""
        self._left.see(progress)
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

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
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
    if silent:
        return SilentDisplay()
    moves = sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    return LiveView(budget=budget) if moves else PlainDisplay()
