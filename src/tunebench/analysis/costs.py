"""Macro F1 against what it costs: one front a kind of cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunebench.analysis.evidence import SEED, Entry
from tunebench.stats import Front, Over, pareto_front, score_draws

Prefer = Literal["f1", "cost", "size"]
#: What each preference spends least of, among strategies that are good enough.
SPENDS: dict[Prefer, str] = {"f1": "train_seconds", "cost": "train_seconds", "size": "artifact_bytes"}


@dataclass(frozen=True)
class CostKind:
    """A kind of cost.

    Attributes:
        columns: Columns of the rows whose sum it is.
        label: Name for people.
        unit: Unit after dividing by ``per``.
        per: Size of the unit.
    """

    columns: tuple[str, ...]
    label: str
    unit: str
    per: float = 1.0


#: All kinds of cost by name; the smaller the better.
COSTS: dict[str, CostKind] = {
    "train_seconds": CostKind(("train_seconds",), "Training time", "min", 60),
    "test_seconds": CostKind(("test_seconds",), "Inference time of the test part", "s"),
    "peak_memory_bytes": CostKind(("peak_memory_bytes",), "Peak memory", "GB", 1e9),
    "trainable_params": CostKind(("trainable_params",), "Trainable parameters", "M", 1e6),
    "artifact_bytes": CostKind(("artifact_bytes",), "Weights saved", "MB", 1e6),
}


@dataclass(frozen=True)
class Point:
    """A strategy at a size on one plane of score and cost.

    Attributes:
        cost: Mean over seeds, in the cost's base unit.
        on_front: Whether nothing scores as much for as little.
        share: Share of the resamples (of ``over``) in which it is on the front.
    """

    entry: Entry
    cost: float
    on_front: bool
    share: float
    over: Over


def cost_of(entry: Entry, kind: str) -> float | None:
    """Return the mean cost over seeds, or None where it was not recorded."""
    found = entry.arm.summary(*COSTS[kind].columns)
    return None if found is None else found.mean


def front(entries: Sequence[Entry], kind: str) -> list[Point]:
    """Place entries on the plane of macro F1 and a cost, and find its front.

    The front's uncertainty holds the scores alone; costs stay as measured.

    Args:
        entries: Strategies at one size, or at several.
        kind: A key of :data:`COSTS`.
    """
    known = [(entry, cost) for entry in entries if (cost := cost_of(entry, kind)) is not None]
    if not known:
        return []
    several = all(len(entry.seeds) > 1 for entry, _ in known)
    over: Over = "seeds and test examples" if several else "test examples"
    draws = score_draws(
        known[0][0].labels,
        [entry.predictions for entry, _ in known],
        classes=known[0][0].classes,
        rng=np.random.default_rng(SEED),
        over=over,
    )
    scores = np.array([entry.interval().estimate for entry, _ in known])
    found: Front = pareto_front(scores, np.array([cost for _, cost in known]), draws, over=over)
    return [
        Point(entry, cost, on, share, over)
        for (entry, cost), on, share in zip(known, found.on_front, found.probability, strict=True)
    ]
