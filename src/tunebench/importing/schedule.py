"""The peak learning rate and the schedule that logged rates lie on, where that follows from them.

Nothing is fitted: a schedule is told only if three or more logged rates lie on it to the last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Rates that must lie on a schedule before it is told.
FEWEST = 3
#: A rate lies on a schedule if it is off by no larger share: what floats lose, and no more.
_EXACT = 1e-6
#: Digits of a peak rate that somebody would choose.
_DIGITS = 3
#: Steps between a step and the rate that is logged for it: newer and older versions of the Trainer.
_SHIFTS = (0, 1)


@dataclass(frozen=True)
class Derived:
    """What logged rates tell.

    Attributes:
        schedule: A schedule of the recipe.
        peak: The highest rate of the schedule.
        warmup: Steps of warm-up.
        points: Logged rates that lie on it.
        only_round: Whether other lengths of warm-up would fit too, with peaks of more than three digits.
    """

    schedule: str
    peak: float
    warmup: int
    points: int
    only_round: bool = False

    @property
    def sentence(self) -> str:
        """What was derived from what."""
        warm = f"after {self.warmup:,} steps of warm-up" if self.warmup else "with no warm-up in the log"
        return (
            f"the learning rate {self.peak:g} and the schedule {self.schedule}, {warm}, were derived: all "
            f"{self.points} logged rates lie on it"
            + (f"; another warm-up would need a peak of more than {_DIGITS} digits." if self.only_round else ".")
        )


def derive_schedule(
    points: Sequence[tuple[int, float]], total: int | None, *, warmup: int | None = None
) -> Derived | None:
    """Return the one schedule on which all logged rates lie; None where there is none, or more than one.

    Args:
        points: Steps and their rates.
        total: Steps of the whole schedule; None where they are not known.
        warmup: Steps of warm-up, where they are known.
    """
    logged = dict(points)
    steps = np.array(sorted(logged), dtype=np.float64)
    rates = np.array([logged[int(step)] for step in steps])
    if len(steps) < FEWEST or (rates < 0).any() or not rates.any():
        return None
    found: dict[tuple[str, int], float] = {}
    for shift in _SHIFTS:
        for schedule in ("constant", "linear", "cosine"):
            if schedule != "constant" and not total:
                continue
            for warm in _warmups(steps, rates, warmup):
                peak = _peak(_shape(schedule, steps - shift, total or 0, warm), rates)
                if peak is not None:
                    found.setdefault((schedule, warm), peak)
    hidden = warmup is None and int(rates.argmax()) == 0
    if hidden:
        # A falling line fits after any warm-up that ended before it was first logged, each with another peak.
        found = {key: peak for key, peak in found.items() if key[0] != "linear" or _is_round(peak)}
    schedules = {schedule for schedule, _ in found}
    if len(schedules) != 1:
        return None
    (schedule,) = schedules
    # One step more or less of warm-up may fit as well, where the log skips the turning point.
    peaks = {float(f"{peak:.6g}") for peak in found.values()}
    if len(peaks) != 1:
        return None
    (_, warm), *_ = found
    return Derived(schedule, peaks.pop(), warm, len(steps), only_round=hidden and schedule == "linear")


def _warmups(steps: np.ndarray, rates: np.ndarray, warmup: int | None) -> range:
    """Return the lengths of warm-up that the place of the highest rate leaves possible."""
    if warmup is not None:
        return range(warmup, warmup + 1)
    highest = int(rates.argmax())
    if highest == 0:
        return range(int(steps[0]) + 1)
    return range(int(steps[highest - 1]), int(steps[min(highest + 1, len(steps) - 1)]) + 1)


def _shape(schedule: str, steps: np.ndarray, total: int, warmup: int) -> np.ndarray:
    """Return the rate of each step as a share of the peak."""
    rising = steps / max(1, warmup)
    left = np.clip((steps - warmup) / max(1, total - warmup), 0, 1)
    falling = {"constant": np.ones_like(left), "linear": 1 - left, "cosine": (1 + np.cos(np.pi * left)) / 2}
    return np.where(steps < warmup, rising, falling[schedule])


def _peak(shape: np.ndarray, rates: np.ndarray) -> float | None:
    """Return the peak at which a shape is these rates; None where it is not."""
    there = shape > 1e-12
    if not there.any() or (rates[~there] > _EXACT * rates.max()).any():
        return None
    peaks = rates[there] / shape[there]
    middle = float(np.median(peaks))
    # Near its end a cosine is small, and floats lose more of it.
    close = np.abs(rates[there] - middle * shape[there]) <= _EXACT * middle * np.maximum(shape[there], 1e-3)
    return middle if middle > 0 and bool(close.all()) else None


def _is_round(peak: float) -> bool:
    """Tell whether a rate has as few digits as one that somebody chose."""
    return abs(float(f"{peak:.{_DIGITS - 1}e}") - peak) <= _EXACT * peak
