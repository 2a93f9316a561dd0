"""The state of every run of a study, kept up to date by looking at what changed in its folder.

Of a run only a few numbers are held, and read again when its files have changed: memory does not grow with
time, and a look at a study in which nothing happens costs a few ``stat`` calls a run.
"""

from __future__ import annotations

import re
import secrets
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.errors import StoreError
from tunebench.files import read_json
from tunebench.store.imported import is_imported
from tunebench.store.live import Live, read_live
from tunebench.store.plan_file import StoredRun
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import metric_label

#: Longest text of a failure that the list of runs carries; the run itself has all of it.
_REASON = 600

#: The number in a version; a longer one is none of ours, and Python refuses to read thousands of digits.
_VERSION = re.compile(r"[0-9]{1,15}")

_Stamp = tuple[Any, ...]


@dataclass(frozen=True)
class _Known:
    """What was last seen of a run."""

    stamp: _Stamp
    row: dict[str, Any]
    version: int


class WatchedStudy:
    """A study's folder as the page sees it. Safe to share between threads.

    Args:
        folder: The folder.
        pause: Seconds for which a look at the folder is good.

    Raises:
        StoreError: There is no study, or its plan is damaged.
    """

    def __init__(self, folder: Path, *, pause: float = 0.5) -> None:
        self._store = StudyStore.open(folder)
        self._pause = pause
        self._lock = threading.Lock()
        #: Tells one server from the next, whose versions begin anew.
        self._instance = secrets.token_hex(4)
        self._version = self._plan_version = 0
        self._looked: float | None = None
        self._plan_stamp: _Stamp = ()
        self._plan: list[StoredRun] = []
        self._name = folder.name
        self._known: dict[str, _Known] = {}
        self._head: dict[str, Any] = {}
        self._read_plan()

    def state(self, since: str | None = None) -> dict[str, Any]:
        """Return the study's state.

        Args:
            since: The ``version`` of an earlier answer: only runs that changed after it are given.

        Returns:
            ``version``; ``whole``, whether all runs are given; ``order``, their ids in the order of the plan
            (only where ``whole``); ``runs``, a row each; and the totals of the study.
        """
        with self._lock:
            self._look()
            instance, _, number = (since or "").partition("-")
            known = int(number) if instance == self._instance and _VERSION.fullmatch(number) else -1
            whole = known < self._plan_version
            rows = [k.row for k in self._known.values() if whole or k.version > known]
            order = {"order": list(self._known)} if whole else {}
            return {
                "version": f"{self._instance}-{self._version}",
                "whole": whole,
                **order,
                **self._head,
                "runs": rows,
            }

    def planned(self, run_id: str) -> tuple[StoredRun, dict[str, Any], RunFolder] | None:
        """Return a run's plan, its row and its folder; None for an id that the plan does not hold."""
        with self._lock:
            self._look()
            known = self._known.get(run_id)
            found = next((planned for planned in self._plan if planned.spec.run_id == run_id), None)
            if known is None or found is None:
                return None
            return found, known.row, self._store.run_folder(run_id)

    def _look(self) -> None:
        now = time.monotonic()
        if self._looked is not None and now - self._looked < self._pause:
            return
        self._looked = now
        problem = None
        try:
            self._read_plan()
        except StoreError as error:
            problem = error.what
        seen: dict[str, _Known] = {}
        for planned in self._plan:
            run_id = planned.spec.run_id
            seen[run_id] = self._see(planned, self._known.get(run_id))
        if list(seen) != list(self._known):
            self._version += 1
            self._plan_version = self._version
        self._known = seen
        head = {"name": self._name, "problem": problem, **_totals(self._plan, [k.row for k in seen.values()])}
        if head != self._head:
            self._head = head
            self._version += 1

    def _read_plan(self) -> None:
        stamp = _stamp(self._store.plan_file)
        if stamp == self._plan_stamp and stamp[0] is not None:
            return
        plan = self._store.planned()
        for planned in plan:
            self._store.run_folder(planned.spec.run_id)
        raw = read_json(self._store.plan_file)
        name = raw.get("name") if isinstance(raw, dict) else None
        self._name = name if isinstance(name, str) else self._store.folder.name
        self._plan, self._plan_stamp = plan, stamp

    def _see(self, planned: StoredRun, known: _Known | None) -> _Known:
        folder = self._store.run_folder(planned.spec.run_id)
        stamp: _Stamp = (_stamp(folder.record), _stamp(folder.failure), _stamp(folder.live), planned.left_out)
        # A complete run is nobody's to work on; of the others, who holds the lock is part of the state.
        running = stamp[0][0] is None and self._store.is_running(planned.spec.run_id)
        stamp = (*stamp, running, stamp[0][0] is None and _stamp(folder.checkpoint)[0] is not None)
        if known is not None and known.stamp == stamp:
            return known
        try:
            row = _row(planned, folder, running=running)
        except OSError as error:  # of a folder that went away, or that is not ours to read
            if known is not None:
                return known
            row = _bare(planned) | {"state": "failed", "reason": f"The run cannot be read: {error.strerror}"}
        if known is not None and known.row == row:
            return _Known(stamp, row, known.version)
        self._version += 1
        return _Known(stamp, row, self._version)


