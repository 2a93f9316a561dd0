"""Notes on what cannot be used of a folder, collected while it is read: one sentence per file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


class Notes:
    """Values and files that were passed over.

    Args:
        folder: The folder that is read; names of files are given relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = folder.resolve().name
        self._not_finite: dict[str, Counter[str]] = {}
        self._others: dict[str, None] = {}

    def not_finite(self, file: Path, key: str) -> None:
        """Note that a value is NaN or infinite; the same key of one file is counted."""
        self._not_finite.setdefault(self._inside(file), Counter())[key] += 1

    def passed_over(self, file: Path, why: str) -> None:
        """Note that a file, or a part of it, is not used.

        Args:
            file: The file.
            why: A clause without its full stop.
        """
        self.add(f"{self._inside(file)} was passed over: {why}.")

    def unusable(self, file: Path, key: str, value: object, wanted: str) -> None:
        """Note that a value is not what its name says, and counts as not known."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        self.add(f"{self._inside(file)}: {key} is {shown}, not {wanted}; it counts as not known.")

    def add(self, sentence: str) -> None:
        """Note a sentence; the folder's name is put before it."""
        self._others.setdefault(f"{self._name}: {sentence}")

    @property
    def sentences(self) -> list[str]:
        """Everything noted."""
        found = []
        for file, counts in self._not_finite.items():
            keys = ", ".join(key if n == 1 else f"{key} ({n} times)" for key, n in counts.items())
            found.append(f"{self._name}: {file} holds NaN or infinity, which counts as not known: {keys}.")
        return [*found, *self._others]

    def _inside(self, file: Path) -> str:
        return file.relative_to(self._folder).as_posix() if file.is_relative_to(self._folder) else str(file)
