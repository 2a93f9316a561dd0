"""The score against what it costs: one front a kind of cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, configurations_of
from tunebench.analysis.cost_noise import Measured, Noise, dearer_on_average, measured_of, noise_of
from tunebench.analysis.evidence import SEED, Entry, interval_of
from tunebench.formatting import BYTES, COUNTS, SHORT_TIMES, Units
from tunebench.stats import Interval, Over, on_front, pareto_front, score_draws
from tunebench.tasks.metric import Metric

Prefer = Literal["score", "cost", "size"]
#: What each preference spends least of, among strategies that are good enough.
SPENDS: dict[Prefer, str] = {"score": "train_seconds", "cost": "train_seconds", "size": "artifact_bytes"}


@dataclass(frozen=True)
class CostKind:
    """A kind of cost.

    Attributes:
        columns: Columns of the rows whose sum it is.
        label: Name for people.
        units: Sizes and names of the units that it may be shown in; none of a price, whose unit is a currency.
        noise: Relative standard deviation from run to run of the same work that is expected before any run was
            repeated; None where it does not vary.
        timed: Whether other work on the machine makes it larger.
        stated: Whether it is known only of runs whose user stated it.
    """

    columns: tuple[str, ...]
    label: str
    units: Units
    noise: float | None = None
    timed: bool = False
    stated: bool = False


#: All kinds of cost by name; the smaller the better. Over the seeds of the committed studies, peak memory varied by
#: 5 to 16 %: it depends on what the process did before.
COSTS: dict[str, CostKind] = {
    "train_seconds": CostKind(("train_seconds",), "Training time", SHORT_TIMES, noise=0.05, timed=True),
    "test_seconds": CostKind(
        ("test_seconds",), "Inference time of the test part", SHORT_TIMES, noise=0.05, timed=True
    ),
    "peak_memory_bytes": CostKind(("peak_memory_bytes",), "Peak memory", BYTES, noise=0.1),
    "trainable_params": CostKind(("trainable_params",), "Trainable parameters", COUNTS),
    "artifact_bytes": CostKind(("artifact_bytes",), "Weights saved", BYTES),
    "price": CostKind(("price",), "Price of the test part", (), stated=True),
}


def kinds_of(comparison: Comparison) -> dict[str, CostKind]:
    """Return the kinds of cost that runs of a comparison may have; stated ones only where somebody states them."""
    return {
        name: kind
        for name, kind in COSTS.items()
        if not kind.stated
        or any(cell.row[column] is not None for cell in comparison.cells for column in kind.columns)
    }


def currency_of(comparison: Comparison) -> str:
    """Return the currency that was stated with a price; empty where none was."""
    return next((str(cell.row["currency"]) for cell in comparison.scored if cell.row["currency"]), "")


def units_of(kind: str, comparison: Comparison) -> Units:
    """Return the units of a kind of cost; of a price its currency alone."""
    return COSTS[kind].units or ((1, currency_of(comparison)),)


@dataclass(frozen=True)
class Point:
    """A strategy at a size on one plane of score and cost.

    Attributes:
        score: Mean score, the middle of its interval where there is one.
        cost: Mean over seeds, in the cost's base unit.
        on_front: Whether nothing scores as much for as little.
        share: Share of the resamples (of ``over``) in which it is on the front; None where none were drawn.
    """

    config: Configuration
    entry: Entry | None
    score: float
    cost: float
    on_front: bool
    share: float | None = None
    over: Over | None = None


def cost_of(entry: Entry, kind: str) -> float | None:
    """Return the mean cost over seeds, or None where it was not recorded.

    Times of runs that shared the machine are left out, where there are others.
    """
    return cost_of_config(entry.config, kind)


def cost_interval(entry: Entry, kind: str, among: Sequence[Entry]) -> Interval | None:
    """Return a cost with its 95 % interval, from how it varies among the entries; None where nothing tells it."""
    measured = _measured(entry.config, kind)
    noise = _noise(among, kind)
    return None if measured is None or noise is None else noise.interval(measured)


def cheapest(
    labels: Sequence[str],
    kind: str,
    data_sets: Sequence[Mapping[str, Entry]],
    among: Sequence[Sequence[Entry]] | None = None,
) -> list[str]:
    """Return the strategies that cost least: those not shown to cost more than the one with the lowest mean.

    Args:
        labels: To choose from. All of them where no cost is known on all data sets.
        kind: A key of :data:`COSTS`.
        data_sets: The entries of each, by strategy.
        among: All entries of each whose repeated runs tell how times vary there; by default those to compare.
    """
    costs = mean_costs(labels, kind, data_sets)
    if not costs:
        return list(labels)
    least = min(costs, key=lambda label: costs[label])
    noises = [_noise(entries, kind) for entries in among or [list(own.values()) for own in data_sets]]
    measured = {label: [_measured(own[label].config, kind) for own in data_sets] for label in costs}

    def tied(label: str) -> bool:
        cases = [case for case in zip(noises, measured[label], measured[least], strict=True) if None not in case]
        # What does not vary from run to run is compared as it is.
        return not dearer_on_average(cases) if cases else costs[label] == costs[least]  # type: ignore[arg-type]

    return [label for label in costs if label == least or tied(label)]


def mean_costs(labels: Sequence[str], kind: str, data_sets: Sequence[Mapping[str, Entry]]) -> dict[str, float]:
    """Return the mean cost over data sets of each strategy of which it is known on all."""
    found = {label: [cost_of(own[label], kind) for own in data_sets] for label in labels}
    return {label: float(np.mean(values)) for label, values in found.items() if None not in values}  # type: ignore[arg-type]


def _measured(config: Configuration, kind: str) -> Measured | None:
    return measured_of(config, COSTS[kind].columns, timed=COSTS[kind].timed)


def _noise(entries: Sequence[Entry], kind: str) -> Noise | None:
    """Return how much a cost varies among the entries from run to run; None where it does not."""
    expected = COSTS[kind].noise
    if expected is None:
        return None
    # Runs of several settings do different work, such as more epochs.
    found = [_measured(config, kind) for entry in entries for config in configurations_of(entry.config.cells)]
    return noise_of([one for one in found if one is not None], expected)


def measure(configs: Sequence[tuple[Configuration, Entry | None]], kind: str, metric: Metric) -> list[Point]:
    """Place configurations on the plane of score and cost; those that none beats in both are its front.

    Args:
        configs: With their entries, where they have one. What has no score or no such cost is left out.
        kind: A key of :data:`COSTS`.
        metric: The score.
    """
    known = [
        (config, entry, score, cost)
        for config, entry in configs
        if (score := _score(config, entry, metric)) is not None
        and (cost := cost_of_config(config, kind)) is not None
    ]
    # What one strategy alone states is no comparison.
    if not known or (COSTS[kind].stated and len({config.label for config, *_ in known}) < 2):
        return []
    merits = metric.sign * np.array([score for *_, score, _ in known])
    best = on_front(merits, np.array([cost for *_, cost in known]))
    return [Point(*point, on) for point, on in zip(known, best.tolist(), strict=True)]


def fronts(entries: Sequence[Entry]) -> dict[str, list[Point]]:
    """Place entries on the plane of score and each cost, and find its front and how sure that is.

    A front's uncertainty holds the scores, and how costs vary from run to run.

    Args:
        entries: Strategies at one size, or at several.

    Returns:
        Points by key of :data:`COSTS`; none for a cost that was not recorded.
    """
    found: dict[str, list[Point]] = {}
    drawn: dict[tuple[int, ...], tuple[np.ndarray, Over]] = {}
    for kind in COSTS if entries else ():
        metric = entries[0].metric
        points = measure([(entry.config, entry) for entry in entries], kind, metric)
        known = [point.entry for point in points if point.entry is not None]
        found[kind] = points
        if not known:
            continue
        # The scores are drawn once for all costs that the same entries have.
        key = tuple(id(entry) for entry in known)
        if key not in drawn:
            drawn[key] = _draws(known, metric)
        draws, over = drawn[key]
        scores, costs = (np.array([getattr(point, name) for point in points]) for name in ("score", "cost"))
        drawn_costs = _drawn_costs(points, kind, entries, len(draws))
        front = pareto_front(metric.sign * scores, costs, metric.sign * draws, over=over, cost_draws=drawn_costs)
        found[kind] = [
            replace(p, share=share, over=over) for p, share in zip(points, front.probability, strict=True)
        ]
    return found


def _draws(entries: Sequence[Entry], metric: Metric) -> tuple[np.ndarray, Over]:
    """Return joint draws of the entries' scores, and what they vary over."""
    several = all(len(entry.seeds) > 1 for entry in entries)
    over: Over = "seeds and test examples" if several else "test examples"
    draws = score_draws(
        entries[0].labels,
        [entry.values for entry in entries],
        classes=entries[0].classes,
        rng=np.random.default_rng(SEED),
        over=over,
        metric=metric,
    )
    return draws, over


def trained_beside_others(entry: Entry) -> bool:
    """Tell whether other work shared the machine in all runs whose training was timed."""
    measured = _measured(entry.config, "train_seconds")
    return measured is not None and measured.shared


def _drawn_costs(points: Sequence[Point], kind: str, among: Sequence[Entry], resamples: int) -> np.ndarray | None:
    """Return what further runs might have cost, shape ``(resamples, points)``; None where that does not vary."""
    noise, rng = _noise(among, kind), np.random.default_rng(SEED)
    if noise is None:
        return None
    # A point has a cost because one was measured.
    measured = [one for point in points if (one := _measured(point.config, kind)) is not None]
    return np.column_stack([noise.draw(one, resamples, rng) for one in measured])


def _score(config: Configuration, entry: Entry | None, metric: Metric) -> float | None:
    found = interval_of(config, entry, metric.name)
    mean = config.summary(metric.name)
    return found.estimate if found is not None else None if mean is None else mean.mean


def cost_of_config(config: Configuration, kind: str) -> float | None:
    """Return the mean cost over the runs of a configuration; see :func:`cost_of`."""
    found = _measured(config, kind)
    return None if found is None else found.mean
