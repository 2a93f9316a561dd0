"""The study that a data set, a machine and a budget allow: one pure function, without a file or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from tunebench.choosing.candidates import Candidate, candidates_of
from tunebench.errors import PlanError
from tunebench.formatting import counted, duration
from tunebench.recipe import ENOUGH_STEPS
from tunebench.strategies import STRATEGIES

#: Seconds of the runs of a candidate (its label) on so many labels, one size after the other, with so many epochs.
#: A later run finds what an earlier one has kept.
Cost = Callable[[str, Sequence[int], int], Sequence[float]]

#: Epochs, the first that fits the budget; ``min_steps`` still holds.
EPOCHS = (3, 2, 1)
BATCH_SIZE, WARMUP = 32, 0.1
#: Steps for each class, where there are many classes.
_STEPS_PER_CLASS = 10
#: Evaluations of a run, about; and after which share of them without a better score training stops.
_EVALUATIONS, _PATIENCE = 10, 0.4
#: Sizes at which candidates may be compared, as shares of all labels; the largest that fits is taken.
_SHARES = (1, 2, 4, 8)
#: Sizes of the learning curve, as shares of the one at which candidates are compared.
_CURVE = (4, 2)
#: What else a budget buys, one after the other; what does not fit is passed over.
_UPGRADES: tuple[dict[str, Any], ...] = (
    {"rates": 3},
    {"seeds": 2},
    {"seeds": 3},
    {"curve": True},
    {"rates": 5},
    {"seeds": 5},
)
#: An estimate may be short by this factor, and audit, export and report take so many seconds.
MARGIN, OVERHEAD = 1.15, 30.0


@dataclass(frozen=True)
class Facts:
    """What the rule needs to know of the data and the model.

    Attributes:
        labels: Labelled texts to learn from, those that validate included.
        classes: How many classes there are.
        least: The smallest training size in which every part has every class.
        widths: Hidden size of each encoder, by the model's name.
        refit_labels: Labelled texts of the last training; None where there is none.
    """

    labels: int
    classes: int
    least: int
    widths: Mapping[str, int]
    refit_labels: int | None

    @cached_property
    def candidates(self) -> dict[str, Candidate]:
        """All candidates, by label."""
        return candidates_of(list(self.widths))

    def rates(self, label: str, count: int) -> list[float]:
        """Return learning rates of a candidate that has one, by the width of its encoder."""
        candidate = self.candidates[label]
        return candidate.rates(self.widths[candidate.model], count)

    @property
    def min_steps(self) -> int:
        """Steps that a run has at least."""
        return max(ENOUGH_STEPS, _STEPS_PER_CLASS * self.classes)

    def epochs(self, size: int, epochs: int) -> int:
        """Return the epochs of a run on so many labels: those planned, or as many as ``min_steps`` takes."""
        return max(epochs, math.ceil(self.min_steps / math.ceil(size / BATCH_SIZE)))


@dataclass(frozen=True)
class Shape:
    """How much a study holds.

    Attributes:
        labels: Candidates.
        size: Labels at which they are compared.
        epochs: Epochs of each run, where ``min_steps`` does not ask for more.
        rates: Learning rates of each that has one.
        seeds: Seeds.
        curve: Whether there are smaller sizes for a learning curve.
        refit: Whether the budget has room for the last training on all labels.
    """

    labels: tuple[str, ...]
    size: int
    epochs: int = EPOCHS[0]
    rates: int = 1
    seeds: int = 1
    curve: bool = False
    refit: bool = True

    def sizes(self, least: int) -> list[int]:
        """Return the training sizes, ascending."""
        smaller = [self.size // share for share in _CURVE] if self.curve else []
        return [size for size in smaller if size >= least] + [self.size]


@dataclass(frozen=True)
class Design:
    """A study by rule.

    Attributes:
        shape: How much it holds.
        settings: Strategies, sizes, seeds and recipe, as in a study file.
        seconds: What it is expected to take, with the last training, at most.
        left_out: What the budget does not allow, a sentence each.
    """

    shape: Shape
    settings: dict[str, Any]
    seconds: float
    left_out: tuple[str, ...]


def design(facts: Facts, cost: Cost, budget: float, *, spent: float = 0.0) -> Design:
    """Return the largest study of the rule that fits a budget.

    Candidates come first, from cheap to dear; then the last training on all labels; then epochs; then the labels at
    which candidates are compared; then learning rates, seeds and a learning curve.

    Args:
        facts: Of data and model.
        cost: Estimates one run.
        budget: Seconds for everything.
        spent: Seconds of it that are gone.

    Raises:
        PlanError: Not even the cheapest candidate fits.
    """
    usable = usable_seconds(budget - spent)
    candidates = _cheap_to_dear(facts, cost)
    shape = _largest(facts, cost, usable, candidates)
    if shape is None:
        raise _too_small(facts, cost, budget, spent, candidates)
    left_out = [_no_room(label, facts, cost, usable) for label in candidates if label not in shape.labels]
    if facts.refit_labels is not None and not shape.refit:
        left_out.append("There may be no time to train the chosen method again on all labels.")
    if shape.epochs < EPOCHS[0] and _has_rates(shape, facts):
        epochs = counted(shape.epochs, "epoch")
        left_out.append(f"Runs have {epochs} instead of {EPOCHS[0]}, where that makes enough steps.")
    if shape.size < facts.labels:
        left_out.append(f"The candidates are compared at {shape.size:,} of {facts.labels:,} labels.")
    # Another seed changes nothing of what is fitted without one.
    not_bought = []
    for upgrade in _UPGRADES if _has_rates(shape, facts) else ({"curve": True},):
        larger = replace(shape, **upgrade)
        if total(larger, facts, cost) <= usable:
            shape = larger
        else:
            not_bought.append(_not_bought(upgrade))
    left_out += not_bought[:1]
    settings = settings_of(shape, facts)
    return Design(shape, settings, total(shape, facts, cost) + OVERHEAD, tuple(left_out))


def usable_seconds(budget: float) -> float:
    """Return the estimated seconds that a budget has room for."""
    return (budget - OVERHEAD) / MARGIN


def total(shape: Shape, facts: Facts, cost: Cost) -> float:
    """Return the estimated seconds of a study and of the last training, whichever candidate is chosen.

    Halving stops most rates early; each is counted whole, so the study takes no more than this.
    """
    sizes = shape.sizes(facts.least)
    last = [facts.refit_labels] if shape.refit and facts.refit_labels is not None else []
    spent, dearest = 0.0, 0.0
    for label in shape.labels:
        seconds = cost(label, [*sizes, *last], shape.epochs)
        runs = (shape.rates if facts.candidates[label].has_rates else 1) + shape.seeds - 1
        spent += runs * sum(seconds[: len(sizes)])
        dearest = max(dearest, sum(seconds[len(sizes) :]))
    return spent + dearest


def settings_of(shape: Shape, facts: Facts) -> dict[str, Any]:
    """Return the keys of a study file."""
    epochs = facts.epochs(shape.size, shape.epochs)
    per_epoch = math.ceil(_EVALUATIONS / epochs)
    evaluations = epochs * per_epoch
    strategies = {}
    for label in shape.labels:
        strategies[label] = dict(facts.candidates[label].settings)
        if facts.candidates[label].has_rates:
            strategies[label]["learning_rate"] = facts.rates(label, shape.rates)
    return {
        "strategies": strategies,
        "train_sizes": shape.sizes(facts.least),
        "seeds": list(range(1, shape.seeds + 1)),
        "selection": "validation",
        "epochs": shape.epochs,
        "min_steps": facts.min_steps,
        "patience": max(3, round(_PATIENCE * evaluations)),
        "warmup_ratio": WARMUP,
        "batch_size": BATCH_SIZE,
        "evaluations_per_epoch": per_epoch,
        **({"search": {"method": "halving"}} if shape.rates > 1 and _has_rates(shape, facts) else {}),
    }


def _has_rates(shape: Shape, facts: Facts) -> bool:
    return any(facts.candidates[label].has_rates for label in shape.labels)


def _cheap_to_dear(facts: Facts, cost: Cost) -> list[str]:
    """Return all candidates; with several models the cheap ones of one come before the dear ones of another."""
    labels = list(facts.candidates)
    if len(facts.widths) == 1:
        return labels
    return sorted(labels, key=lambda label: cost(label, [facts.labels], EPOCHS[0])[0])


def _largest(facts: Facts, cost: Cost, usable: float, candidates: Sequence[str]) -> Shape | None:
    sizes = [size for size in (facts.labels // share for share in _SHARES) if size >= facts.least]
    for count in range(len(candidates), 0, -1):
        labels = tuple(candidates[:count])
        whole = [Shape(labels, size, epochs) for epochs, size in product(EPOCHS, sizes)]
        # Without a last training only runs on all labels are of use.
        alone = [Shape(labels, facts.labels, epochs, refit=False) for epochs in EPOCHS]
        for shape in [*whole, *alone]:
            if total(shape, facts, cost) <= usable:
                return shape
    return None


def _too_small(facts: Facts, cost: Cost, budget: float, spent: float, candidates: Sequence[str]) -> PlanError:
    cheapest = candidates[0]
    size = max(facts.least, facts.labels // _SHARES[-1])
    smallest = Shape((cheapest,), size, EPOCHS[-1])
    alone = Shape((cheapest,), facts.labels, EPOCHS[-1], refit=False)

    def needed(asked: Facts) -> float:
        return spent + OVERHEAD + MARGIN * min(total(shape, asked, cost) for shape in (smallest, alone))

    enough = needed(facts)
    without_last = facts.refit_labels is not None and needed(replace(facts, refit_labels=None)) <= budget
    return PlanError(
        "The budget is too small for anything.",
        value=f"--budget {duration(budget)}",
        allowed=f"at least {duration(math.ceil(enough))}, for {cheapest} on {size:,} labels",
        fix=f"--budget {math.ceil(enough / 60)}m"
        + (", or leave the last training out (--no-refit)" if without_last else ""),
    )


def _no_room(label: str, facts: Facts, cost: Cost, usable: float) -> str:
    (seconds,) = cost(label, [facts.labels], EPOCHS[-1])
    if seconds > usable / 2:
        return (
            f"{label} is left out: a run on all {facts.labels:,} labels takes at least about {duration(seconds)}."
        )
    summary = STRATEGIES[facts.candidates[label].settings["kind"]].summary
    return f"{label} is left out: {summary}; the budget has no room for it."


def _not_bought(upgrade: dict[str, Any]) -> str:
    ((what, value),) = upgrade.items()
    words = {
        "rates": f"{value} learning rates of each strategy that has one",
        "seeds": f"{value} seeds",
        "curve": "smaller training sizes for a learning curve",
    }
    return f"A larger budget would buy {words[what]}."
