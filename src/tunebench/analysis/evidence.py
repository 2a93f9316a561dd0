"""The selected runs with their test predictions: what every analysis starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, known_first
from tunebench.analysis.peers import Peers
from tunebench.errors import StoreError
from tunebench.stats import (
    Anytime,
    Interval,
    Look,
    Looks,
    Refusal,
    crossed_interval,
    example_interval,
    seed_interval,
)
from tunebench.stats.joint_counts import joint_counts, observed_scores
from tunebench.store.cell import Cell
from tunebench.store.imported import is_answers
from tunebench.tasks.base import Task
from tunebench.tasks.metric import Metric
from tunebench.tasks.metrics import DEFAULT_METRIC, METRICS
from tunebench.tasks.registry import TASKS

#: All resampling starts from here, so that a report can be made again to the digit.
SEED = 20_240_915
#: Points in one: margins are given in points, which are hundredths of the metric.
POINTS = 100.0


@dataclass(frozen=True, eq=False)
class Entry:
    """The selected runs of one strategy at one size, on the test part all runs share.

    Where the study crosses several subsets with its seeds, these are the runs of the first subset: an
    interval over seeds holds no other draw, and :mod:`tunebench.analysis.variance` says what another one adds.
    Where each seed has a subset of its own, an interval over seeds holds both.

    Attributes:
        config: The selected learning rate's runs.
        seeds: Seeds with predictions, ascending.
        labels: True classes or numbers, shape ``(n,)``; of several labels a text 0 and 1, shape ``(n, classes)``.
        predictions: The same as predicted, a seed a row: shape ``(seeds, n)`` or ``(seeds, n, classes)``.
        logits: Shape ``(seeds, n, classes)``; None where no more than the predictions is known.
        metric: What it is compared by.
        peers: The configurations of its size with the same seeds, itself included; None where it has one seed.
        design: When its study is read; None where that is once.
    """

    config: Configuration
    seeds: tuple[int | None, ...]
    labels: np.ndarray
    predictions: np.ndarray
    logits: np.ndarray | None
    metric: Metric = METRICS[DEFAULT_METRIC]
    peers: Peers | None = None
    design: Looks | Anytime | None = None
    _intervals: dict[tuple[str, float], Interval] = field(default_factory=dict, init=False, repr=False)

    @property
    def label(self) -> str:
        """The strategy's label."""
        return self.config.label

    @property
    def train_size(self) -> int:
        """Labels used."""
        return self.config.train_size

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.config.cells[0].spec.data.label_names) if self.logits is None else self.logits.shape[2]

    @property
    def task(self) -> Task:
        """What is learned."""
        return TASKS[self.config.cells[0].spec.task]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells behind it, one a seed; not those for which the metric is not defined."""
        by_seed = {cell.spec.seed: cell for cell in _one_a_seed(self.config)}
        return tuple(by_seed[seed] for seed in self.seeds)

    @property
    def takes_fast_draws(self) -> bool:
        """Whether its runs take the fast engine's dropout masks and order of texts."""
        return self.config.cells[0].spec.takes_fast_draws

    @property
    def selected_by_metric(self) -> bool:
        """Whether the runs were selected by the metric they are compared by."""
        return self.config.cells[0].spec.selects_by == self.metric.name

    @property
    def redrawn(self) -> bool:
        """Whether every seed has a training subset of its own, so that what varies over seeds holds its draw."""
        return len({cell.spec.subset_seed for cell in self.cells}) > 1

    @cached_property
    def values(self) -> np.ndarray:
        """What the metric scores: classes ``(seeds, n)``, or one value a class ``(seeds, n, classes)``."""
        return self._decoded(self.metric)

    @property
    def reached(self) -> int:
        """Seeds with scores; more than :attr:`seeds` where the metric is not defined for a run."""
        return self.config.seeds_scored

    def look(self, seeds: int, other: Entry | None = None) -> Look | None:
        """Return the look of the study's design that a test is made at; None where the study is read once.

        Runs for which the metric is not defined are left out of a test. They take it to no earlier look.

        Args:
            seeds: That the test rests on.
            other: What it is compared with.
        """
        if isinstance(self.design, Looks):
            # Answers have no seeds: they are read whenever the other strategy is.
            both = [one for one in (self, other or self) if not is_answers(one.config.cells[0].spec)]
            seeds = min((one.reached for one in both), default=0)
        return None if self.design is None or seeds < 2 else self.design.at(seeds)

    def of_seeds(self, seeds: tuple[int | None, ...]) -> np.ndarray:
        """Return the :attr:`values` of some seeds."""
        return np.asarray(self.values[[self.seeds.index(seed) for seed in seeds]])

    def interval(self, metric: Metric | None = None, *, level: float = 0.95) -> Interval:
        """Return the mean score with its interval: over seeds and test examples where there are seeds.

        With one seed it holds the test examples alone, and says so (``over``). Where a study is read more than
        once, it is a repeated confidence interval: all of them together, over the looks, hold the mean.

        Args:
            metric: What to score; by default the entry's own metric.
            level: Confidence.
        """
        metric = metric or self.metric
        key = metric.name, level
        if key not in self._intervals:
            self._intervals[key] = self._interval(metric, level)
        return self._intervals[key]

    def seed_scores(self, metric: Metric) -> np.ndarray:
        """Return the score of each seed on the test examples, shape ``(seeds,)``."""
        return observed_scores(joint_counts(self.labels, self._of(metric), classes=self.classes), metric)

    def _interval(self, metric: Metric, level: float) -> Interval:
        values = self._of(metric)
        if len(self.seeds) > 1:
            between = None if self.peers is None else self.peers.of_score(self.label, metric)
            found = crossed_interval(
                self.labels,
                values,
                classes=self.classes,
                metric=metric,
                level=level,
                between=between,
                look=self.look(len(self.seeds)),
            )
            if not isinstance(found, Refusal):
                return found
        rng = np.random.default_rng(SEED)
        return example_interval(self.labels, values, classes=self.classes, rng=rng, metric=metric, level=level)

    def _of(self, metric: Metric) -> np.ndarray:
        return self.values if metric is self.metric else self._decoded(metric)

    def _decoded(self, metric: Metric) -> np.ndarray:
        if metric.needs == "labels":
            return self.predictions
        if self.logits is None:
            raise ValueError(f"{metric.label} needs probabilities, and {self.label} has none")
        return np.stack([metric.decode(logits) for logits in self.logits])


