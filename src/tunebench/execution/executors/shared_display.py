"""A display that several threads report to."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from tunebench.execution.display import Display
from tunebench.store.live import Progress


class SharedDisplay:
    """Passes reports of several threads on to one display, one at a time.

    Args:
        display: It is started and stopped by others.
    """

    def __init__(self, display: Display) -> None:
        self._display, self._lock, self._told = display, threading.Lock(), False

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """It has begun already."""

    def update(self, progress: Progress) -> None:
        """Pass on."""
        with self._lock:
            self._display.update(progress)

    def finish(self, run_id: str, line: str) -> None:
        """Pass on."""
        with self._lock:
            self._display.finish(run_id, line)

    def message(self, line: str) -> None:
        """Pass on."""
        with self._lock:
            self._display.message(line)

    def waits(self, line: str) -> None:
        """Say once that another process holds runs of this plan; each has a thread here that says so of itself."""
        with self._lock:
            if not self._told:
                self._display.message("another process trains some of the runs")
            self._told = True

    def stop(self) -> None:
        """It ends with the plan."""
