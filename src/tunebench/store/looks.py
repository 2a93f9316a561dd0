"""When the results of a study were read, in its folder: ``looks.json``.

A test is honest only if it is known how often its data were looked at. Looks that the study declares are written
here when they are decided. What else was read before the study had all its runs, and seeds that were added to
results, are written here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from tunebench.errors import StoreError
from tunebench.files import read_json, write_json
from tunebench.schema import Part
from tunebench.store.record import now
from tunebench.store.seal import seal, unseal


class LookEntry(Part):
    """One time that results were read.

    Attributes:
        kind: ``declared`` is a look of the study's design; ``added`` means that seeds were added to a study whose
            results were there; ``read`` that a command showed results while runs were still to come.
        seeds: Seeds with scores of each strategy at a declared look; else the most that two strategies both had, at
            the size where that was least.
        planned: Seeds that the study listed then.
        decided: Whether a declared look ended the study; None for other kinds.
        said: What a declared look found, a sentence each.
        sizes: The most seeds that two strategies both had, by training size; empty of a declared look and in files
            from before it was written.
    """

    time: datetime
    kind: Literal["declared", "added", "read"]
    seeds: int
    planned: int
    decided: bool | None = None
    said: tuple[str, ...] = ()
    sizes: dict[int, int] = Field(default_factory=dict)


_ENTRIES = TypeAdapter(tuple[LookEntry, ...])


class LookLog:
    """The file of looks in a study's folder.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "looks.json"
        self._lock = folder / "runs" / ".locks" / "looks.lock"

    def read(self) -> tuple[LookEntry, ...]:
        """Return all entries, the oldest first.

        Raises:
            StoreError: The file is damaged.
        """
        if not self.path.exists():
            return ()
        raw = unseal(read_json(self.path), self.path)
        try:
            return _ENTRIES.validate_python(raw["looks"] if isinstance(raw, dict) else raw)
        except (KeyError, ValidationError) as error:
            raise StoreError(f"The file of looks is damaged: {error}", value=str(self.path)) from None

    def add(
        self,
        kind: Literal["declared", "added", "read"],
        *,
        seeds: int,
        planned: int,
        decided: bool | None = None,
        said: tuple[str, ...] = (),
        sizes: Mapping[int, int] | None = None,
    ) -> None:
        """Write an entry, unless the same look stands there already."""
        entry = LookEntry(
            time=now(),
            kind=kind,
            seeds=seeds,
            planned=planned,
            decided=decided,
            said=said,
            sizes=dict(sizes or {}),
        )
        with FileLock(self._lock):
            known = self.read()
            same = [one for one in known if (one.kind, one.seeds) == (kind, seeds)]
            if any(kind == "declared" or (one.planned, one.sizes) == (planned, entry.sizes) for one in same):
                return
            looks = [one.model_dump(mode="json") for one in (*known, entry)]
            write_json(self.path, seal({"looks": looks}))
