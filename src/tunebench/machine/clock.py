"""Time of this process, and how much of the machine others used meanwhile."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence

import psutil


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def wall(self) -> float:
        """Wall seconds."""
        return time.monotonic() - self._wall

    @property
    def cpu(self) -> float:
        """Seconds of this process on all cores."""
        return time.process_time() - self._cpu


class ContentionMeter:
    """Measures how much of the machine others used while this process worked.

    Args:
        pids: The processes that work together, this one included; None is this one alone.
    """

    #: Above this share of all cores, timings are marked as contended.
    LIMIT = 0.05

    def __init__(self, pids: Sequence[int] | None = None) -> None:
        self._own = [psutil.Process(pid) for pid in pids or [os.getpid()]]
        self._others = self._capacity = 0.0
        self._mark = self._read()

    def _read(self) -> tuple[float, float]:
        times, own = psutil.cpu_times(), [process.cpu_times() for process in self._own]
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return busy - sum(part.user + part.system for part in own), time.monotonic()

    def start(self) -> None:
        """Begin a stretch that counts."""
        self._mark = self._read()

    def stop(self) -> None:
        """End the stretch."""
        others, now = self._read()
        self._others += max(0.0, others - self._mark[0])
        self._capacity += (now - self._mark[1]) * (psutil.cpu_count() or 1)

    @property
    def contended(self) -> bool | None:
        """Whether others used more than the limit; ``None`` after less than a second."""
        return None if self._capacity < 1 else self._others / self._capacity > self.LIMIT


def median(values: list[float]) -> float | None:
    """Return the median, or ``None`` of nothing."""
    return statistics.median(values) if values else None