def interval_of(config: Configuration, entry: Entry | None, column: str) -> Interval | None:
    """Return the interval of an entry's score; without an entry that of the mean over seeds, or None."""
    metric = TASKS[config.cells[0].spec.task].metrics.get(column)
    found = config.summary(column)
    if found is None:
        return None
    if entry is not None and metric is not None and len(found.values) == len(config.scored):
        return entry.interval(metric)
    over_seeds = seed_interval(np.array(found.values), bounds=(None, None) if metric is None else metric.bounds)
    return None if isinstance(over_seeds, Refusal) else over_seeds


def collect(comparison: Comparison) -> list[Entry]:
    """Return an entry for every strategy and size whose selected runs have stored predictions.

    Runs for which the metric is not defined are left out; :func:`undefined` names them.

    Raises:
        StoreError: Runs were scored on different test examples, or predictions cannot be read.
    """
    found: list[Entry] = []
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for group in comparison.groups():
        config = group.selected
        if config is None:
            continue
        cells = [cell for cell in _one_a_seed(config) if cell.score(comparison.metric) is not None]
        loaded = {c.spec.seed: c.predictions() for c in cells if c.predictions is not None}
        tasks = {cell.spec.seed: cell.record.task for cell in cells if cell.record is not None}
        if not loaded:
            continue
        for values in loaded.values():
            own = (values["labels"], values["indices"])
            reference = reference or own
            if not all(np.array_equal(a, b) for a, b in zip(reference, own, strict=True)):
                raise StoreError(
                    "Runs were scored on different test examples; they cannot be compared.",
                    value=f"{group.label} at {group.train_size}",
                    fix="run both on the same data and test_size",
                )
        seeds = tuple(known_first(loaded))
        labels = comparison.task.outputs.truth(loaded[seeds[0]]["labels"])
        predicted = np.stack([predicted_of(loaded[seed], tasks[seed]) for seed in seeds])
        known = [loaded[seed]["logits"] for seed in seeds if "logits" in loaded[seed]]
        logits = np.stack(known) if len(known) == len(seeds) else None
        found.append(Entry(config, seeds, labels, predicted, logits, comparison.measure, design=comparison.design))
    return _with_peers(found)


def predicted_of(stored: dict[str, np.ndarray], task: Task) -> np.ndarray:
    """Return the predictions of a run as stored: those of its logits, or the ones that are there in their place."""
    return task.outputs.predicted(stored["logits"]) if "logits" in stored else stored["predicted"]


def _with_peers(entries: Sequence[Entry]) -> list[Entry]:
    """Let the entries of one size that have the same seeds know of each other.

    Runs that take the masks of others are left out: they score nearly what those do, and their variances are no
    independent draws.
    """
    groups: dict[tuple[int, tuple[int | None, ...]], list[Entry]] = {}
    own = [entry for entry in entries if not entry.takes_fast_draws]
    for entry in own:
        groups.setdefault((entry.train_size, entry.seeds), []).append(entry)

    def made(members: list[Entry]) -> Peers:
        return Peers(
            tuple(member.label for member in members),
            lambda metric: np.stack([member.seed_scores(metric) for member in members]),
        )

    peers = {key: made(members) for key, members in groups.items() if len(key[1]) > 1 and None not in key[1]}
    return [
        replace(entry, peers=peers.get((entry.train_size, entry.seeds)) if entry in own else None)
        for entry in entries
    ]


def undefined(comparison: Comparison) -> list[Cell]:
    """Return the runs with predictions for which the comparison's metric is not defined."""
    groups = (group.selected for group in comparison.groups())
    cells = [cell for config in groups if config is not None for cell in _one_a_seed(config)]
    return [cell for cell in cells if cell.score(comparison.metric) is None]


def only_predicted(cell: Cell) -> bool:
    """Tell whether no more than the predictions of a run is known, and no probabilities."""
    return cell.predictions is not None and "logits" not in cell.predictions()


def _one_a_seed(config: Configuration) -> list[Cell]:
    """Return the scored cells with predictions, one a seed: of its only subset draw, or else of the first."""
    crossed = len({cell.spec.seed for cell in config.runs}) < len(config.runs)
    first = config.cells[0].spec.subset_seed
    return [c for c in config.scored if c.predictions is not None and (not crossed or c.spec.subset_seed == first)]
