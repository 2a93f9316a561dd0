"""What displays are made of: a plan in outline, the time left, progress in words, a stream that may close."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from tunebench.store.live import Progress
from tunebench.store.plan_file import PlannedRun


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


def describe(progress: Progress, *, short: bool = False) -> str:
    """Describe a run's progress in one line."""
    parts = [] if short else [progress.run_id.rsplit("-", 1)[0]]
    parts.append(f"{progress.phase} {progress.step:,}/{progress.total:,}" if progress.total else progress.phase)
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.best is not None:
        parts.append(f"best {progress.best:.4f}")
    return ", ".join(parts)
