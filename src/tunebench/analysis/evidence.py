"""The selected runs with their test predictions: what every analysis starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tunebench.analysis.comparison import Arm, Comparison
from tunebench.errors import StoreError
from tunebench.stats import Interval, Metric, Refusal, crossed_interval, example_interval, seed_interval
from tunebench.store.cell import Cell

#: All resampling starts from here, so that a report can be made again to the digit.
SEED = 20_240_915
#: Columns of the rows that predicted classes give, and their metric.
_FROM_CLASSES: dict[str, Metric] = {"macro_f1": "macro_f1", "accuracy": "accuracy"}
#: Macro F1 points in one: margins are given in points, scores lie between 0 and 1.
POINTS = 100.0


@dataclass(frozen=True, eq=False)
class Entry:
    """The selected runs of one strategy at one size, on the test part all runs share.

    Where the study crosses several subsets with its seeds, these are the runs of the first subset: an
    interval over seeds holds no other draw, and :mod:`tunebench.analysis.variance` says what another one adds.
    Where each seed has a subset of its own, an interval over seeds holds both.

    Attributes:
        arm: The selected learning rate's runs.
        seeds: Seeds with predictions, ascending.
        labels: True classes, shape ``(n,)``.
        predictions: Predicted classes, shape ``(seeds, n)``.
        logits: Shape ``(seeds, n, classes)``.
    """

    arm: Arm
    seeds: tuple[int, ...]
    labels: np.ndarray
    predictions: np.ndarray
    logits: np.ndarray
    _intervals: dict[Metric, Interval] = field(default_factory=dict, init=False, repr=False)

    @property
    def label(self) -> str:
        """The strategy's label."""
        return self.arm.label

    @property
    def train_size(self) -> int:
        """Labels used."""
        return self.arm.train_size

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.logits.shape[2])

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells behind it, by seed."""
        return tuple(sorted(_one_a_seed(self.arm), key=lambda cell: cell.spec.seed))

    @property
    def redrawn(self) -> bool:
        """Whether every seed has a training subset of its own, so that what varies over seeds holds its draw."""
        return len({cell.spec.subset_seed for cell in self.cells}) > 1

    def of_seeds(self, seeds: tuple[int, ...]) -> np.ndarray:
        """Return the predictions of some seeds, shape ``(len(seeds), n)``."""
        return self.predictions[[self.seeds.index(seed) for seed in seeds]]

    def interval(self, metric: Metric = "macro_f1") -> Interval:
        """Return the mean score with its interval: over seeds and test examples where there are seeds.

        With one seed it holds the test examples alone, and says so (``over``).
        """
        if metric not in self._intervals:
            self._intervals[metric] = self._interval(metric)
        return self._intervals[metric]

    def _interval(self, metric: Metric) -> Interval:
        if len(self.seeds) > 1:
            found = crossed_interval(self.labels, self.predictions, classes=self.classes, metric=metric)
            if not isinstance(found, Refusal):
                return found
        rng = np.random.default_rng(SEED)
        return example_interval(self.labels, self.predictions, classes=self.classes, rng=rng, metric=metric)


def interval_of(arm: Arm, entry: Entry | None, column: str) -> Interval | None:
    """Return the interval of an entry's score; without an entry that of the mean over seeds, or None."""
    if entry is not None and column in _FROM_CLASSES:
        return entry.interval(_FROM_CLASSES[column])
    found = arm.summary(column)
    if found is None:
        return None
    over_seeds = seed_interval(np.array(found.values), bounds=(0.0, 1.0) if column in _FROM_CLASSES else None)
    return None if isinstance(over_seeds, Refusal) else over_seeds


def collect(comparison: Comparison) -> list[Entry]:
    """Return an entry for every strategy and size whose selected runs have stored predictions.

    Raises:
        StoreError: Runs were scored on different test examples, or predictions cannot be read.
    """
    found: list[Entry] = []
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for group in comparison.groups():
        arm = group.selected
        if arm is None:
            continue
        loaded = {c.spec.seed: c.predictions() for c in _one_a_seed(arm) if c.predictions is not None}
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
        seeds = tuple(sorted(loaded))
        logits = np.stack([loaded[seed]["logits"] for seed in seeds])
        found.append(Entry(arm, seeds, loaded[seeds[0]]["labels"].astype(np.int64), logits.argmax(2), logits))
    return found


def _one_a_seed(arm: Arm) -> list[Cell]:
    """Return the scored cells with predictions, one a seed: of its only subset draw, or else of the first."""
    crossed = len({cell.spec.seed for cell in arm.cells}) < len(arm.cells)
    first = arm.cells[0].spec.subset_seed
    return [c for c in arm.scored if c.predictions is not None and (not crossed or c.spec.subset_seed == first)]
