"""Runs that were trained too little to speak for their strategy, and the change that mends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.analysis.log_history import last_step, logged_series
from tunebench.recipe import ENOUGH_STEPS, FEW_STEPS
from tunebench.stats import Difference
from tunebench.store.imported import is_imported
from tunebench.store.record import RunRecord
from tunebench.strategies import capabilities_of
from tunebench.study.spec import RunSpec

#: Shares of the loss of guessing from which on a model has learned nothing: after many steps, and after few.
NOTHING_LEARNED, LITTLE_LEARNED = 0.9, 0.75
#: Strategies that a sentence names.
_NAMED = 5
#: Share of a run's end over which its training loss is averaged.
_END = 0.25


@dataclass(frozen=True)
class Undertrained:
    """A strategy at one size whose runs were trained too little.

    Attributes:
        label: The strategy.
        train_size: Labels.
        signs: What shows it, each in a few words.
        change: What mends it.
    """

    label: str
    train_size: int
    signs: tuple[str, ...]
    change: str

    @property
    def name(self) -> str:
        """The strategy and the size, with what shows it."""
        return f"{self.label} at {self.train_size:,} labels ({', '.join(self.signs)})"


def sentences(found: Sequence[Undertrained]) -> list[str]:
    """Return what is wrong, what shows it and what to do: a line for all that the same change mends."""
    changes: dict[str, list[str]] = {}
    for one in found:
        changes.setdefault(one.change, []).append(one.name)
    return [
        f"Trained too little: {'; '.join([*names[:_NAMED], *_more(len(names) - _NAMED)])}. {change}"
        for change, names in changes.items()
    ]


def _more(count: int) -> list[str]:
    return [f"and {count} more"] if count > 0 else []


@dataclass(frozen=True)
class Training:
    """How the runs of one strategy at one size were trained; means over seeds.

    Attributes:
        steps: The fewest optimisation steps of a run.
        loss: Mean training loss at the end; None where it was not logged, or was smoothed.
        guessing: The loss of guessing.
        best_is_last: Whether validation chose the last checkpoint in every run.
        above: The cheap baseline that scores highest above it, and by how much; None where none does.
        guess: What guessing is, where it is not among the classes.
        patience: The evaluations without a better score after which a run stopped; 0 for never.
        imported: Whether another script trained them, which tunebench cannot run again.
    """

    steps: int
    loss: float | None
    guessing: float
    best_is_last: bool
    above: tuple[str, str] | None
    guess: str | None = None
    patience: int = 0
    imported: bool = False

    @property
    def few(self) -> bool:
        """Whether there were few steps."""
        return self.steps < FEW_STEPS

    @property
    def nothing_learned(self) -> bool:
        """Whether the loss has hardly left that of guessing."""
        share = LITTLE_LEARNED if self.few else NOTHING_LEARNED
        return self.loss is not None and self.loss > share * self.guessing

    @property
    def undertrained(self) -> bool:
        """Whether the signs suffice: a loss near that of guessing, or two of the others."""
        return self.nothing_learned or sum((self.few, self.best_is_last, self.above is not None)) >= 2

    def signs(self, classes: int) -> tuple[str, ...]:
        """Return what shows it, in words."""
        found = [f"{self.steps:,} steps"]
        if self.nothing_learned:
            found.append(
                f"a training loss of {self.loss:.2f} at the end, where "
                f"{self.guess or f'guessing among {classes} classes'} gives {self.guessing:.2f}"
            )
        if self.best_is_last:
            found.append("the best checkpoint is the last")
        if self.above is not None:
            found.append(f"{self.above[0]} scores above it ({self.above[1]})")
        return tuple(found)

    @property
    def change(self) -> str:
        """What mends it."""
        if self.imported:
            return self._change_elsewhere
        again = "and run the study again in a new folder (--out)"
        if self.patience:
            # More steps alone change nothing where early stopping ends the run.
            again = f"with patience: {2 * self.patience} or more, {again}"
        if self.steps < ENOUGH_STEPS:
            return f"Train longer: set min_steps: {ENOUGH_STEPS} and warmup_ratio: 0.1, {again}."
        if self.nothing_learned:
            return f"More steps alone may not help: add learning rates above and below, {again}."
        return f"Train longer: set min_steps: {2 * self.steps}, {again}."

    @property
    def _change_elsewhere(self) -> str:
        """What mends runs that another script trained."""
        again = "with the script that trained it, and import that run"
        if self.steps < ENOUGH_STEPS:
            return f"Train longer, {ENOUGH_STEPS} steps or more with a warm-up ratio of 0.1, {again}."
        if self.nothing_learned:
            return f"More steps alone may not help: try learning rates above and below {again}."
        return f"Train longer, {2 * self.steps} steps or more, {again}."


def undertrained(
    entries: Sequence[Entry], difference: Callable[[Entry, Entry], Difference], show: Callable[[Difference], str]
) -> list[Undertrained]:
    """Return the strategies that were trained too little, in the order of the entries.

    Args:
        entries: Selected runs with their predictions.
        difference: Returns the difference of two entries of one size, the first minus the second.
        show: Writes a difference with its interval.
    """
    found = []
    for entry in entries:
        if not _has_steps(entry):
            continue
        cheap = [other for other in entries if other.train_size == entry.train_size and _is_cheap(other)]
        training = training_of(entry, _above(entry, cheap, difference, show))
        if training is not None and training.undertrained:
            signs = training.signs(entry.classes)
            found.append(Undertrained(entry.label, entry.train_size, signs, training.change))
    return found


def training_of(entry: Entry, above: tuple[str, str] | None) -> Training | None:
    """Return how an entry's runs were trained; None where their logs do not tell."""
    records = [
        cell.record for cell in entry.cells if cell.record is not None and last_step(cell.record.log_history)
    ]
    if not records:
        return None
    losses = [_end_loss(record) for record in records]
    known = [loss for loss in losses if loss is not None]
    return Training(
        steps=min(last_step(record.log_history) for record in records),
        loss=fmean(known) if len(known) == len(records) else None,
        guessing=entry.task.guessing_loss(entry.labels, entry.classes),
        best_is_last=all(_best_is_last(record) for record in records),
        above=above,
        guess=entry.task.guess,
        patience=max(record.spec.patience or 0 for record in records),
        imported=any(is_imported(record.spec) for record in records),
    )


