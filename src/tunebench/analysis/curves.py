"""The score against labels: a power law per strategy, labels needed, and where two strategies cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import SEED
from tunebench.stats import (
    Crossing,
    Fall,
    LearningCurve,
    OutOfReach,
    Refusal,
    Size,
    crossing_size,
    fit_learning_curve,
    labels_needed,
)
from tunebench.tasks.metric import Metric

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Curve:
    """The learning curve of one strategy, at its selected learning rate of each size.

    Attributes:
        fit: The power law of :meth:`~tunebench.tasks.metric.Metric.rising` scores, or why there is none.
        target: Score asked for; None where no strategy has a score.
        needed: Labels to reach it, or why that cannot be said.
    """

    label: str
    fit: LearningCurve | Refusal
    target: float | None
    needed: Size | Refusal | None


def curves(comparison: Comparison, *, target: float | None = None) -> list[Curve]:
    """Fit a curve to every strategy's score over training sizes.

    Args:
        comparison: The study.
        target: Score to reach; by default the best mean score of the study.
    """
    metric = comparison.measure
    points = {label: _points(comparison, label) for label in comparison.labels}
    if target is None:
        means = [
            float(np.mean([score for size, score in runs if size == one]))
            for runs in points.values()
            for one in {size for size, _ in runs}
        ]
        target = max(means, key=metric.merit, default=None)
    found = []
    for label, runs in points.items():
        if not runs:
            found.append(Curve(label, Refusal("no run has a score"), target, None))
            continue
        sizes = np.array([size for size, _ in runs])
        scores = np.array([metric.rising(score) for _, score in runs])
        fit = fit_learning_curve(sizes, scores, rng=np.random.default_rng(SEED))
        needed = None if target is None or isinstance(fit, Refusal) else labels_needed(fit, metric.rising(target))
        found.append(Curve(label, _in_words_of(metric, fit), target, _in_words_of(metric, needed)))
    return found


def crossings(found: Sequence[Curve]) -> list[tuple[str, str, Crossing | Refusal]]:
    """Return where each pair of fitted curves crosses, or why that cannot be said."""
    fitted = [(curve.label, curve.fit) for curve in found if not isinstance(curve.fit, Refusal)]
    return [(a, b, crossing_size(one, two)) for (a, one), (b, two) in combinations(fitted, 2)]


def _in_words_of(metric: Metric, found: _Found) -> _Found | Refusal:
    """Return what was found; a refusal that names scores names values of the metric, as tables show them."""
    up = metric.higher_is_better
    if isinstance(found, Fall):
        (before, after), (small, large) = map(metric.rising, found.means), found.sizes
        return Refusal(
            f"{metric.label} {'falls' if up else 'rises'} from {before:.4f} at {small:,} labels to {after:.4f} at "
            f"{large:,}, more than noise would: no learning curve"
        )
    if isinstance(found, OutOfReach):
        score, ceiling = metric.rising(found.score), metric.rising(found.ceiling)
        side = "above" if up else "below"
        return Refusal(f"{score:.4f} lies {side} {ceiling:.4f}, where the fitted curve levels off")
    return found


def _points(comparison: Comparison, label: str) -> list[tuple[int, float]]:
    groups = [comparison.group(label, size) for size in comparison.sizes]
    configs = [group.selected for group in groups if group is not None and group.selected is not None]
    scores = [(config.train_size, cell.score(comparison.metric)) for config in configs for cell in config.scored]
    return [(size, float(score)) for size, score in scores if score is not None]
