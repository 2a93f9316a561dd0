"""Load the kernels once a process, and say why where that does not work. Nothing here raises: training goes on.

They are compiled for this very processor where there is a compiler; else those that came with the wheel are taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from tunebench.machine.devices import compute_type, default_precision, gains_from_bf16, has_amx
from tunebench.machine.doctor import Finding
from tunebench.recipe import Kernels, Precision

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


def load(numbers: Precision) -> Loaded:
    """Return the kernels of this machine in a number type, compiled by the first process that asks for them."""
    if os.environ.get(SWITCH) == "0":
        return Loaded(None, f"switched off by {SWITCH}=0")
    return _loaded(numbers)


def kernels_here(device: str, precisions: Iterable[Precision]) -> dict[Precision, Kernels]:
    """Return what the fast engine computes with on this machine, by precision.

    Where bf16 gains nothing, runs in bf16 use PyTorch's operators.
    """

    def used(precision: Precision) -> bool:
        fits = device == "cpu" and (precision == "fp32" or (precision == "bf16" and gains_from_bf16(device)))
        return fits and load(precision).library is not None

    return {precision: "native" if used(precision) else "torch" for precision in precisions}


def kernels_finding() -> Finding:
    """Return what ``tunebench doctor`` says of the kernels in the precision that ``auto`` stands for."""
    numbers = default_precision("cpu", "fast")
    found = load(numbers)
    if found.library is not None:
        origin = "prebuilt" if found.prebuilt else "compiled"
        return Finding("native kernels", f"{found.library.body} in {numbers}, {origin} and tested")
    return Finding("native kernels", "not used", "note", f"{found.reason}; training uses PyTorch's operators")


@lru_cache(maxsize=2)
def _loaded(numbers: Precision) -> Loaded:
    try:
        check_machine(numbers)
    except UnavailableError as error:
        return Loaded(None, str(error))
    reasons = []
    for from_wheel, file in _ways(numbers):
        try:
            return Loaded(_tested(file(), numbers), None, from_wheel)
        except UnavailableError as error:
            reasons.append(str(error))
        except Exception as error:  # whatever a foreign compiler or loader does: PyTorch's operators are there
            reasons.append(f"they cannot be loaded: {first_line(error)}")
    return Loaded(None, reasons[0])


def _ways(numbers: Precision) -> Iterator[tuple[bool, Callable[[], Path]]]:
    """Yield what gives a library, best first, and whether it came with the wheel."""
    compiled = [NATIVE, *([(*NATIVE, "-DWITHOUT_AMX")] if numbers == "bf16" and has_amx() else [])]
    for flags in compiled:
        yield False, partial(_compiled, numbers, flags)
    for file in prebuilt(numbers):
        yield True, partial(Path, file)


def _compiled(numbers: Precision, flags: Sequence[str]) -> Path:
    return build(find_compiler(), default_cache_dir() / "native", numbers, flags)


def _tested(file: Path, numbers: Precision) -> Library:
    library = Library(file, compute_type(numbers))
    if not library.prepare():
        raise UnavailableError(f"the operating system does not allow {library.body}")
    if wrong := failure(library):
        raise UnavailableError(f"the self-test failed: {wrong}")
    return library
