"""The machine: what it is, what it can do, and the settings that make it fast.

Every setting here changes time and memory only, never a result's meaning; what does not exist on a
platform is skipped, and :func:`describe` says so.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

    from tunebench.config import Execution, Precision

#: glibc's ``mallopt`` parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
#: What keeps freed pages: blocks of all sizes from the heap, which is never trimmed.
_KEPT = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28))
#: What a plain script has. glibc adapts its threshold to the blocks that are freed, up to 32 MiB, but no longer
#: once a parameter was set; so it is set to where activations bring it, or training would map anew, at every
#: step, what a script of its own would not.
_USUAL = ((_M_MMAP_MAX, 65_536), (_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**26), (_M_TOP_PAD, 2**17))


def resolve_device(requested: str) -> str:
    """Return ``cuda``, ``mps`` or ``cpu`` for a requested device, ``auto`` taking the first there is."""
    import torch

    from tunebench.errors import ConfigError

    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if requested == "auto":
        return available[0]
    if requested not in available:
        raise ConfigError("This device is not there.", value=requested, allowed=", ".join(available))
    return requested


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as Linux names them; empty where they cannot be read."""
    return frozenset(_cpu_line("flags", "Features").split())


def has_native_bf16(device: str) -> bool:
    """Tell whether matrix products in bf16 run natively."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def has_amx() -> bool:
    """Tell whether this is an Intel processor with matrix units for bf16, and this machine is shown them."""
    return "amx_bf16" in cpu_flags()


def gains_from_bf16(device: str) -> bool:
    """Tell whether matrix products in bf16 are faster than in fp32.

    Told by the kind of processor, not by a stopwatch: what a study's runs are must not depend on what else
    the machine was doing. Intel's processors need AMX for it, which a virtual machine may hide: with AVX512-BF16
    alone products in bf16 were measured at half the rate of those in fp32. ``tunebench doctor`` shows both.
    """
    if device != "cpu":
        return has_native_bf16(device)
    slower = "GenuineIntel" in _cpu_line("vendor_id") and not has_amx()
    return has_native_bf16(device) and not slower


def default_precision(device: str, engine: str) -> Precision:
    """Return what ``precision: auto`` stands for; the reference engine is what a plain script does."""
    return "bf16" if engine == "fast" and gains_from_bf16(device) else "fp32"


def compute_type(precision: str) -> torch.dtype:
    """Return the type that products run in: of ``fp32`` or ``bf16``."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def _cpu_line(*names: str) -> str:
    """Return what Linux says of the first CPU under one of these names; empty where it cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(names):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def usable_cores() -> int:
    """Return the physical cores that this process may use."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return min(physical, usable)


def threads_of(execution: Execution) -> int:
    """Return the compute threads of one process of a run: what is asked for, else its share of the cores."""
    return execution.threads or max(1, usable_cores() // (execution.workers * execution.processes))


def set_threads(threads: int | None) -> int:
    """Set and return the number of compute threads; ``None`` takes all usable cores."""
    import torch

    threads = usable_cores() if threads is None else threads
    torch.set_num_threads(threads)
    return threads


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
    """Keep freed pages for a run or, as a plain script would, do not; whatever the run before it had.

    Returns:
        Whether they are kept.
    """
    keep = engine == "fast" if execution.keep_memory is None else execution.keep_memory
    keep = keep and device == "cpu"
    return keep_memory(keep) and keep


def release_memory() -> None:
    """Drop what the run before left, and hand unused pages back to the system (between runs, not steps)."""
    import torch

    gc.collect()  # a model and its Trainer refer to each other, and would stay until chance collects them
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory, where the system can."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory_bytes(device: str) -> int:
    """Return peak memory since the last reset: of the GPU, else the process's resident set."""
    import torch

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


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def wall(self) -> float:
        """Wall seconds."""
        return time.monotonic() - self._wall

    @property
    def cpu(self) -> float:
        """Seconds of this process on all cores."""
        return time.process_time() - self._cpu


class ContentionMeter:
    """Measures how much of the machine others used while this process worked.

    Args:
        pids: The processes that work together, this one included; None is this one alone.
    """

    #: Above this share of all cores, timings are marked as contended.
    LIMIT = 0.05

    def __init__(self, pids: Sequence[int] | None = None) -> None:
        self._own = [psutil.Process(pid) for pid in pids or [os.getpid()]]
        self._others = self._capacity = 0.0
        self._mark = self._read()

    def _read(self) -> tuple[float, float]:
        times, own = psutil.cpu_times(), [process.cpu_times() for process in self._own]
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return busy - sum(part.user + part.system for part in own), time.monotonic()

    def start(self) -> None:
        """Begin a stretch that counts."""
        self._mark = self._read()

    def stop(self) -> None:
        """End the stretch."""
        others, now = self._read()
        self._others += max(0.0, others - self._mark[0])
        self._capacity += (now - self._mark[1]) * (psutil.cpu_count() or 1)

    @property
    def contended(self) -> bool | None:
        """Whether others used more than the limit; ``None`` after less than a second."""
        return None if self._capacity < 1 else self._others / self._capacity > self.LIMIT


def gemm_gflops(dtype: str, *, size: int = 2048, repeats: int = 7) -> float:
    """Measure the best rate of a square matrix product.

    Args:
        dtype: ``fp32`` or ``bf16``.
        size: Rows, columns and inner dimension.
        repeats: Measurements; the best counts, since noise only slows.

    Returns:
        Billions of floating-point operations a second.
    """
    import torch

    kind = compute_type(dtype)
    a, b = torch.randn(size, size).to(kind), torch.randn(size, size).to(kind)
    torch.mm(a, b)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def describe() -> dict[str, Any]:
    """Return what identifies the machine in a record; nothing that identifies its user."""
    flags = cpu_flags()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "simd": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"}),
    }


def versions(*more: str) -> dict[str, str]:
    """Return the versions of everything a result may depend on; ``more`` packages of one strategy."""
    from importlib.metadata import PackageNotFoundError, version

    names = ("tunebench", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", *more)
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def median(values: list[float]) -> float | None:
    """Return the median, or ``None`` of nothing."""
    return statistics.median(values) if values else None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
