"""What was read of a source, and what was passed over: nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileReading:
    """How one file, or several of one kind, were read.

    Attributes:
        name: The file, relative to the source; of several, what they have in common.
        rows: Rows read.
        how: What was recognised, such as ``utf-8`` or ``separator ';'``, each a few words.
    """

    name: str
    rows: int
    how: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join([f"{self.name}: {self.rows:,} rows", *self.how])


@dataclass(frozen=True)
class PassedOver:
    """Something in the source that is not used.

    Attributes:
        what: Its name, and how much of it there is.
        why: The reason, and how to use it where that is possible.
    """

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what} ({self.why})"


@dataclass(frozen=True)
class Reading:
    """An account of a source: with it, every file, column, row and class is read or named.

    Attributes:
        files: What was read, by part (``train``, ``validation``, ``test``).
        columns: The columns used, by role (``text``, ``label``, ``split``, ``group``, ``time``).
        passed_over: What was not.
        notes: What was recognised, changed or guessed, one sentence each.
    """

    files: dict[str, tuple[FileReading, ...]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the account as lines of text: ``read:``, ``passed over:``, ``note:``."""
        found = [f"read: {part}: {_several(files)}" for part, files in self.files.items()]
        if self.columns:
            used = "; ".join(f"{role} from {name!r}" for role, name in self.columns.items())
            found.append(f"read: columns: {used}")
        found += [f"passed over: {item}" for item in self.passed_over]
        return found + [f"note: {line}" for line in self.notes]


def _several(files: Sequence[FileReading], limit: int = 5) -> str:
    shown = "; ".join(map(str, files[:limit]))
    if len(files) <= limit:
        return shown
    rest = files[limit:]
    return f"{shown}; {len(rest)} more files with {sum(file.rows for file in rest):,} rows"


def named_rows(rows: Sequence[int], numbers: Sequence[int] | None = None, *, limit: int = 5) -> str:
    """Return rows, given from 0, as a reader counts them: ``row 1``, or ``rows 1, 2, 3, 4, 5, ...``.

    Args:
        rows: The rows.
        numbers: Where the rows stand in their file, from 0; by default as they are given.
        limit: How many of them are named.
    """
    first = ", ".join(str((row if numbers is None else numbers[row]) + 1) for row in rows[:limit])
    return f"{'row' if len(rows) == 1 else 'rows'} {first}{', ...' if len(rows) > limit else ''}"
