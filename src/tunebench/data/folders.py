"""What lies in a folder, and what of it is not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tunebench.data.readers import table_name
from tunebench.data.reading import PassedOver
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.formatting import listed

_T = TypeVar("_T")


def children_of(path: Path) -> list[Path]:
    """Return what lies in a folder, sorted by name; hidden files are left out.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"The folder cannot be read: {error.strerror or error}.", value=str(path)) from error


def read_all(readers: Iterable[Callable[[], _T]]) -> list[_T]:
    """Read all parts, and say what is wrong with each."""
    errors: list[TunebenchError] = []
    found: list[_T] = []
    for read in readers:
        try:
            found.append(read())
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    return found


def others(paths: Sequence[Path]) -> list[PassedOver]:
    """Name what lies in a folder and is not read; files of one kind together."""
    kinds = Counter(f"folder {path.name}/" if path.is_dir() else _kind(path) for path in paths)
    found = []
    for kind, count in kinds.items():
        if kind.startswith("folder "):
            found.append(PassedOver(kind, "it is no part of the data set"))
            continue
        names = [path.name for path in paths if not path.is_dir() and _kind(path) == kind]
        what = f"{count} files {kind}: {listed(names, 3)}" if count > 1 else names[0]
        why = "its name is none of train, validation and test" if _is_table_kind(names[0]) else "it is no table"
        found.append(PassedOver(what, why))
    return found


def _kind(path: Path) -> str:
    return f"*{path.suffix}" if path.suffix else "without an ending"


def _is_table_kind(name: str) -> bool:
    return table_name(Path(name)) is not None
