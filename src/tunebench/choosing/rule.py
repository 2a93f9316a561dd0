"""The study that a data set, a machine and a budget allow: one pure function, without a file or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from tunebench.errors import PlanError
from tunebench.formatting import duration
from tunebench.recipe import ENOUGH_STEPS
from tunebench.strategies import STRATEGIES
from tunebench.study.models_axis import AT, model_names

#: Seconds of one run of a candidate (its label) on so many labels.
Cost = Callable[[str, int], float]

#: Methods from cheap to dear: label and strategy.
CANDIDATES: dict[str, dict[str, Any]] = {
    "tfidf": {"kind": "tfidf"},
    "embeddings": {"kind": "embeddings"},
    "lora": {"kind": "lora", "placement": "all_linear"},
    "full": {"kind": "full"},
}
#: Middle learning rates, by the encoder's hidden size: wider encoders take smaller ones (docs/choose.md).
_NARROW = 512
_MIDDLE = {"lora": (1e-3, 5e-4), "full": (1e-4, 5e-5)}

EPOCHS, BATCH_SIZE, WARMUP = 3, 32, 0.1
#: Steps for each class, where there are many classes.
_STEPS_PER_CLASS = 10
#: Evaluations of a run, about; from which share of them on runs are compared, and after which without a better
#: score training stops.
_EVALUATIONS, _FIRST_LOOK, _PATIENCE = 10, 0.3, 0.4
#: Sizes at which candidates may be compared, as shares of all labels; the largest that fits is taken.
_SHARES = (1, 2, 4, 8)
#: Sizes of the learning curve, as shares of the one at which candidates are compared.
_CURVE = (4, 2)
#: What else a budget buys, one after the other, until something does not fit.
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


class Candidate(NamedTuple):
    """A method, with one of the models.

    Attributes:
        settings: Its strategy, as in a study file.
        method: A key of :data:`CANDIDATES`.
        model: The encoder; of a method without one, the first.
    """

    settings: dict[str, Any]
    method: str
    model: str

    @property
    def middles(self) -> tuple[float, float] | None:
        """Its middle learning rates, of narrow and of wide encoders; None where it has no rate."""
        return _MIDDLE.get(self.method)


def candidates_of(models: Sequence[str]) -> dict[str, Candidate]:
    """Return the candidates by label, method by method: each with each of the models.

    With several models, labels are ``method@model``; a method without an encoder is there once.
    """
    found, names = {}, model_names(models)
    for method, settings in CANDIDATES.items():
        if len(names) == 1 or not STRATEGIES[settings["kind"]].uses_encoder:
            found[method] = Candidate(dict(settings), method, models[0])
            continue
        for model, name in names.items():
            found[f"{method}{AT}{name}"] = Candidate({**settings, "model": model}, method, model)
    return found


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
        assert candidate.middles is not None
        return rates_around(candidate.middles[self.widths[candidate.model] > _NARROW], count)

    @property
    def min_steps(self) -> int:
        """Steps that a run has at least."""
        return max(ENOUGH_STEPS, _STEPS_PER_CLASS * self.classes)

    def epochs(self, size: int) -> int:
        """Return the epochs of a run on so many labels."""
        return max(EPOCHS, math.ceil(self.min_steps / math.ceil(size / BATCH_SIZE)))


@dataclass(frozen=True)
class Shape:
    """How much a study holds.

    Attributes:
        labels: Candidates.
        size: Labels at which they are compared.
        rates: Learning rates of each that has one.
        seeds: Seeds.
        curve: Whether there are smaller sizes for a learning curve.
    """

    labels: tuple[str, ...]
    size: int
    rates: int = 1
    seeds: int = 1
    curve: bool = False

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


def design(facts: Facts, cost: Cost, budget: float, *, candidates: Sequence[str] | None = None) -> Design:
    """Return the largest study of the rule that fits a budget.

    Candidates come first, from cheap to dear; then the labels at which they are compared; then learning rates,
    seeds and a learning curve. A candidate whose last training on all labels would take more than half the budget
    is left out, as nobody could have it.

    Args:
        facts: Of data and model.
        cost: Estimates one run.
        budget: Seconds for everything.
        candidates: Labels, from cheap to dear; by default all.

    Raises:
        PlanError: Not even the cheapest candidate fits.
    """
    usable = usable_seconds(budget)
    candidates = _cheap_to_dear(facts, cost) if candidates is None else candidates
    kept, left_out = _admitted(facts, cost, usable, candidates)
    shape = _largest(facts, cost, usable, kept)
    if shape is None:
        raise _too_small(facts, cost, budget, candidates)
    left_out += [_no_room(label, facts) for label in kept if label not in shape.labels]
    if shape.size < facts.labels:
        left_out.append(f"The candidates are compared at {shape.size:,} of {facts.labels:,} labels.")
    # Another seed changes nothing of what is fitted without one.
    for upgrade in _UPGRADES if _has_rates(shape, facts) else ({"curve": True},):
        larger = replace(shape, **upgrade)
        if total(larger, facts, cost) > usable:
            left_out.append(_not_bought(upgrade))
            break
        shape = larger
    settings = settings_of(shape, facts)
    return Design(shape, settings, total(shape, facts, cost) + OVERHEAD, tuple(left_out))


def usable_seconds(budget: float) -> float:
    """Return the estimated seconds that a budget has room for."""
    return (budget - OVERHEAD) / MARGIN


def total(shape: Shape, facts: Facts, cost: Cost) -> float:
    """Return the estimated seconds of a study and of the last training, whichever candidate is chosen.

    Halving stops most rates early; each is counted whole, so the study takes no more than this.
    """
    seconds = 0.0
    for size in shape.sizes(facts.least):
        for label in shape.labels:
            runs = (shape.rates if facts.candidates[label].middles else 1) + shape.seeds - 1
            seconds += runs * cost(label, size)
    if facts.refit_labels is not None:
        seconds += max(cost(label, facts.refit_labels) for label in shape.labels)
    return seconds


def rates_around(middle: float, count: int) -> list[float]:
    """Return learning rates around the middle one, each twice the one before."""
    return [float(f"{middle * 2.0**power:.3g}") for power in range(-(count // 2), count // 2 + 1)]


def settings_of(shape: Shape, facts: Facts) -> dict[str, Any]:
    """Return the keys of a study file."""
    epochs = facts.epochs(shape.size)
    per_epoch = math.ceil(_EVALUATIONS / epochs)
    evaluations = epochs * per_epoch
    strategies = {}
    for label in shape.labels:
        strategies[label] = dict(facts.candidates[label].settings)
        if facts.candidates[label].middles:
            strategies[label]["learning_rate"] = facts.rates(label, shape.rates)
    search = {"method": "halving", "first_look": max(1, round(_FIRST_LOOK * evaluations))}
    return {
        "strategies": strategies,
        "train_sizes": shape.sizes(facts.least),
        "seeds": list(range(1, shape.seeds + 1)),
        "selection": "validation",
        "epochs": EPOCHS,
        "min_steps": facts.min_steps,
        "patience": max(3, round(_PATIENCE * evaluations)),
        "warmup_ratio": WARMUP,
        "batch_size": BATCH_SIZE,
        "evaluations_per_epoch": per_epoch,
        **({"search": search} if shape.rates > 1 and _has_rates(shape, facts) else {}),
    }


def _has_rates(shape: Shape, facts: Facts) -> bool:
    return any(facts.candidates[label].middles for label in shape.labels)


def _cheap_to_dear(facts: Facts, cost: Cost) -> list[str]:
    """Return all candidates; with several models the cheap ones of one come before the dear ones of another."""
    labels = list(facts.candidates)
    return labels if len(facts.widths) == 1 else sorted(labels, key=lambda label: cost(label, facts.labels))


def _admitted(facts: Facts, cost: Cost, usable: float, candidates: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the candidates that could be trained on all labels in the end, and why the others could not."""
    if facts.refit_labels is None:
        return list(candidates), []
    kept, left_out = [], []
    for label in candidates:
        seconds = cost(label, facts.refit_labels)
        if seconds <= usable / 2:
            kept.append(label)
        else:
            left_out.append(
                f"{label} is left out: to train it on all {facts.refit_labels:,} labels takes about "
                f"{duration(seconds)}."
            )
    return kept, left_out


