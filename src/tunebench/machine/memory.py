"""Memory of this process: what the allocator keeps, and how much was used at most."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tunebench.machine.settings import Execution


#: glibc's ``mallopt`` parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
#: What keeps freed pages: blocks of all sizes from the heap, which is never trimmed.
_KEPT = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28))
#: What a plain script has. glibc adapts its threshold to the blocks that are freed, up to 32 MiB, but no longer
#: once a parameter was set; so it is set to where activations bring it, or training would map anew, at every
#: step, what a script of its own would not.
_USUAL = ((_M_MMAP_MAX, 65_536), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**26), (_M_TOP_PAD, 2**17))


def keep_memory(keep: bool = True) -> bool:
    """Let the allocator keep freed pages, so that no training step pays for mapping them again.

    Args:
        keep: False goes back to what a plain script has.

    Returns:
        Whether it was done; only glibc offers it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(key, value) == 1 for key, value in (_KEPT if keep else _USUAL))


def set_memory(execution: Execution, *, engine: str, device: str) -> bool:
    """Keep freed pages for a run, or give them back as a plain script does, whatever the run before it did.

    Returns:
        Whether they are kept.
    """
    keep = engine == "fast" if execution.keep_memory is None else execution.keep_memory
    keep = keep and device == "cpu"
    return keep_memory(keep) and keep


def release_memory() -> None:
    """Drop what the run before left, and hand unused pages back to the system (between runs, not steps)."""
    gc.collect()  # a model and its Trainer refer to each other, and would stay until chance collects them
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory_bytes(device: str) -> int:
    """Return peak memory since the last reset: of the GPU, else the process's resident set."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
