"""One run in detail: its curves, thinned to what a chart can show, the end of its log, and why it failed."""

from __future__ import annotations

import itertools
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.analysis.log_history import LoggedSeries, logged_series
from tunebench.errors import StoreError
from tunebench.files import open_regular
from tunebench.store.live import is_finite, read_live
from tunebench.store.plan_file import StoredRun
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder

#: Points of one curve that the page gets.
POINTS = 400
#: The end of a log that the page gets.
LOG_BYTES, LOG_LINES = 32_768, 200
#: More steps than a run can have: what says so is damaged.
_MOST_STEPS = 2**53


def describe_run(planned: StoredRun, row: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Describe a run.

    Args:
        planned: Its plan.
        row: Its row in the state of the study.
        folder: Its folder; any file of it may be missing, half written or damaged.

    Returns:
        The row, with ``curves`` (``step``, ``epoch`` and ``value`` of each), ``log`` (lines), ``error`` (type,
        message and traceback) and ``facts`` (name and value).
    """
    try:
        record = folder.read()
    except (StoreError, OSError):
        record = None
    live = read_live(folder.live)
    # Of a failed run the log so far is all there is; a record that is complete has the whole one.
    history: list[dict[str, Any]] = record.log_history if record is not None and row["state"] != "running" else []
    if not history and live is not None:
        history = list(live.history)
    error = record.error if record is not None and row["state"] != "running" else None
    curves = {"loss": "loss", "eval_loss": "eval_loss", "score": f"eval_{planned.spec.selects_by}"}
    return {
        **row,
        "curves": {name: _points(history, key) for name, key in curves.items()},
        "log": log_tail(folder.log),
        "error": None if error is None else error.model_dump(mode="json"),
        "facts": _facts(planned, record if row["state"] != "running" else None),
    }


def thin(found: LoggedSeries, points: int = POINTS) -> LoggedSeries:
    """Leave so few points of a curve that a chart shows the same: ends, and the extremes between them.

    Args:
        found: The curve.
        points: At most as many are kept.
    """
    if len(found) <= points:
        return found
    # Two of each stretch: the smallest and the largest value, so that no spike is lost.
    edges = np.linspace(1, len(found) - 1, (points - 2) // 2 + 1).astype(np.int64)
    kept = {0, len(found) - 1}
    for low, high in itertools.pairwise(edges.tolist()):
        if high > low:
            part = found.values[low:high]
            kept |= {low + int(part.argmin()), low + int(part.argmax())}
    index = np.array(sorted(kept))
    return LoggedSeries(found.steps[index], found.epochs[index], found.values[index])


def log_tail(path: Path) -> list[str]:
    """Return the last lines of a log; none where it cannot be read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read(LOG_BYTES).decode("utf-8", errors="replace").splitlines()
    except (OSError, StoreError):
        return []
    # The first one was cut by the seek.
    return (lines[1:] if size > LOG_BYTES else lines)[-LOG_LINES:]


def _points(history: list[dict[str, Any]], key: str) -> dict[str, list[float]]:
    numbers = [entry for entry in history if all(is_finite(entry.get(name)) for name in ("step", "epoch", key))]
    found = thin(logged_series([entry for entry in numbers if abs(entry["step"]) < _MOST_STEPS], key))
    return {
        "step": found.steps.tolist(),
        "epoch": [round(value, 4) for value in found.epochs.tolist()],
        "value": [round(value, 6) for value in found.values.tolist()],
    }


def _facts(planned: StoredRun, record: RunRecord | None) -> list[list[str]]:
    """Return what was planned and measured, in words."""
    spec = planned.spec
    found: dict[str, Any] = {
        "Strategy": spec.kind,
        "Model": spec.model.source,
        "Data": spec.data.source,
        "Training texts": spec.train_size,
        "Learning rate": spec.shown_learning_rate,
        "Seed": spec.seed,
        "Epochs": spec.epochs,
        "Least steps": spec.min_steps or None,
        "Batch size": spec.batch_size,
        "Selected on": spec.selection,
    }
    if record is not None:
        parameters, scores, cost = record.parameters, record.scores, record.cost
        found |= {
            "Trainable parameters": parameters.trainable if parameters else None,
            "Accuracy on the test part": scores["accuracy"] if scores else None,
            "Log loss on the test part": scores["log_loss"] if scores else None,
            "Peak memory": _mebibytes(cost.peak_memory_bytes) if cost else None,
            "Device": record.environment.device,
            "Started": _time(record.started),
            "Finished": _time(record.finished),
        }
    return [[name, _said(value)] for name, value in found.items() if value is not None]


def _mebibytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 2**20:,.0f} MiB"


def _time(value: str | None) -> str | None:
    """Write a record's time for people; anything else stays as it is."""
    if value is None:
        return None
    try:
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return value


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
