"""How long the runs of a plan will still take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tunebench.store.live import Progress

#: Share of a run after which its own speed says more than its estimate.
_KNOWN = 0.05


@dataclass
class _Running:
    """A run that has begun: when, and where its steps stood at first and at last."""

    begun: float
    first: tuple[float, float] | None = None
    last: tuple[float, float] | None = None

    def see(self, share: float) -> None:
        """Note that such a share of its steps is done."""
        self.last = time.monotonic(), share
        self.first = self.first or self.last

    @property
    def share(self) -> float | None:
        """The share of its steps that is done, as far as it is known."""
        return None if self.last is None else self.last[1]

    def seconds(self, estimate: float) -> float:
        """Return the time left: by its steps so far, else what is left of the estimate."""
        now = time.monotonic()
        if self.first is None or self.last is None or self.last[1] - self.first[1] < _KNOWN:
            return max(0.0, estimate - (now - self.begun))
        pace = (self.last[0] - self.first[0]) / (self.last[1] - self.first[1])
        return max(0.0, (1 - self.last[1]) * pace - (now - self.last[0]))


class TimeLeft:
    """Time left for a plan: its estimates, scaled by how long what is done really took.

    Of a run that ended early, only the steps that it took count as done. Runs at the same time share the work that
    is left.

    Args:
        estimates: Seconds by run id.
        at_a_time: How many runs begin together.
    """

    def __init__(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        self._open, self._at_a_time = dict(estimates), at_a_time
        self._estimated = self._taken = 0.0
        self._running: dict[str, _Running] = {}

    def see(self, progress: Progress) -> None:
        """Note where a run stands; with this it has begun."""
        run = self._running.setdefault(progress.run_id, _Running(time.monotonic()))
        if progress.phase == "train" and progress.total:
            run.see(progress.step / progress.total)

    def end(self, run_id: str) -> None:
        """A run ended."""
        estimate, run = self._open.pop(run_id, None), self._running.pop(run_id, None)
        if estimate is not None and run is not None:
            self._estimated += estimate * (1.0 if run.share is None else run.share)
            self._taken += time.monotonic() - run.begun

    def seconds(self) -> float:
        """Return the seconds left."""
        factor = self._taken / self._estimated if self._estimated > 0 else 1.0
        begun = [run.seconds(self._open.get(run_id, 0.0) * factor) for run_id, run in self._running.items()]
        waiting = sum(seconds * factor for run_id, seconds in self._open.items() if run_id not in self._running)
        together = max(1, len(begun), min(self._at_a_time, len(self._open)))
        return max(sum(begun, waiting) / together, *begun, 0.0)
