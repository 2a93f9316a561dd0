"""Load the kernels once a process, and say why where that does not work. Nothing here raises: training goes on.

They are compiled for this very processor where there is a compiler; else those that came with the wheel are taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from tunebench.engine.native.build import (
    NATIVE,
    UnavailableError,
    build,
    check_machine,
    find_compiler,
    prebuilt,
)
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
    """The kernels, or why there are none; one of the two is None.

    Attributes:
        library: The kernels.
        reason: Why there are none.
        prebuilt: Whether they came with the wheel.
    """

    library: Library | None
    reason: str | None
    prebuilt: bool = False


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
        origin = "prebuilt" if found.prebuilt else "compiled"
        return Finding("native kernels", f"{found.library.body}, {origin} and tested")
    return Finding("native kernels", "not used", "note", f"{found.reason}; training uses PyTorch's operators")


@lru_cache(maxsize=1)
def _loaded() -> Loaded:
    try:
        check_machine()
    except UnavailableError as error:
        return Loaded(None, str(error))
    reasons = []
    for from_wheel, file in _ways():
        try:
            return Loaded(_tested(file()), None, from_wheel)
        except UnavailableError as error:
            reasons.append(str(error))
        except Exception as error:  # whatever a foreign compiler or loader does: PyTorch's operators are there
            reasons.append(f"they cannot be loaded: {first_line(error)}")
    return Loaded(None, reasons[0])


def _ways() -> Iterator[tuple[bool, Callable[[], Path]]]:
    """Yield what gives a library, best first, and whether it came with the wheel."""
    compiled = [NATIVE, *([(*NATIVE, "-DWITHOUT_AMX")] if has_amx() else [])]
    for flags in compiled:
        yield False, partial(_compiled, flags)
    for file in prebuilt():
        yield True, partial(Path, file)


def _compiled(flags: Sequence[str]) -> Path:
    return build(find_compiler(), default_cache_dir() / "native", flags)


def _tested(file: Path) -> Library:
    library = Library(file)
    if not library.prepare():
        raise UnavailableError(f"the operating system does not allow {library.body}")
    if wrong := failure(library):
        raise UnavailableError(f"the self-test failed: {wrong}")
    return library
