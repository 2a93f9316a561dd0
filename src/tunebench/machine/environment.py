"""What identifies this computer in a record, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import Any

import psutil
import torch

from tunebench.machine.devices import compute_type, cpu_flags, cpu_line


def describe() -> dict[str, Any]:
    """Return what identifies the machine in a record; nothing that identifies its user."""
    flags = cpu_flags()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_line("model name") or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "simd": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"}),
    }


def versions(*more: str) -> dict[str, str]:
    """Return the versions of everything a result may depend on; ``more`` packages of one strategy."""
    names = ("tunebench", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", *more)
    found = {name: installed for name in names if (installed := _version(name)) is not None}
    return {"python": platform.python_version()} | found


@cache
def _version(package: str) -> str | None:
    """Return a package's version, read once for all runs; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gemm_gflops(dtype: str, *, size: int = 2048, repeats: int = 7) -> float:
    """Measure the best rate of a square matrix product.

    Args:
        dtype: ``fp32`` or ``bf16``.
        size: Rows, columns and inner dimension.
        repeats: Measurements; the best counts, since noise only slows.

    Returns:
        Billions of floating-point operations a second.
    """
    kind = compute_type(dtype)
    a, b = torch.randn(size, size).to(kind), torch.randn(size, size).to(kind)
    torch.mm(a, b)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9
