"""What displays are made of: a plan in outline, progress in words, a stream that may close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
