"""Memory between steps: kept where it is wanted, and as a plain script has it where it is not."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tunebench.machine import devices, memory
from tunebench.machine.settings import Execution

#: Forks a process for each word, which runs with the engines that the word names in turn. It takes and frees blocks
#: as a training step does, and prints how many pages were mapped in the last rounds. The forks share their imports.
STEPS = """
import os, resource, sys
import numpy as np
from tunebench.machine.settings import Execution
from tunebench.machine import memory
SIZES = (200_000, 3_000_000, 12_000_000, 30_000_000, 50_000_000)
for word in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    for engine in filter(None, word.split(",")):
        memory.set_memory(Execution(), engine=engine, device="cpu")
    for turn in range(8):
        if turn == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [np.ones(size, dtype=np.uint8) for size in SIZES]
        del blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    break
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own settings")
def test_the_reference_engine_has_a_plain_scripts_memory_whatever_ran_before() -> None:
    command = [sys.executable, "-c", STEPS, "", "fast", "fast,reference"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    plain, fast, after = map(int, done.stdout.split())  # page faults of four rounds
    assert fast < 100 < plain
    assert plain / 2 < after < plain * 1.1


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("asked", [None, True, False])
def test_what_is_asked_for_comes_before_the_engines_own(
    monkeypatch: pytest.MonkeyPatch, engine: str, asked: bool | None
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(memory, "keep_memory", lambda keep: calls.append(keep) or True)
    wanted = engine == "fast" if asked is None else asked
    assert memory.set_memory(Execution(keep_memory=asked), engine=engine, device="cpu") is wanted
    assert not memory.set_memory(Execution(keep_memory=asked), engine=engine, device="cuda")
    assert calls == [wanted, False]


@pytest.mark.parametrize(
    ("vendor", "flags", "native", "gains"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True, True),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True, True),
        ("GenuineIntel", "avx512f avx512_bf16", True, False),
        ("GenuineIntel", "avx2", False, False),
        ("AuthenticAMD", "avx2", False, False),
        ("", "asimd bf16", True, True),
        ("", "asimd", False, False),
    ],
)
def test_bf16_is_taken_where_its_products_are_the_faster_ones(
    monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, native: bool, gains: bool
) -> None:
    said = {"vendor_id": vendor, "flags": flags}
    monkeypatch.setattr(devices, "cpu_line", lambda *names: said[names[0]])
    devices.cpu_flags.cache_clear()
    try:
        assert (devices.has_native_bf16("cpu"), devices.gains_from_bf16("cpu")) == (native, gains)
        assert devices.default_precision("cpu", "fast") == ("bf16" if gains else "fp32")
        assert devices.default_precision("cpu", "reference") == "fp32"
    finally:
        devices.cpu_flags.cache_clear()


@pytest.mark.parametrize(("native", "trains", "predicts"), [(True, "bf16", "bf16"), (False, "fp16", "fp32")])
def test_a_gpu_without_bf16_trains_in_fp16(
    monkeypatch: pytest.MonkeyPatch, native: bool, trains: str, predicts: str
) -> None:
    monkeypatch.setattr(devices, "has_native_bf16", lambda device: native)
    assert devices.default_precision("cuda", "fast") == trains
    assert devices.default_precision("cuda", "reference") == "fp32"
    assert devices.inference_precision("cuda") == predicts
    if not native:
        assert devices.default_precision("mps", "fast") == "fp32"
