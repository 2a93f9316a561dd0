"""The folder of ``--out``: what may stand in it already, and what is said where it cannot be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunebench.errors import StoreError


def refuse_file(folder: Path) -> None:
    """Refuse a file in the place of a folder.

    Raises:
        StoreError: It is one.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError("This is a file, not a folder.", value=str(folder), fix="choose another --out")


def refuse_others(folder: Path, others: Sequence[str], *, kind: str) -> None:
    """Refuse a folder that holds something else.

    Args:
        folder: The folder.
        others: Names of what it holds beside ours.
        kind: What ours is: a study or a suite.

    Raises:
        StoreError: There are others.
    """
    if others:
        raise StoreError(
            "The folder holds something else.",
            value=f"{folder}: {', '.join(sorted(others)[:5])}",
            allowed=f"an empty folder, a new one, or that of the same {kind}",
            fix="choose another --out",
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say of a folder that it cannot be written, where that is so.

    Raises:
        StoreError: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The folder cannot be written: {error.strerror}", value=str(folder), fix="choose another --out"
        ) from None
