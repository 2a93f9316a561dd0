"""How runs that train at the same time share the cores, and the memory nodes of machines that have several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tunebench.machine.settings import Execution


class Split(NamedTuple):
    """How cores are split over runs.

    Attributes:
        workers: Runs at a time.
        threads: Of each process.
    """

    workers: int
    threads: int


def splits(cores: int, execution: Execution, most: int) -> list[Split]:
    """Return the splits that may be best, from one run with all cores to one core a run.

    Args:
        cores: Physical cores that may be used.
        execution: Its threads are kept where they are given; each run has so many processes.
        most: Most runs that can train at a time.
    """
    each = (execution.threads or 1) * execution.processes
    counts = [2**power for power in range(cores.bit_length())]
    counts = sorted({count for count in [*counts, cores, most] if count * each <= cores and count <= most} | {1})
    return [Split(count, execution.threads or max(1, cores // (count * execution.processes))) for count in counts]


#: Where Linux describes the nodes.
_NODES = Path("/sys/devices/system/node")


def nodes() -> list[frozenset[int]]:
    """Return the CPUs of each memory node that this process may use; none where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = os.sched_getaffinity(0)
    try:
        lists = [file.read_text(encoding="ascii") for file in sorted(_NODES.glob("node[0-9]*/cpulist"))]
    except OSError:
        return []
    return [found for text in lists if (found := frozenset(_cpus(text) & usable))]


def bind_worker(number: int, count: int) -> None:
    """Keep one of so many workers on one node, where the workers can be shared equally by the nodes.

    Otherwise the system places it. Must be called before the worker computes: its threads inherit the place.

    Args:
        number: Of the worker, from 0.
        count: How many workers there are.
    """
    found = nodes()
    if len(found) > 1 and count % len(found) == 0:
        os.sched_setaffinity(0, found[number % len(found)])


def _cpus(text: str) -> set[int]:
    """Return the numbers of a list such as ``0-3,8``."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found
