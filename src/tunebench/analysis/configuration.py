"""The runs of a strategy at a size and a setting."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunebench.formatting import counted, learning_rate
from tunebench.store.cell import Cell
from tunebench.store.folds import fold_choice
from tunebench.store.imported import AnyRun
from tunebench.store.record import RunRecord, Status
from tunebench.store.rows import per_million

#: Subset draw and seed of a run; None where an imported run does not tell it.
Draw = tuple[int | None, int | None]


@dataclass(frozen=True)
class MeanOverSeeds:
    """One figure over seeds.

    Attributes:
        values: One a seed, in the order of the cells; at least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (n - 1); None with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Configuration:
    """The runs of one strategy at one size and one setting: they differ in seed and subset draw only.

    A setting is a learning rate, with a value of whatever else the study searches. Where each seed chose its own,
    the chosen runs differ in their settings too.
    """

    label: str
    train_size: int
    learning_rate: float | None
    cells: tuple[Cell, ...]
    #: What else the strategy's settings differ in.
    tuned: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether all runs have one setting; False where each seed chose its own, and they differ."""
        return len({cell.spec.setting for cell in self.cells}) == 1

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates of the runs, ascending; none where the strategy has none, or it is not known."""
        found = {cell.spec.shown_learning_rate for cell in self.cells}
        return tuple(sorted(rate for rate in found if rate is not None))

    @property
    def shown_learning_rate(self) -> float | None:
        """The learning rate; None where the strategy has none, or where its runs have several."""
        return self.learning_rates[0] if len(self.learning_rates) == 1 else None

    @property
    def others(self) -> str | None:
        """What is searched beside the learning rate, in words; None where nothing else is."""
        return _counted([", ".join(_others(cell.spec, self.tuned)) or None for cell in self.cells])

    @property
    def setting(self) -> str:
        """The learning rate and what else is searched, in words."""
        return _counted([_setting(cell.spec, self.tuned) for cell in self.cells]) or "not known"

    @property
    def searched(self) -> str:
        """What a search chooses among, in words."""
        return "settings" if self.tuned else "learning rates"

    @property
    def runs(self) -> tuple[Cell, ...]:
        """Cells that are there to be scored: all but those of the folds of a cross-validation."""
        return tuple(cell for cell in self.cells if not cell.is_fold)

    @property
    def judging(self) -> tuple[Cell, ...]:
        """Cells whose scores on the selection split choose: those of folds, or else all."""
        return tuple(cell for cell in self.cells if cell.is_fold) or self.cells

    @cached_property
    def scored(self) -> tuple[Cell, ...]:
        """Cells with scores."""
        return tuple(cell for cell in self.cells if cell.scored)

    @property
    def seeds_scored(self) -> int:
        """How many seeds have a score."""
        return len({cell.spec.seed for cell in self.scored})

    @property
    def opened(self) -> bool:
        """Whether the test part was opened for one of the runs."""
        return any(cell.opened for cell in self.cells)

    @property
    def unscored(self) -> dict[Status, tuple[Cell, ...]]:
        """Cells without scores, by status."""
        left = [cell for cell in self.cells if not cell.scored and not (cell.is_fold and cell.trained)]
        return {s: tuple(c for c in left if c.status == s) for s in dict.fromkeys(c.status for c in left)}

    @property
    def tried(self) -> bool:
        """Whether a run at this learning rate has come to an end, good or bad."""
        return any(cell.ended for cell in self.cells)

    @property
    def draws(self) -> set[Draw]:
        """Subset draw and seed of every planned run that is not left out."""
        return {cell.draw for cell in self.cells if cell.status != "left_out"}

    def failed(self, draws: set[Draw]) -> bool:
        """Whether a run of one of these draws failed or ran out of memory."""
        return any(cell.draw in draws for cell in self.cells if cell.status in ("failed", "out_of_memory"))

    def summary(self, *columns: str) -> MeanOverSeeds | None:
        """Summarise a column of the rows over scored cells, or the sum of several columns.

        Cells where a column is not known are left out; None when that leaves nothing.
        """
        found = [[cell.value(column) for column in columns] for cell in self.scored]
        values = tuple(float(sum(parts)) for parts in found if None not in parts)
        return MeanOverSeeds(values) if values else None

    def minutes(self, *columns: str) -> MeanOverSeeds | None:
        """Return :meth:`summary` of columns in seconds, in minutes."""
        found = self.summary(*columns)
        return None if found is None else MeanOverSeeds(tuple(value / 60 for value in found.values))

    def per_million(self, metric: str) -> MeanOverSeeds | None:
        """Summarise a metric per million trainable parameters."""
        found = [per_million(cell.value(metric), cell.row["trainable_params"]) for cell in self.scored]
        values = tuple(value for value in found if value is not None)
        return MeanOverSeeds(values) if values else None

    def selection_scores(self) -> dict[Draw, float]:
        """Return the score on the selection split by subset draw and seed, where there is one.

        Of a cross-validation it is the best of the mean curve, where all folds are trained.
        """
        trained = {cell.draw: cell.row["selection_score"] for cell in self.cells if cell.trained}
        folds: dict[Draw, list[RunRecord | None]] = {}
        for cell in self.cells:
            if cell.is_fold:
                folds.setdefault(cell.draw, []).append(cell.record if cell.trained else None)
        for draw, found in folds.items():
            records = [record for record in found if record is not None]
            trained[draw] = fold_choice(records).score if len(records) == len(found) else None
        return {draw: score for draw, score in trained.items() if score is not None}


def states(cells: Sequence[Cell]) -> str:
    """Return how many cells are in which state: ``2 complete, 1 out of memory``."""
    found = [cell.status.replace("_", " ") for cell in cells]
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def configurations_of(cells: Sequence[Cell]) -> tuple[Configuration, ...]:
    """Return the runs of a strategy at a size by setting, ascending by learning rate."""
    settings = dict.fromkeys(cell.spec.setting for cell in cells)
    label, size = cells[0].spec.label, cells[0].spec.train_size
    rates = known_first({setting[0] for setting in settings})
    tuned = tuple(dict.fromkeys(name for cell in cells for name in cell.spec.tuned))
    return tuple(
        Configuration(label, size, rate, tuple(c for c in cells if c.spec.setting == setting), tuned)
        for rate in rates
        for setting in settings
        if setting[0] == rate
    )


def known_first(values: Iterable[Any]) -> list[Any]:
    """Sort numbers of which one may not be known: ``None`` is last."""
    return sorted(values, key=lambda value: (value is None, value or 0))


def _others(spec: AnyRun, tuned: Sequence[str]) -> list[str]:
    values = {name: getattr(spec, name) for name in tuned}
    return [
        counted(value, "epoch") if name == "epochs" else f"{name.replace('_', ' ')} {value:g}"
        for name, value in values.items()
    ]


def _setting(spec: AnyRun, tuned: Sequence[str]) -> str | None:
    rate = None if spec.shown_learning_rate is None else learning_rate(spec.shown_learning_rate)
    return " with ".join(filter(None, [rate, " and ".join(_others(spec, tuned))])) or None


def _counted(found: Sequence[str | None]) -> str | None:
    """Return what all runs have; where they differ, how many have which: ``3e-4 in 2 runs, 1e-3 in 1 run``."""
    counts = Counter(words for words in found if words is not None)
    if len(counts) < 2:
        return next(iter(counts), None)
    return ", ".join(f"{words} in {counted(count, 'run')}" for words, count in counts.most_common())
