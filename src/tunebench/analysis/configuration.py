"""The runs of a strategy at a size, by setting, and which setting is selected."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunebench.formatting import learning_rate
from tunebench.store.cell import Cell
from tunebench.store.folds import fold_choice
from tunebench.store.record import RunRecord, Status
from tunebench.tasks.registry import TASKS

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

    A setting is a learning rate, with a value of whatever else the study searches.
    """

    label: str
    train_size: int
    learning_rate: float | None
    cells: tuple[Cell, ...]
    #: What else the strategy's settings differ in.
    tuned: tuple[str, ...] = ()

    @property
    def shown_learning_rate(self) -> float | None:
        """The learning rate; None where the strategy has none."""
        return self.cells[0].spec.shown_learning_rate

    @property
    def others(self) -> str | None:
        """What is searched beside the learning rate, in words; None where nothing else is."""
        spec = self.cells[0].spec
        return ", ".join(f"{name.replace('_', ' ')} {getattr(spec, name):g}" for name in self.tuned) or None

    @property
    def setting(self) -> str:
        """The learning rate and what else is searched, in words."""
        rate = None if self.shown_learning_rate is None else learning_rate(self.shown_learning_rate)
        return ", ".join(filter(None, [rate, self.others])) or "not known"

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
        return any(cell.status not in ("pending", "running", "left_out") for cell in self.cells)

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
        found = [(cell.value(metric), cell.row["trainable_params"]) for cell in self.scored]
        values = tuple(score / count * 1e6 for score, count in found if score is not None and count)
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


@dataclass(frozen=True)
class Group:
    """All runs of one strategy at one size.

    Attributes:
        configs: One a setting, ascending by learning rate.
        selected: The configuration with the best mean selection score, see :func:`select_configuration`; None where
            nothing can choose among several.
    """

    label: str
    train_size: int
    configs: tuple[Configuration, ...]
    selected: Configuration | None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, of every learning rate."""
        return tuple(cell for config in self.configs for cell in config.cells)

    @property
    def tried(self) -> tuple[float | None, ...]:
        """The learning rate of each setting of which a run has come to an end, ascending."""
        return tuple(config.learning_rate for config in self.configs if config.tried)

    @property
    def shown(self) -> tuple[Configuration, ...]:
        """The selected configuration, or all of them where nothing chose."""
        return self.configs if self.selected is None else (self.selected,)

    @property
    def not_chosen(self) -> tuple[Cell, ...]:
        """Cells without scores because they only chose, or were not chosen: no gap in the study."""
        if self.selected is None:
            return ()
        others = [cell for config in self.configs if config is not self.selected for cell in config.cells]
        passed = [c for c in others if not c.scored and c.status in ("complete", "pruned", "pending", "left_out")]
        return (*(cell for cell in self.selected.cells if cell.is_fold and cell.trained), *passed)

    @property
    def at_edge(self) -> bool:
        """Whether the best of several rates is the smallest or largest tried: the range was too narrow."""
        rates = list(dict.fromkeys(self.tried))
        return len(rates) > 1 and self.selected is not None and self.selected.learning_rate in (rates[0], rates[-1])

    @property
    def searched(self) -> str:
        """What a search chooses among, in words."""
        return "settings" if any(config.tuned for config in self.configs) else "learning rates"


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


def select_configuration(configs: Sequence[Configuration]) -> Configuration | None:
    """Choose a setting by the mean score on the selection split.

    A draw is a subset and a seed. Rates at which a run failed are passed over as long as another one is left:
    the mean over the draws that happened to survive would flatter them. Only draws that were planned for every
    rate count for that, since after a search only the chosen rate has the others. The remaining rates are compared
    on the draws that all of them have, so that a rate with fewer runs so far is not judged by an easier draw; where
    they share none, each is judged by its own. The smaller rate wins a tie.

    Args:
        configs: Configurations of one strategy and size.

    Returns:
        The configuration; a single one needs no score. None where several have none (``selection: last``).
    """
    if len(configs) == 1:
        return configs[0]
    scored = [config for config in configs if config.selection_scores()]
    everywhere = set.intersection(*(config.draws for config in configs))
    candidates = [config for config in scored if not config.failed(everywhere or config.draws)] or scored
    if not candidates:
        return None
    shared = set.intersection(*(set(config.selection_scores()) for config in candidates))

    def merit(config: Configuration) -> float:
        scores, spec = config.selection_scores(), config.cells[0].spec
        metric = TASKS[spec.task].metrics[spec.selects_by]
        return metric.merit(statistics.fmean(scores[draw] for draw in shared or scores))

    # Several have a rate each, also where they were imported: check_coordinates sees to that.
    return max(candidates, key=lambda config: (merit(config), -(config.learning_rate or 0.0)))
