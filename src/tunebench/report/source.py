"""What a report is made from: a comparison, its study's folder, and the predictions kept there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.recommend import Recommendation, recommended
from tunebench.errors import StoreError
from tunebench.report.reproduce import study_of
from tunebench.report.tables import ReportTable, make_tables
from tunebench.stats import Refusal
from tunebench.store.cell import Cell
from tunebench.store.imported import is_imported
from tunebench.store.study_folder import StudyStore
from tunebench.tasks.base import Task

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig


#: Columns that say whose a row is.
_NAMES = ("strategy", "train_size", "learning_rate", "seed", "seeds", "n", "selection")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one run predicted on the test part.

    Attributes:
        labels: int64 ``(n,)``; of several labels a text ``(n, classes)``.
        indices: int64 ``(n,)``, row numbers of the split the test part came from.
        logits: Shape ``(n, classes)``; None where no more than the predictions is known.
        predicted: In the form of ``labels``; None where there are logits.
    """

    labels: np.ndarray
    indices: np.ndarray
    logits: np.ndarray | None = None
    predicted: np.ndarray | None = None

    def given(self, task: Task) -> np.ndarray:
        """Return the predictions, in the form of ``labels``.

        Args:
            task: With the thresholds of the run.
        """
        if self.logits is not None:
            return task.outputs.predicted(self.logits)
        assert self.predicted is not None
        return self.predicted


@dataclass(frozen=True, eq=False)
class Source:
    """What the sections of a report are made from.

    Attributes:
        analysis: Of the study.
        folder: The study's folder; where it holds no study, what needs one is left out and said so.
    """

    analysis: Analysis
    folder: Path

    @property
    def comparison(self) -> Comparison:
        """The study's cells."""
        return self.analysis.comparison

    @cached_property
    def recommendation(self) -> Recommendation | str:
        """What is recommended, or why nothing can be."""
        return recommended(self.analysis)

    @cached_property
    def tables(self) -> list[ReportTable]:
        """Every table of the registry."""
        return make_tables(self.analysis)

    @property
    def shown_tables(self) -> list[ReportTable]:
        """The tables that have something to show: no curve is fitted to one or two training sizes."""
        fitted = any(not isinstance(curve.fit, Refusal) for curve in self.analysis.curves)
        return [table for table in self.tables if _says(table) and (fitted or table.name != "learning_curve")]

    @cached_property
    def study(self) -> StudyConfig | None:
        """The study as stored; None where the folder holds none that can be read, or imported runs."""
        try:
            found = StudyStore.open(self.folder).study()
        except StoreError:
            return None
        return None if self.imported else cast("StudyConfig", found)

    @cached_property
    def reproducing_study(self) -> StudyConfig | None:
        """The study that gives all runs again: the folder's own, or else one put together from their specs."""
        return self.study or study_of(self.comparison)

    @property
    def imported(self) -> bool:
        """Whether the runs came from other people's scripts, so that no study gives them."""
        return all(is_imported(cell.spec) for cell in self.comparison.cells)

    @cached_property
    def configs(self) -> tuple[Configuration, ...]:
        """The configurations that tables and figures show, with scores, by strategy and size."""
        return tuple(config for group in self.comparison.groups() for config in group.shown if config.scored)

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """The usable stored predictions of the shown configurations, by run id, all of one test part."""
        found: dict[str, Predictions] = {}
        for cell in (cell for config in self.configs for cell in config.scored):
            read = _read(cell)
            first = next(iter(found.values()), read)
            if read is not None and first is not None and _same_test_part(read, first):
                found[cell.spec.run_id] = read
        return found

    @cached_property
    def without_predictions(self) -> int:
        """How many scored runs of the shown configurations have no usable predictions."""
        return sum(len(config.scored) for config in self.configs) - len(self.predictions)

    def series(self, config: Configuration) -> str:
        """Name a configuration within its size: its strategy, with the learning rate if several are shown."""
        group = self.comparison.group(config.label, config.train_size)
        several = group is not None and len(group.shown) > 1
        return f"{config.label}, rate {config.setting}" if several else config.label


def _says(table: ReportTable) -> bool:
    """Tell whether a table has a value besides the names of its rows; that a run is complete does not count."""
    values = (value for row in table.rows for key, value in row.items() if key not in _NAMES)
    return any(value not in (None, "complete") for value in values)


def _read(cell: Cell) -> Predictions | None:
    if cell.predictions is None:
        return None
    try:
        read = Predictions(**cell.predictions())
    except StoreError:
        return None
    shape = (len(read.labels), len(cell.spec.data.label_names))
    if read.indices.shape != shape[:1] or shape[0] < 2:
        return None
    if read.logits is not None:
        fits = read.logits.shape == shape and bool(np.isfinite(read.logits).all())
    else:
        fits = read.predicted is not None and read.predicted.shape == read.labels.shape
    return read if fits else None


def _same_test_part(one: Predictions, other: Predictions) -> bool:
    return np.array_equal(one.indices, other.indices) and np.array_equal(one.labels, other.labels)
