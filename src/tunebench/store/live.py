"""Where a run stands, on disk while it works: what ``tunebench watch`` shows of it.

``progress.json`` lies in the run's folder from its first step to its end, and stays where it failed or was
interrupted. Nothing of a run depends on it, and nothing of it is in the run's record.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunebench.errors import StoreError
from tunebench.files import read_json, write_text
from tunebench.store.record import now
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import metric_label

Phase = Literal["prepare", "train", "evaluate", "test"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Steps (train) or texts (evaluate, test) done.
        total: Of how many.
        loss: Last logged training loss.
        best: Best score on the selection split so far, by the run's metric.
        logged: Entries that joined the run's log, in the form of the Trainer's ``log_history``.
    """

    run_id: str
    phase: Phase
    step: int
    total: int
    loss: float | None
    best: float | None
    logged: tuple[dict[str, Any], ...] = ()


#: Kept of each log entry, beside what was measured on the selection split (``eval_...``).
_KEYS = ("step", "epoch", "loss")
#: Entries kept; a run logs about 200 losses, and as many scores as it is evaluated.
_ENTRIES = 2_000
#: Steps over which the speed is taken.
_WINDOW = 50
#: Beyond any loss or step; a longer integer would not even become a float.
_LARGEST = 1e300


@dataclass(frozen=True)
class Live:
    """What ``progress.json`` says.

    Attributes:
        phase: ``prepare``, ``train``, ``evaluate`` or ``test``.
        step: Steps or texts done in this phase.
        total: Of how many; 0 where the phase does not count.
        train_step: Optimisation steps done; None before training.
        train_total: Of how many.
        loss: Last logged training loss.
        best: Best score on the selection split so far.
        steps_per_second: Over the last steps, evaluations left out; None before there is one.
        left_seconds: Until this phase ends at the speed so far, evaluations counted in; None where not known.
        started: When this process took the run up, ISO 8601 in UTC.
        updated: When this was written.
        history: The log so far, in the form of ``log_history``.
    """

    phase: str
    step: int
    total: int
    train_step: int | None
    train_total: int | None
    loss: float | None
    best: float | None
    steps_per_second: float | None
    left_seconds: float | None
    started: str
    updated: str
    history: list[dict[str, float]]


class LiveFile:
    """Writes a run's ``progress.json``; stands between the run and its display.

    Args:
        path: The file.
        passed_on: Told every progress too.
        metric: The run's metric.
        note: Writes a line to the run's log: every evaluation, and when scoring begins; None writes none.
        interval: Seconds between two writes, unless the phase changes.
    """

    def __init__(
        self,
        path: Path,
        *,
        passed_on: Callable[[Progress], None],
        metric: str = DEFAULT_METRIC,
        note: Callable[[str], None] | None = None,
        interval: float = 2.0,
    ) -> None:
        self._path, self._passed_on, self._note, self._interval = path, passed_on, note, interval
        self._metric = metric
        self._history: list[dict[str, float]] = []
        self._steps: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._last: Progress | None = None
        self._train: Progress | None = None
        self._mark = 0.0
        self._begun: dict[str, tuple[float, int]] = {}
        self._written = -math.inf
        self._started = now()

    def update(self, progress: Progress) -> None:
        """Take in where the run stands, write it down if it is time, and pass it on."""
        moment = time.monotonic()
        before, self._last = self._last, progress
        if progress.phase == "train":
            if before is not None and before.phase == "train" and progress.step > before.step:
                self._steps.append((moment - self._mark, progress.step - before.step))
            self._train = progress
        self._mark = moment
        self._begun.setdefault(progress.phase, (moment, progress.step))
        for entry in progress.logged:
            wanted = (*_KEYS, *(key for key in entry if key.startswith("eval_")))
            kept = {key: entry[key] for key in wanted if is_finite(entry.get(key))}
            if "step" in kept and len(kept) > 2:
                self._history.append(kept)
        # Several at once are those of a resumed run, which are in its log already.
        if len(progress.logged) == 1 and f"eval_{self._metric}" in progress.logged[0]:
            self._log(f"step {progress.step} of {progress.total}: {_scores(progress.logged[0], self._metric)}")
        if progress.phase == "test" and (before is None or before.phase != "test"):
            self._log(f"scoring {progress.total} texts of the test part")
        if len(self._history) > _ENTRIES:
            self._history = self._history[::2]
        if moment - self._written >= self._interval or before is None or before.phase != progress.phase:
            self.write()
        self._passed_on(progress)

    def write(self) -> None:
        """Write down what is known by now; a disk that cannot be written does not end the run."""
        # A run that was moved away with its study leaves nothing in its old place.
        if self._last is None or not self._path.parent.is_dir():
            return
        self._written = time.monotonic()
        seconds = sum(duration for duration, _ in self._steps)
        value = {
            "phase": self._last.phase,
            "step": self._last.step,
            "total": self._last.total,
            "train_step": self._train.step if self._train else None,
            "train_total": self._train.total if self._train else None,
            "loss": _or_none(self._train.loss if self._train else None),
            "best": _or_none(self._train.best if self._train else None),
            "steps_per_second": sum(steps for _, steps in self._steps) / seconds if seconds > 0 else None,
            "left_seconds": self._left(),
            "started": self._started,
            "updated": now(),
            "history": self._history,
        }
        try:
            write_text(self._path, json.dumps(value, allow_nan=False) + "\n", durable=False)
        except OSError:
            pass

    def _log(self, line: str) -> None:
        try:
            if self._note is not None:
                self._note(line)
        except OSError:
            pass

    def _left(self) -> float | None:
        """Return the seconds until the phase ends; of an evaluation, until training does."""
        last = self._train if self._last is not None and self._last.phase == "evaluate" else self._last
        if last is None or not last.total:
            return None
        begun, first = self._begun[last.phase]
        done = last.step - first
        return (time.monotonic() - begun) / done * (last.total - last.step) if done > 0 else None


def read_live(path: Path) -> Live | None:
    """Read a ``progress.json``; None where there is none, or none that makes sense."""
    try:
        raw = read_json(path)
        # Python's reader takes NaN and Infinity, which no answer to a browser may hold.
        return Live(
            phase=str(raw["phase"]),
            step=int(raw["step"]),
            total=int(raw["total"]),
            train_step=None if raw["train_step"] is None else int(raw["train_step"]),
            train_total=None if raw["train_total"] is None else int(raw["train_total"]),
            loss=_or_none(raw["loss"]),
            best=_or_none(raw["best"]),
            steps_per_second=_or_none(raw["steps_per_second"]),
            left_seconds=_or_none(raw["left_seconds"]),
            started=str(raw["started"]),
            updated=str(raw["updated"]),
            history=[entry for entry in raw["history"] if isinstance(entry, dict)],
        )
    except (StoreError, KeyError, TypeError, ValueError, OverflowError):
        return None


def is_finite(value: Any) -> bool:
    """Tell whether a value read from a file is a number that a chart can show."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST


def _or_none(value: Any) -> float | None:
    return float(value) if is_finite(value) else None


def _scores(entry: dict[str, Any], metric: str) -> str:
    loss = entry.get("eval_loss")
    found = "" if loss is None else f", loss {loss:.4f}"
    return f"{metric_label(metric)} {entry[f'eval_{metric}']:.4f}{found} on the selection split"
