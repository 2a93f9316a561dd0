"""The score against labels: a power law per strategy, labels needed, and where two strategies cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import SEED
from tunebench.stats import Crossing, LearningCurve, Refusal, Size, crossing_size, fit_learning_curve, labels_needed


@dataclass(frozen=True)
class Curve:
    """The learning curve of one strategy, at its selected learning rate of each size.

    Attributes:
        fit: The power law of :meth:`~tunebench.tasks.metrics.Metric.rising` scores, or why there is none.
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
        found.append(Curve(label, fit, target, needed))
    return found


def crossings(found: Sequence[Curve]) -> list[tuple[str, str, Crossing | Refusal]]:
    """Return where each pair of fitted curves crosses, or why that cannot be said."""
    fitted = [(curve.label, curve.fit) for curve in found if not isinstance(curve.fit, Refusal)]
    return [(a, b, crossing_size(one, two)) for (a, one), (b, two) in combinations(fitted, 2)]


def _points(comparison: Comparison, label: str) -> list[tuple[int, float]]:
    groups = [comparison.group(label, size) for size in comparison.sizes]
    configs = [group.selected for group in groups if group is not None and group.selected is not None]
    scores = [(config.train_size, cell.score(comparison.metric)) for config in configs for cell in config.scored]
    return [(size, float(score)) for size, score in scores if score is not None]
