"""Configurations that ran with the same seeds: the variance between seeds of each is moderated by the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tunebench.stats import FEWEST, Parts, moderated_pairs, moderated_scores
from tunebench.tasks.metric import Metric


@dataclass(frozen=True, eq=False)
class Peers:
    """The configurations of one training size that ran with the same seeds.

    A configuration whose seeds all give the same score (a baseline without randomness) has no such variance, and
    neither gives nor takes any.

    Attributes:
        labels: Their strategies.
        scores: Returns the scores by a metric, shape ``(configurations, seeds)``.
    """

    labels: tuple[str, ...]
    scores: Callable[[Metric], np.ndarray]
    _known: dict[str, _Moderated | None] = field(default_factory=dict, init=False, repr=False)

    def of_score(self, label: str, metric: Metric) -> Parts | None:
        """Return the parts of the variance between seeds of one run's score; None where it stands by itself."""
        found = self._moderated(metric)
        return None if found is None or label not in found.labels else found.scores[found.labels.index(label)]

    def of_difference(self, first: str, second: str, metric: Metric) -> Parts | None:
        """Return the parts of the variance of the difference of two runs of one seed; None as above."""
        found = self._moderated(metric)
        if found is None or first not in found.labels or second not in found.labels:
            return None
        variance, df = found.pairs[found.labels.index(first), found.labels.index(second)]
        return ((float(variance), float(df)),)

    def count(self, metric: Metric) -> int:
        """Return how many configurations moderate each other."""
        found = self._moderated(metric)
        return 0 if found is None else len(found.labels)

    def _moderated(self, metric: Metric) -> _Moderated | None:
        if metric.name not in self._known:
            self._known[metric.name] = _moderate(self.labels, self.scores(metric))
        return self._known[metric.name]


@dataclass(frozen=True, eq=False)
class _Moderated:
    labels: tuple[str, ...]
    scores: list[Parts]
    pairs: np.ndarray


def _moderate(labels: tuple[str, ...], scores: np.ndarray) -> _Moderated | None:
    vary = np.isfinite(scores).all(1) & (np.ptp(scores, axis=1) > 1e-12)
    if vary.sum() < FEWEST:
        return None
    kept = tuple(label for label, varies in zip(labels, vary, strict=True) if varies)
    return _Moderated(kept, moderated_scores(scores[vary]), moderated_pairs(scores[vary]))
