"""What other programs leave of this machine."""

from __future__ import annotations

import os

from tunebench.machine import devices
from tunebench.machine.settings import Execution


def free_cores(load: float, cores: int) -> int:
    """Return how many cores a load leaves, at least one."""
    return max(1, cores - round(load))


def load_remark(execution: Execution) -> str | None:
    """Return what fewer threads would do, where other programs keep more cores busy than a run leaves them.

    To be asked before anything is computed here: the load is that of the last minute, this program's own included.
    """
    if not hasattr(os, "getloadavg") or execution.device not in ("auto", "cpu"):
        return None
    load, cores = os.getloadavg()[0], devices.usable_cores()
    free, threads = free_cores(load, cores), devices.threads_of(execution)
    if threads <= free:
        return None
    return (
        f"note: other programs keep about {min(load, cores):.1f} of {cores} cores busy. With --threads {free} "
        "training is often faster than with threads that wait for each other."
    )
