"""Simulated studies, and the tests that tables and recommendations would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench.analysis.pairs import ALL_PAIRS, all_pairs
from tunebench.benchmarks.populations import Population
from tunebench.stats import (
    FEWEST,
    MACRO_F1,
    Difference,
    Equivalence,
    Interval,
    Parts,
    equivalence,
    example_interval,
    holm,
    moderated_pairs,
    moderated_scores,
)
from tunebench.stats.intervals import crossed_interval_of
from tunebench.stats.joint_counts import JointCounts, influence, observed_scores
from tunebench.stats.paired import crossed_of_scores, delta_of_scores

#: Points within which strategies count as equal: the smallest margin that test parts of this size can decide on.
MARGIN = 0.02
#: Of tests and intervals.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Study:
    """One study that was drawn: what the decisions are made of.

    Attributes:
        scores: Macro F1, shape ``(strategies, seeds)``.
        covariance: Of all scores under sampling of texts, in the order of the scores.
    """

    scores: np.ndarray
    covariance: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    effects: np.ndarray
    classes: int

    @classmethod
    def draw(cls, population: Population, seeds: int, n: int, rng: np.random.Generator) -> Study:
        """Draw a study from a population."""
        labels, predictions, effects = population.sample(rng, seeds, n)
        flat = predictions.reshape(-1, n)
        scores, found = _scored(labels, flat, population.classes)
        shape = len(population.eases), seeds
        covariance = found @ found.T / n**2
        return cls(scores.reshape(shape), covariance, labels, predictions, effects, population.classes)

    def first(self, seeds: int) -> Study:
        """Return the study as it was when it had so many seeds."""
        count, total = self.scores.shape
        covariance = self.covariance.reshape(count, total, count, total)[:, :seeds, :, :seeds]
        return Study(
            self.scores[:, :seeds],
            covariance.reshape(count * seeds, count * seeds),
            self.labels,
            self.predictions[:, :seeds],
            self.effects[:, :seeds],
            self.classes,
        )

    @property
    def means(self) -> np.ndarray:
        """Mean score of each strategy."""
        return np.asarray(self.scores.mean(1))

    @property
    def _moderates(self) -> bool:
        return len(self.scores) >= FEWEST and self.scores.shape[1] > 1

    def interval(self, which: int, level: float = 1 - LEVEL) -> Interval:
        """Return the interval of a strategy's score, as tables show it."""
        seeds = self.scores.shape[1]
        if seeds == 1:
            rng = np.random.default_rng(0)
            return example_interval(
                self.labels, self.predictions[which], classes=self.classes, rng=rng, level=level
            )
        block = slice(which * seeds, (which + 1) * seeds)
        between = moderated_scores(self.scores)[which] if self._moderates else None
        covariance = self.covariance[block, block]
        return crossed_interval_of(
            self.scores[which], covariance, len(self.labels), MACRO_F1.bounds, level, between
        )

    def differences(self, pairs: Sequence[tuple[int, int]]) -> list[Difference]:
        """Return the differences of pairs, as tables show them."""
        seeds = self.scores.shape[1]
        moderated = moderated_pairs(self.scores) if self._moderates else None
        return [self._difference(pair, seeds, moderated) for pair in pairs]

    def _difference(self, pair: tuple[int, int], seeds: int, moderated: np.ndarray | None) -> Difference:
        rows = np.concatenate([np.arange(one * seeds, (one + 1) * seeds) for one in pair])
        covariance, scores = self.covariance[np.ix_(rows, rows)], self.scores[list(pair)].ravel()
        if seeds == 1:
            return delta_of_scores(scores, covariance, np.array([1.0, -1.0]), len(self.labels))
        between: Parts | None = None
        if moderated is not None:
            variance, df = moderated[pair]
            between = ((float(variance), float(df)),)
        return crossed_of_scores(scores, covariance, (seeds, seeds), len(self.labels), between=between)


def _scored(labels: np.ndarray, runs: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the macro F1 of each run, ``(runs,)``, and its influence function on each text, ``(runs, n)``.

    By the confusion matrix of each run by itself: texts in one of its cells have the same influence.
    """
    true, said = (axis.ravel() for axis in np.indices((classes, classes)))
    places = classes * labels + runs
    scores, effects = np.empty(len(runs)), np.empty(runs.shape)
    for row, place in enumerate(places):
        cells = JointCounts(true, said[None], np.bincount(place, minlength=classes**2), classes)
        found = influence(cells, MACRO_F1)
        assert found is not None
        scores[row], effects[row] = observed_scores(cells, MACRO_F1)[0], found[0][place]
    return scores, effects


def table_of_pairs(study: Study, *, reference: int | None = None) -> dict[tuple[int, int], Equivalence]:
    """Return the tests of the table of pairs.

    Args:
        study: The study.
        reference: The best on validation, where not all pairs are compared; None for the best on test.
    """
    count = len(study.scores)
    comparisons = all_pairs(count)
    if count <= ALL_PAIRS:
        pairs = list(combinations(range(count), 2))
    else:
        comparisons = comparisons if reference is None else count - 1
        best = int(np.argmax(study.means)) if reference is None else reference
        pairs = [(best, other) for other in range(count) if other != best]
    differences = study.differences(pairs)
    corrected = holm([one.p_value for one in differences], comparisons=comparisons).p_values
    tests = [
        equivalence(one, margin=MARGIN, p_value=p, comparisons=comparisons)
        for one, p in zip(differences, corrected, strict=True)
    ]
    return dict(zip(pairs, tests, strict=True))


def against_best(study: Study) -> tuple[list[str], dict[str, Equivalence]]:
    """Return the strategies, best first, and the recommendation's tests of the others against the best."""
    ranked = np.argsort(-study.means, kind="stable").tolist()
    best, *others = ranked
    number = all_pairs(len(ranked))
    tests = {}
    for other, one in zip(others, study.differences([(other, best) for other in others]), strict=True):
        p = min(1.0, one.p_value * number)
        tests[str(other)] = equivalence(one, margin=MARGIN, p_value=p, comparisons=number)
    return [str(one) for one in ranked], tests