def _row(planned: StoredRun, folder: RunFolder, *, running: bool) -> dict[str, Any]:
    """Return what the page shows of a run in its grid."""
    record, reason = None, None
    try:
        record = folder.read()
        state = _state(planned, record, running=running)
    except StoreError as error:
        state, reason = ("running" if running else "failed"), str(error)
    failure = record.error if record is not None and state in ("failed", "out_of_memory") else None
    if failure is not None:
        reason = f"{failure.type}: {failure.message}"
    elif state == "left_out":
        reason = planned.left_out
    live = read_live(folder.live) if state in ("running", "pending", "failed", "out_of_memory") else None
    scores, selected, timing = (record.scores, record.selected, record.timing) if record else (None, None, None)
    if state == "pruned":
        reason = "Stopped early by the search: other learning rates were further at the same step."
    return _bare(planned) | {
        "state": state,
        "reason": None if reason is None else reason[:_REASON],
        "score": scores[planned.spec.selects_by] if scores else None,
        "selection_score": selected.score if selected else live.best if live else None,
        "wall_seconds": timing.wall_seconds if timing and state != "running" else None,
        "texts_per_second": _speed(planned, record, live),
        "resumable": state == "pending" and _stamp(folder.checkpoint)[0] is not None,
        **_standing(live, state),
    }


def _bare(planned: StoredRun) -> dict[str, Any]:
    """Return a row of which only the plan is known."""
    spec = planned.spec
    unknown = ("reason", "score", "selection_score", "wall_seconds", "texts_per_second")
    return {
        "id": spec.run_id,
        "label": spec.label,
        "size": spec.train_size,
        "rate": spec.shown_learning_rate,
        "seed": spec.seed,
        "detail": _detail(planned),
        "subset_seed": spec.subset_seed,
        "state": "pending",
        "resumable": False,
        "estimate_seconds": planned.seconds,
        **dict.fromkeys(unknown),
        **_standing(None, "pending"),
    }


def _detail(planned: StoredRun) -> str | None:
    """Return what tells the runs of a seed and a learning rate apart: other settings, and the fold."""
    spec = planned.spec
    words = [f"{name.replace('_', ' ')} {getattr(spec, name):g}" for name in spec.tuned]
    if spec.folds:
        words.append(f"fold {spec.fold} of {spec.folds}" if spec.fold else "all texts")
    return ", ".join(words) or None


def _state(planned: StoredRun, record: RunRecord | None, *, running: bool) -> str:
    if record is not None and record.status == "complete":
        return "imported" if is_imported(planned.spec) else "complete"
    if running:
        return "running"
    if record is not None:
        return record.status
    return "left_out" if planned.left_out else "pending"


def _standing(live: Live | None, state: str) -> dict[str, Any]:
    """Return where a run stands, or where it stopped."""
    names = ("phase", "step", "total", "train_step", "train_total", "loss", "started", "updated")
    found = {name: None if live is None else getattr(live, name) for name in names}
    return found | {"left_seconds": live.left_seconds if live is not None and state == "running" else None}


def _speed(planned: StoredRun, record: RunRecord | None, live: Live | None) -> float | None:
    """Return texts trained on a second: while running of the last steps, afterwards the median step's."""
    batch = planned.spec.batch_size
    if batch is None:  # of an imported run
        return None
    if live is not None:
        return None if live.steps_per_second is None else batch * live.steps_per_second
    step = record.timing.seconds_per_step if record and record.timing else None
    return batch / step if step else None


def _totals(plan: Sequence[StoredRun], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return counts by state, the speed of all running runs together, and the time left."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    running = [row for row in rows if row["state"] == "running"]
    speeds = [row["texts_per_second"] for row in running if row["texts_per_second"] is not None]
    return {
        "counts": counts,
        "texts_per_second": sum(speeds) if speeds else None,
        "left_seconds": _left(plan, rows),
        "metric": metric_label(plan[0].spec.selects_by if plan else DEFAULT_METRIC),
        "selection": sorted(
            {str(planned.spec.selection) for planned in plan if planned.spec.selection is not None}
        ),
    }


def _left(plan: Sequence[StoredRun], rows: Sequence[dict[str, Any]]) -> float | None:
    """Estimate the seconds until nothing is open, with as many runs side by side as now, at least one.

    A run takes what it was planned to, times how much longer than planned the finished ones took. Where no
    estimate was stored, it takes what finished ones took for each text and epoch. A running one keeps its speed.

    Returns:
        Seconds, rounded so that it does not change at every look; 0 where nothing is open; None where some
        run gives no clue.
    """
    open_ = [(p, row) for p, row in zip(plan, rows, strict=True) if row["state"] in ("pending", "running")]
    done = [(p, row["wall_seconds"]) for p, row in zip(plan, rows, strict=True) if row["state"] == "complete"]
    planned = [(seconds, p.seconds) for p, seconds in done if seconds and p.seconds]
    factor = sum(took for took, _ in planned) / sum(estimate for _, estimate in planned) if planned else 1.0
    work = [seconds / _work(p) for p, seconds in done if seconds and _work(p)]
    each = statistics.median(work) if work else None
    total = 0.0
    for p, row in open_:
        if p.seconds is not None:
            whole: float | None = p.seconds * factor
        else:
            whole = None if each is None else each * _work(p)
        if row["state"] == "running":
            share = row["train_step"] / row["train_total"] if row["train_total"] else 0.0
            by_plan = None if whole is None else whole * (1 - share)
            left = by_plan if row["left_seconds"] is None else row["left_seconds"]
        else:
            left = whole
        if left is None:
            return None
        total += left
    side_by_side = max(1, sum(row["state"] == "running" for _, row in open_))
    seconds = total / side_by_side
    return float(round(seconds / 5) * 5 if seconds < 120 else round(seconds / 60) * 60)


def _work(planned: StoredRun) -> int:
    spec = planned.spec
    # What min_steps adds needs the batch size, which an imported run may not tell.
    return max(spec.train_size * (spec.epochs or 0), (spec.min_steps or 0) * (spec.batch_size or 0))


def _stamp(path: Path) -> _Stamp:
    """Return what changes when a file does; ``(None,)`` where there is none."""
    try:
        found = path.stat()
    except OSError:
        return (None,)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