def _largest(facts: Facts, cost: Cost, usable: float, kept: Sequence[str]) -> Shape | None:
    sizes = [facts.labels // share for share in _SHARES]
    for count in range(len(kept), 0, -1):
        for size in [size for size in sizes if size >= facts.least]:
            shape = Shape(tuple(kept[:count]), size)
            if total(shape, facts, cost) <= usable:
                return shape
    return None


def _too_small(facts: Facts, cost: Cost, budget: float, candidates: Sequence[str]) -> PlanError:
    cheapest = candidates[0]
    size = max(facts.least, facts.labels // _SHARES[-1])
    last = 0.0 if facts.refit_labels is None else cost(cheapest, facts.refit_labels)
    # Its last training may take half the budget.
    needed = OVERHEAD + MARGIN * max(cost(cheapest, size) + last, 2 * last)
    return PlanError(
        "The budget is too small for anything.",
        value=f"--budget {duration(budget)}",
        allowed=f"at least {duration(math.ceil(needed))}, for {cheapest} on {size:,} labels",
        fix=f"--budget {math.ceil(needed / 60)}m, or leave the last training out (--no-refit)"
        if facts.refit_labels is not None
        else f"--budget {math.ceil(needed / 60)}m",
    )


def _no_room(label: str, facts: Facts) -> str:
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
