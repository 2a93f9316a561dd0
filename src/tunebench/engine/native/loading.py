"""Load the kernels once a process, and say why where that does not work. Nothing here raises: training goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tunebench.engine.native.build import NATIVE, UnavailableError, build, check_machine, find_compiler
from tunebench.engine.native.library import Library
from tunebench.engine.native.self_test import failure
from tunebench.errors import first_line
from tunebench.files import default_cache_dir
from tunebench.machine.devices import gains_from_bf16, has_amx
from tunebench.machine.doctor import Finding
from tunebench.recipe import Kernels

#: Set to 0 to train with PyTorch's operators alone.
SWITCH = "TUNEBENCH_NATIVE"


@dataclass(frozen=True)
class Loaded:
    """The kernels, or why there are none; one of the two is None."""

    library: Library | None
    reason: str | None


def load() -> Loaded:
    """Return the kernels of this machine, compiled by the first process that asks for them."""
    if os.environ.get(SWITCH) == "0":
        return Loaded(None, f"switched off by {SWITCH}=0")
    return _loaded()


def kernels_here(device: str) -> Kernels:
    """Return what the fast engine computes with in bf16 on this machine, where bf16 is what it computes in."""
    used = device == "cpu" and gains_from_bf16(device) and load().library is not None
    return "native" if used else "torch"


def kernels_finding() -> Finding:
    """Return what ``tunebench doctor`` says of the kernels."""
    if not gains_from_bf16("cpu"):
        return Finding("native kernels", "not used", "note", "they are for bf16, which gains nothing here")
    found = load()
    if found.library is not None:
        return Finding("native kernels", f"{found.library.body}, compiled and tested")
    return Finding("native kernels", "not used", "note", f"{found.reason}; training uses PyTorch's operators")


@lru_cache(maxsize=1)
def _loaded() -> Loaded:
    try:
        check_machine()
        try:
            return Loaded(_tested(NATIVE), None)
        except UnavailableError:
            if not has_amx():
                raise
            return Loaded(_tested((*NATIVE, "-DWITHOUT_AMX")), None)
    except UnavailableError as error:
        return Loaded(None, str(error))
    except Exception as error:  # whatever a foreign compiler or loader does: PyTorch's operators are there
        return Loaded(None, f"they cannot be loaded: {first_line(error)}")


def _tested(flags: Sequence[str]) -> Library:
    library = Library(build(find_compiler(), default_cache_dir() / "native", flags))
    if not library.prepare():
        raise UnavailableError(f"the operating system does not allow {library.body}")
    if wrong := failure(library):
        raise UnavailableError(f"the self-test failed: {wrong}")
    return library
