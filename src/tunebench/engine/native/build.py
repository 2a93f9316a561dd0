"""Compile the kernels: on a user's machine into the cache folder, or for a wheel into the package.

A wheel is built without tunebench's dependencies, so nothing here may import them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.errors import first_line
from tunebench.machine.devices import cpu_flags

_FOLDER = Path(__file__).parent
_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fopenmp", "-fno-exceptions", "-fno-rtti")


@dataclass(frozen=True)
class _Source:
    """The kernels in one number type.

    Attributes:
        needed: What the processor must have.
        named: What that is called.
        flags: For the compiler, beside those of all kernels.
    """

    needed: tuple[str, ...]
    named: str
    flags: tuple[str, ...] = ()


#: By number type, which is also the name of the folder.
_SOURCES = {
    "bf16": _Source(("avx512f", "avx512bw", "avx512dq", "avx512vl"), "AVX-512"),
    # A product and the sum it goes into may be one instruction. Inside, vectors are passed as the compiler likes.
    "fp32": _Source(("avx2", "fma"), "AVX2", ("-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi")),
}
#: Those of this processor, which decide which body the products have.
NATIVE = ("-march=native",)
#: What a wheel may hold, best first: the number type, what the processor must have, and the flags.
_AVX512 = ("-march=x86-64-v4", "-mtune=generic")
_ALL = _SOURCES["bf16"].needed
VARIANTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "amx": (
        "bf16",
        (*_ALL, "amx_tile", "amx_bf16", "avx512_bf16"),
        (*_AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
    ),
    "avx512-bf16": ("bf16", (*_ALL, "avx512_bf16"), (*_AVX512, "-mavx512bf16")),
    "avx512": ("bf16", _ALL, _AVX512),
    "fp32-avx512": ("fp32", _ALL, _AVX512),
    "fp32-avx2": ("fp32", _SOURCES["fp32"].needed, ("-march=x86-64-v3", "-mtune=generic")),
}
PREBUILT = _FOLDER / "prebuilt"


class UnavailableError(Exception):
    """Why there are no native kernels here, in words for the user."""


def check_machine(numbers: str) -> None:
    """Refuse machines that the kernels are not written for.

    Args:
        numbers: ``bf16`` or ``fp32``: the type they compute in.

    Raises:
        UnavailableError: This is one.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UnavailableError(f"they are for Linux on x86-64, not {platform.system()} on {platform.machine()}")
    source = _SOURCES[numbers]
    if not cpu_flags().issuperset(source.needed):
        raise UnavailableError(f"this processor has no {source.named}")


def find_compiler() -> str:
    """Return the path of the C++ compiler: what ``CXX`` names, else g++.

    Raises:
        UnavailableError: There is none.
    """
    name = os.environ.get("CXX") or "g++"
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"there is no C++ compiler {name} here (install g++)")
    return found


def build(compiler: str, folder: Path, numbers: str, flags: Sequence[str] = NATIVE) -> Path:
    """Return the compiled kernels; they are compiled if the folder does not hold them.

    Several processes may do so at once: each compiles to a folder of its own, and the last file renamed stays.

    Args:
        compiler: Path of g++, or of a compiler that takes its flags.
        folder: Where compiled kernels are kept.
        numbers: ``bf16`` or ``fp32``.
        flags: Which instructions may be used, and definitions.

    Raises:
        UnavailableError: They do not compile, or the folder cannot be written.
    """
    try:
        target = folder / f"kernels-{numbers}-{_key(compiler, flags)}.so"
        if target.exists():
            return target
        folder.mkdir(parents=True, exist_ok=True)
        _compile(compiler, target, numbers, flags)
    except OSError as error:
        raise UnavailableError(f"they cannot be written to {folder}: {first_line(error)}") from None
    return target


def build_variants(folder: Path) -> list[Path]:
    """Compile the kernels for every kind of processor into a folder, and return the files.

    Raises:
        UnavailableError: They do not compile.
    """
    compiler = find_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, (numbers, _, flags) in VARIANTS.items():
        found.append(folder / _variant_file(name))
        _compile(compiler, found[-1], numbers, flags)
    return found


def prebuilt(numbers: str) -> list[Path]:
    """Return the kernels that came with the wheel and that this processor can run, best first.

    Files that were built from other sources are passed over.
    """
    flags = cpu_flags()
    fitting = [name for name, (kind, needed, _) in VARIANTS.items() if kind == numbers and flags.issuperset(needed)]
    return [file for file in map(PREBUILT.joinpath, map(_variant_file, fitting)) if file.exists()]


def _compile(compiler: str, target: Path, numbers: str, flags: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as name:
        compiled, library = Path(name) / "kernels.o", Path(name) / "kernels.so"
        options = (*_FLAGS, *_SOURCES[numbers].flags, *flags)
        _run(compiler, *options, "-c", str(_FOLDER / numbers / "kernels.cpp"), "-o", str(compiled))
        # Not with -fopenmp: OpenMP is to be the library that PyTorch has loaded, with its threads.
        linked = [flag for flag in flags if flag.startswith("-fsanitize")]
        _run(compiler, "-shared", *linked, str(compiled), "-o", str(library), "-lm")
        os.replace(library, target)


def _variant_file(name: str) -> str:
    return f"kernels-{name}-{_digest()}.so"


def _key(compiler: str, flags: Sequence[str]) -> str:
    """Return 24 hex digits that change with sources, compiler, flags and processor."""
    return _digest(_run(compiler, "--version"), *_FLAGS, *flags, *sorted(cpu_flags()))


def _digest(*words: str) -> str:
    """Return 24 hex digits that change with the sources and with some words."""
    digest = hashlib.sha256()
    for path in sorted([*_FOLDER.rglob("*.h"), *_FOLDER.rglob("*.cpp")]):
        digest.update(path.read_bytes())
    digest.update("\n".join(words).encode())
    return digest.hexdigest()[:24]


def _run(compiler: str, *arguments: str) -> str:
    try:
        done = subprocess.run([compiler, *arguments], capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise UnavailableError(f"{compiler} does not run: {first_line(error)}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise UnavailableError(f"{compiler} failed: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout
