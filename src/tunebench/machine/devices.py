"""What this computer computes on: devices, processor features, threads.

Every setting here changes time and memory only, never a result's meaning; what does not exist on a
platform is skipped, and :func:`~tunebench.machine.environment.describe` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from tunebench.machine.settings import Execution
    from tunebench.recipe import Precision


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
        raise ConfigError("This device is not available.", value=requested, allowed=", ".join(available))
    return requested


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as Linux names them; empty where they cannot be read."""
    return frozenset(cpu_line("flags", "Features").split())


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
    slower = "GenuineIntel" in cpu_line("vendor_id") and not has_amx()
    return has_native_bf16(device) and not slower


def default_precision(device: str, engine: str) -> Precision:
    """Return the precision that ``auto`` trains in; the reference engine uses that of a plain script.

    GPUs without bf16, such as a T4, have units for fp16.
    """
    if engine == "reference":
        return "fp32"
    if device == "cuda" and not has_native_bf16(device):
        return "fp16"
    return inference_precision(device)


def inference_precision(device: str) -> Literal["fp32", "bf16"]:
    """Return the precision that ``auto`` predicts in."""
    return "bf16" if gains_from_bf16(device) else "fp32"


def compute_type(precision: str, device: str = "cuda") -> torch.dtype:
    """Return the type that products run in: of ``fp32``, ``bf16`` or ``fp16``.

    What was trained in fp16 on a GPU computes in fp32 elsewhere.
    """
    import torch

    if precision == "fp16" and device != "cuda":
        return torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def cpu_line(*names: str) -> str:
    """Return what Linux says of the first CPU under one of these names; empty where it cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(names):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def usable_cores() -> int:
    """Return the physical cores that this process may use: affinity and a container's quota limit them."""
    from joblib import cpu_count

    cores: int = cpu_count(only_physical_cores=True)
    return cores


def sharing(execution: Execution) -> int:
    """Return by how many runs at a time the estimated time of a plan is divided.

    A run is measured with a GPU to itself, so several on one GPU take longer. How many Ray trains, it decides.
    """
    alone = execution.executor == "ray" or resolve_device(execution.device) != "cpu"
    return 1 if alone else execution.at_a_time


def threads_of(execution: Execution) -> int:
    """Return the compute threads of one process of a run: what is asked for, else its share of the cores."""
    return execution.threads or max(1, usable_cores() // (execution.at_a_time * execution.processes))


@contextmanager
def kept_threads() -> Iterator[None]:
    """Inside, the number of compute threads may be set; afterwards it is as before."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(threads: int | None) -> int:
    """Set and return the number of compute threads; ``None`` takes all usable cores."""
    import torch

    threads = usable_cores() if threads is None else threads
    torch.set_num_threads(threads)
    return threads