def _has_steps(entry: Entry) -> bool:
    """Whether it is trained in steps on the loss of its labels."""
    return capabilities_of(entry.config.cells[0].spec.kind).backend == "encoder"


def _is_cheap(entry: Entry) -> bool:
    """Whether it is a baseline that is fitted, without a learning rate."""
    return not capabilities_of(entry.config.cells[0].spec.kind).tunes_learning_rate


def _above(
    entry: Entry,
    cheap: Sequence[Entry],
    difference: Callable[[Entry, Entry], Difference],
    show: Callable[[Difference], str],
) -> tuple[str, str] | None:
    """Return the cheap baseline that is furthest above an entry by its whole interval."""
    metric = entry.metric
    found = []
    for other in cheap:
        # Where the mean is not above, the interval is not either, and need not be computed.
        if metric.merit(other.interval().estimate) <= metric.merit(entry.interval().estimate):
            continue
        one = difference(other, entry)
        if metric.merit(one.interval.low) > 0 and metric.merit(one.interval.high) > 0:
            found.append((metric.merit(one.interval.estimate), other.label, show(one)))
    return max(found)[1:] if found else None


def _end_loss(record: RunRecord) -> float | None:
    spec = record.spec
    if spec.label_smoothing or spec.class_weights or spec.focal_gamma:
        return None  # another loss than that of guessing
    found = logged_series(record.log_history, "loss")
    if not len(found):
        return None
    end = found.steps > (1 - _END) * found.steps[-1]
    return float(np.mean(found.values[end]))


def _best_is_last(record: RunRecord) -> bool:
    """Whether validation chose the last of several checkpoints."""
    chosen = record.selected
    if chosen is None or chosen.by not in ("validation", "folds"):
        return False
    if chosen.by == "folds":
        # The run stops where the mean curve of the folds was best.
        steps = round(chosen.step / chosen.epoch) if chosen.epoch else chosen.step
        return isinstance(record.spec, RunSpec) and chosen.step >= record.spec.steps_at(steps)
    evaluations = logged_series(record.log_history, f"eval_{record.spec.selects_by}")
    return len(evaluations) > 1 and chosen.step == int(evaluations.steps[-1])
