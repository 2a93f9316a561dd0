"""The cells of a study side by side: what tables and figures are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tunebench.config import RunSpec
from tunebench.errors import StoreError
from tunebench.records import RunRecord, Status, to_row


@dataclass(frozen=True)
class Cell:
    """One planned run and what became of it.

    Attributes:
        note: Why there is no record, where something is known.
    """

    spec: RunSpec
    status: Status
    record: RunRecord | None = None
    note: str | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The cell as a flat row."""
        row = to_row(self.spec, status=self.status, record=self.record)
        row["error"] = row["error"] or self.note
        return row

    @property
    def scored(self) -> bool:
        """Whether there are scores."""
        return self.record is not None and self.record.scores is not None


@dataclass(frozen=True)
class Group:
    """All seeds of one strategy at one size, at the learning rate that selection chose.

    Attributes:
        label: The strategy's label.
        train_size: Labels used.
        learning_rate: The chosen rate; None where several were tried and nothing chose among them.
        cells: The cells at that rate (all cells, where nothing chose).
        tried: Learning rates tried.
    """

    label: str
    train_size: int
    learning_rate: float | None
    cells: tuple[Cell, ...]
    tried: tuple[float, ...]

    @property
    def scored(self) -> tuple[Cell, ...]:
        """Cells with scores."""
        return tuple(cell for cell in self.cells if cell.scored)

    @property
    def status(self) -> str:
        """What is missing, in words; empty when nothing is."""
        missing = [cell.status.replace("_", " ") for cell in self.cells if not cell.scored]
        return ", ".join(f"{missing.count(s)} {s}" for s in dict.fromkeys(missing))

    def values(self, column: str) -> list[float]:
        """Return a column of :func:`~tunebench.records.to_row` over the scored cells, None left out."""
        found = [cell.row[column] for cell in self.scored]
        return [value for value in found if value is not None]

    def mean(self, column: str) -> float | None:
        """Return the mean of a column over seeds, or None."""
        values = self.values(column)
        return statistics.fmean(values) if values else None

    def deviation(self, column: str) -> float | None:
        """Return the standard deviation over seeds, or None with fewer than two."""
        values = self.values(column)
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """A study's cells, checked to belong together.

    Attributes:
        name: The study's name.
        cells: In the order of the plan.
        audit: The data audit as plain values, if it was made.
    """

    name: str
    cells: tuple[Cell, ...]
    audit: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def from_cells(cls, cells: Sequence[Cell], *, name: str, audit: dict[str, Any] | None = None) -> Comparison:
        """Check and collect.

        Raises:
            StoreError: Cells of different data, models or selection rules; nothing is averaged over
                what does not belong together.
        """
        if not cells:
            raise StoreError("There are no runs to compare.", value=name)
        shared = {
            "data": lambda s: s.data.fingerprint,
            "model": lambda s: s.model.fingerprint,
            "selection": lambda s: s.selection,
            "test_size": lambda s: s.test_size,
        }
        for what, key in shared.items():
            values = {key(cell.spec) for cell in cells}
            if len(values) > 1:
                raise StoreError(f"The runs differ in their {what}.", value=sorted(map(str, values)))
        return cls(name, tuple(cells), audit)

    @property
    def labels(self) -> list[str]:
        """Strategy labels, in the order of the plan."""
        return list(dict.fromkeys(cell.spec.label for cell in self.cells))

    @property
    def sizes(self) -> list[int]:
        """Training sizes, ascending."""
        return sorted({cell.spec.train_size for cell in self.cells})

    @property
    def selection(self) -> str:
        """The selection rule all cells share."""
        return self.cells[0].spec.selection

    def rows(self) -> list[dict[str, Any]]:
        """Return every cell as a flat row."""
        return [cell.row for cell in self.cells]

    def frame(self) -> pd.DataFrame:
        """Return every cell as a row of a table."""
        return pd.DataFrame(self.rows())

    def group(self, label: str, size: int) -> Group | None:
        """Return the cells of a strategy at a size, at the rate with the best mean selection score."""
        cells = [c for c in self.cells if c.spec.label == label and c.spec.train_size == size]
        if not cells:
            return None
        rates = list(dict.fromkeys(cell.spec.learning_rate for cell in cells))
        chosen: float | None = rates[0]
        if len(rates) > 1:
            scores = {rate: _selection_score([c for c in cells if c.spec.learning_rate == rate]) for rate in rates}
            known = {rate: score for rate, score in scores.items() if score is not None}
            chosen = max(known, key=lambda rate: known[rate]) if known else None
        kept = cells if chosen is None else [c for c in cells if c.spec.learning_rate == chosen]
        return Group(label, size, chosen, tuple(kept), tuple(rates))

    def groups(self) -> Iterator[Group]:
        """Yield the groups by size, then strategy."""
        for size in self.sizes:
            for label in self.labels:
                if (group := self.group(label, size)) is not None:
                    yield group

    def warnings(self) -> list[str]:
        """Return what a reader must know before believing a table, one sentence each."""
        lines = []
        if self.selection == "test":
            lines.append("Selected on the test split: every score is optimistic.")
        if len({cell.spec.seed for cell in self.cells}) == 1:
            lines.append("A single seed: differences may be luck.")
        for label in self.labels:
            rates = sorted({c.spec.learning_rate for c in self.cells if c.spec.label == label})
            if len(rates) == 1:
                lines.append(f"{label}: one learning rate ({rates[0]:g}) was tried; another may do better.")
        if any(c.record and c.record.examples and c.record.examples.test_held_out for c in self.cells):
            lines.append("The data has no test split: a part of the training data was held out for testing.")
        if self.audit and self.audit.get("test_in_train"):
            lines.append(f"{self.audit['test_in_train']} test texts stand in train too.")
        contended = sum(bool(c.record and c.record.timing and c.record.timing.contended) for c in self.cells)
        if contended:
            lines.append(f"{contended} runs shared the machine with other work; their times are too long.")
        missing = [cell.status.replace("_", " ") for cell in self.cells if not cell.scored]
        if missing:
            counts = ", ".join(f"{missing.count(s)} {s}" for s in dict.fromkeys(missing))
            lines.append(f"{len(missing)} of {len(self.cells)} runs have no score ({counts}).")
        return lines


def _selection_score(cells: Sequence[Cell]) -> float | None:
    scores = [
        cell.record.selected.macro_f1
        for cell in cells
        if cell.record is not None
        and cell.record.selected is not None
        and cell.record.selected.macro_f1 is not None
    ]
    return statistics.fmean(scores) if scores else None
