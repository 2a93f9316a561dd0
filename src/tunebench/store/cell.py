"""A planned run and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tunebench.store.imported import AnyRun
from tunebench.store.record import RunRecord, Status
from tunebench.store.rows import to_row
from tunebench.tasks.registry import TASKS


@dataclass(frozen=True)
class Cell:
    """One planned run and what became of it.

    Attributes:
        note: Why there is no record, where something is known.
        predictions: Loads what :meth:`~tunebench.store.run_folder.RunFolder.write_predictions` wrote of the test
            part; None where it was not kept.
    """

    spec: AnyRun
    status: Status
    record: RunRecord | None = None
    note: str | None = None
    predictions: Callable[[], dict[str, np.ndarray]] | None = field(default=None, repr=False, compare=False)
    _computed: dict[str, float | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def row(self) -> dict[str, Any]:
        """The cell as a flat row of :func:`~tunebench.store.rows.to_row`; do not change it."""
        row = to_row(self.spec, status=self.status, record=self.record)
        row["error"] = self.reason
        return row

    @property
    def reason(self) -> str | None:
        """Why there are no results, where that is known."""
        return self.record.error.message if self.record and self.record.error else self.note

    def value(self, column: str) -> Any:
        """Return a column of :attr:`row`; of a metric what the record holds, or else what its predictions give."""
        known = self.row.get(column)
        return self.score(column) if known is None and column in TASKS[self.spec.task].metrics else known

    def score(self, metric: str) -> float | None:
        """Return the score on the test part by any metric; None where it is not known or not defined.

        Records hold tunebench's own metrics, and older ones three of them. Others come from stored predictions.
        """
        if not self.scored:
            return None
        assert self.record is not None and self.record.scores is not None
        known = self.record.scores.values
        if metric in known or self.predictions is None:
            return known.get(metric)
        if metric not in self._computed:
            self._computed[metric] = _score(self.record, self.predictions(), metric)
        return self._computed[metric]

    @property
    def draw(self) -> tuple[int | None, int | None]:
        """Subset draw and seed: what runs of one configuration differ in."""
        return self.spec.subset_seed, self.spec.seed

    @property
    def is_fold(self) -> bool:
        """Whether it is a run of one fold of a cross-validation, which selects and is never scored on test."""
        return bool(self.spec.fold)

    @property
    def to_come(self) -> bool:
        """Whether the run is still to be trained, or to be trained to its end."""
        return self.status in ("pending", "running")

    @property
    def ended(self) -> bool:
        """Whether the run has come to an end, good or bad."""
        return not self.to_come and self.status != "left_out"

    @property
    def damaged(self) -> bool:
        """Whether what is stored of the run cannot be used; :attr:`note` says why."""
        return self.status == "failed" and self.record is None

    @property
    def trained(self) -> bool:
        """Whether the run went to its end; its test part may still be locked."""
        return self.status == "complete" and self.record is not None

    @property
    def opened(self) -> bool:
        """Whether the test part was opened for this run, even if that look was cut short."""
        return self.record is not None and (self.record.scores is not None or bool(self.record.test_access))

    @property
    def scored(self) -> bool:
        """Whether the run is complete and has scores; only such runs are averaged."""
        return self.status == "complete" and self.record is not None and self.record.scores is not None


def _score(record: RunRecord, stored: dict[str, np.ndarray], name: str) -> float | None:
    """Return the score of stored predictions by a metric; None where it is not defined, or needs more of them."""
    task = record.task
    metric, logits = task.metric(name), stored.get("logits")
    if logits is None:
        if metric.needs != "labels":
            return None
        logits = task.outputs.stand_ins(stored["predicted"], len(record.spec.data.label_names))
    found = metric(task.outputs.truth(stored["labels"]), logits)
    return found if np.isfinite(found) else None
