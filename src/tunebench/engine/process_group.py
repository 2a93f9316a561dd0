"""The processes that train one run together. A process that trains alone is a group of one.

Collectives carry a few numbers, or logits; gradients are DistributedDataParallel's own affair.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed

#: A process may tokenise for the others; one that has died is noticed at once, whatever this is.
_TIMEOUT = timedelta(hours=2)


def join(rank: int, size: int, *, place: Path, device: str, threads: int) -> None:
    """Become one of several processes, all on this machine; waits for the others.

    Args:
        rank: This one's number.
        size: How many there are.
        place: An empty folder they share.
        device: ``cpu`` takes gloo, on the loopback device; ``cuda`` takes NCCL beside it, a GPU each.
        threads: Compute threads of this process.
    """
    os.environ.update(
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "OMP_NUM_THREADS": str(threads),
        }
    )
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if device == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        init_method=(place / "rendezvous").absolute().as_uri(),
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )


def leave() -> None:
    """End what :func:`join` began."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def size() -> int:
    """Return how many processes train this run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Tell whether this is the process that writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for the others."""
    if size() > 1:
        distributed.barrier()


@contextmanager
def first_then_others() -> Iterator[None]:
    """Let the first process do something that leaves files, and the others read them after it."""
    if not is_first():
        barrier()
    yield
    if is_first():
        barrier()


def total(values: Sequence[float]) -> list[float]:
    """Return the sums over all processes."""
    if size() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(tensor)
    return [float(value) for value in tensor]


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Return which flags are set in any process."""
    return tuple(value > 0 for value in total([float(flag) for flag in flags]))


def merged_rows(rows: np.ndarray) -> np.ndarray:
    """Join float32 arrays of one shape, each row of which is zero in all processes but one."""
    if size() == 1:
        return rows
    tensor = torch.from_numpy(rows)
    distributed.all_reduce(tensor)
    return rows


def pids() -> list[int]:
    """Return the ids of all processes, in order."""
    mine = [0.0] * size()
    mine[rank()] = float(os.getpid())
    return [int(pid) for pid in total(mine)]


def part_of(count: int) -> slice:
    """Return which texts of a global batch of ``count`` are this process's; parts differ by one at most."""
    edges = [count * number // size() for number in (rank(), rank() + 1)]
    return slice(*edges)
