"""Curves from a run's log, which has the form of the Hugging Face Trainer's ``state.log_history``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Points of a training loss curve: each is the mean of what was logged in its part of training.
LOSS_POINTS = 40
#: x and y of a line, both of shape ``(n,)``.
Line = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LoggedSeries:
    """A logged value over training.

    Attributes:
        steps: Optimisation steps, ascending, shape ``(n,)``.
        epochs: Epochs at these steps, shape ``(n,)``.
        values: Shape ``(n,)``; all finite.
    """

    steps: np.ndarray
    epochs: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)


def logged_series(history: Sequence[dict[str, Any]], key: str) -> LoggedSeries:
    """Return a logged value by step.

    Args:
        history: The log.
        key: ``loss``, ``eval_loss``, ``eval_accuracy``, ...

    Returns:
        The entries that hold the key; of several at one step, the last (a resumed run logs a step
        again). Values that are not finite are left out.
    """
    found = {
        int(entry["step"]): (float(entry["epoch"]), float(entry[key]))
        for entry in history
        if entry.get(key) is not None and math.isfinite(entry[key])
    }
    steps = np.array(sorted(found), dtype=np.int64)
    points = np.array([found[step] for step in steps.tolist()], dtype=np.float64).reshape(-1, 2)
    return LoggedSeries(steps, points[:, 0], points[:, 1])


def last_step(history: Sequence[dict[str, Any]]) -> int:
    """Return the last step logged, 0 where nothing was."""
    return max((int(entry["step"]) for entry in history if "step" in entry), default=0)


def losses_by_share(history: Sequence[dict[str, Any]]) -> tuple[Line, Line]:
    """Return training loss, as means over :data:`LOSS_POINTS` parts, and evaluation loss.

    Args:
        history: The log.

    Returns:
        Both against the share of training steps, from 0 to 1; empty where none was logged.
    """
    training, evaluation = logged_series(history, "loss"), logged_series(history, "eval_loss")
    last = max(1, last_step(history))
    return (
        binned(training.steps / last, training.values, bins=LOSS_POINTS),
        (evaluation.steps / last, evaluation.values),
    )


def mean_by_epoch(found: LoggedSeries) -> tuple[np.ndarray, np.ndarray]:
    """Return epochs (1, 2, ...) and the mean of a training curve in each.

    An entry is the mean since the entry before, so it weighs as many steps as lie between; it counts
    for the epoch it was logged in.
    """
    if not len(found):
        return np.array([], dtype=np.int64), np.array([])
    weights = np.diff(found.steps, prepend=0)
    # An epoch's last step is logged at exactly k; rounding of step / steps_per_epoch must not move it.
    epochs = np.maximum(1, np.ceil(found.epochs - 1e-6)).astype(np.int64)
    which = np.unique(epochs)
    means = [np.average(found.values[epochs == e], weights=weights[epochs == e]) for e in which]
    return which, np.array(means)


def mean_curve(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], points: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Average curves of several seeds.

    Args:
        curves: x and y of each; x ascends.
        points: Where the x differ, the curves are interpolated linearly at so many places of the
            range all of them cover.

    Returns:
        x, mean, minimum and maximum; all empty without curves or common range.
    """
    kept = [(x, y) for x, y in curves if len(x)]
    nothing = np.array([])
    if not kept:
        return nothing, nothing, nothing, nothing
    first = kept[0][0]
    if all(np.array_equal(x, first) for x, _ in kept):
        common, values = first, np.array([y for _, y in kept])
    else:
        low, high = max(x[0] for x, _ in kept), min(x[-1] for x, _ in kept)
        if low > high:
            return nothing, nothing, nothing, nothing
        common = np.linspace(low, high, points)
        values = np.array([np.interp(common, x, y) for x, y in kept])
    return common, values.mean(0), values.min(0), values.max(0)


def binned(x: np.ndarray, y: np.ndarray, *, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means of x and y in bins of equal width over x from 0 to 1; empty bins are left out."""
    index = np.clip(np.ceil(x * bins).astype(np.int64) - 1, 0, bins - 1)
    used = np.unique(index)
    return (
        np.array([x[index == i].mean() for i in used]),
        np.array([y[index == i].mean() for i in used]),
    )
