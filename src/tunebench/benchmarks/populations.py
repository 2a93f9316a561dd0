"""Populations whose true scores are known, made like the committed studies: what decisions are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, stats

#: How the classes are shared out, by number and balance. Classes that are rare are harder, too.
SHARES: dict[tuple[int, bool], tuple[float, ...]] = {
    (2, True): (0.5, 0.5),
    (2, False): (0.85, 0.15),
    (5, True): (0.2,) * 5,
    (5, False): (0.5, 0.2, 0.15, 0.1, 0.05),
}
#: How much harder the rarest class is than the most frequent one, in standard deviations.
HARDER = 0.4


@dataclass(frozen=True)
class Likeness:
    """What the committed studies tell of runs: medians over strategies and pairs.

    Attributes:
        accuracy: Share of test texts that a run gets right.
        same: Correlation of what two runs of one strategy get right.
        other: Correlation of what runs of two strategies get right.
        seed_sd: Standard deviation over seeds of macro F1, without what the test texts add to it.
        alike: Correlation over seeds of the scores of two strategies.
        runs: Runs that were read.
    """

    accuracy: float
    same: float
    other: float
    seed_sd: float
    alike: float
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


#: As :func:`likeness_of` reads the committed studies; a test compares the two.
COMMITTED = Likeness(0.852, 0.793, 0.747, 0.00344, 0.618, 66)


def likeness_of(folders: Sequence[Path]) -> Likeness:
    """Read how runs are alike from studies with several seeds.

    Args:
        folders: Study folders with stored predictions.
    """
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.load import load_comparison

    found: dict[str, list[float]] = {name: [] for name in ("accuracy", "same", "other", "variance", "alike")}
    runs = 0
    for folder in folders:
        entries = [entry for entry in analyse(load_comparison(folder)).entries if len(entry.seeds) > 2]
        rights = [(entry.values == entry.labels).astype(float) for entry in entries]
        scores = [entry.seed_scores(entry.metric) for entry in entries]
        for right, score in zip(rights, scores, strict=True):
            runs += len(right)
            between = np.corrcoef(right)[np.triu_indices(len(right), 1)]
            found["accuracy"].append(float(right.mean()))
            found["same"] += between.tolist()
            # What the texts add: the variance of one run's accuracy that it does not share with another's.
            added = right.mean() * (1 - right.mean()) / right.shape[1] * (1 - between.mean())
            found["variance"].append(float(score.var(ddof=1) - added))
        for first in range(len(entries)):
            for second in range(first):
                found["other"].append(float(np.corrcoef(rights[first][0], rights[second][0])[0, 1]))
                found["alike"].append(float(np.corrcoef(scores[first], scores[second])[0, 1]))
    middle = {name: float(np.median(values)) for name, values in found.items()}
    sd = max(middle["variance"], 0.0) ** 0.5
    return Likeness(middle["accuracy"], middle["same"], middle["other"], sd, middle["alike"], runs)


@dataclass(frozen=True)
class Population:
    """Strategies on one task.

    A text is right for a run where ease, seed effect, the text's difficulty (shared by all), the strategy's taste
    in texts and the run's own noise add up to more than 0. A wrong answer is the class that the text resembles.

    Attributes:
        eases: One a strategy.
        shares: Of the classes.
        seed_sd: Of the seed effect, by strategy.
        alike: Correlation of the seed effects of two strategies.
        weights: Shares of variance of difficulty, taste and noise; they add up to 1.
    """

    eases: tuple[float, ...]
    shares: tuple[float, ...]
    seed_sd: tuple[float, ...]
    alike: float
    weights: tuple[float, float, float]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.shares)

    def sample(self, rng: np.random.Generator, seeds: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw labels ``(n,)``, predictions ``(strategies, seeds, n)`` and seed effects ``(strategies, seeds)``."""
        count = len(self.eases)
        labels = rng.choice(self.classes, size=n, p=self.shares)
        alike = np.sqrt(self.alike) * rng.standard_normal(seeds)
        effects = np.array(self.seed_sd)[:, None] * (
            alike + np.sqrt(1 - self.alike) * rng.standard_normal((count, seeds))
        )
        difficulty, taste, noise = np.sqrt(self.weights)
        ease = np.array(self.eases)[:, None, None] + effects[..., None] + self._harder[labels]
        texts = difficulty * rng.standard_normal(n) + taste * rng.standard_normal((count, 1, n))
        right = ease + texts + noise * rng.standard_normal((count, seeds, n), dtype=np.float32) > 0
        likely = (labels + rng.integers(1, self.classes, n)) % self.classes
        return labels, np.where(right, labels, likely), effects

    def score(self, ease: float, effect: float = 0.0) -> float:
        """Return the macro F1 of a run with a seed effect on all texts that there are."""
        shares = np.array(self.shares)
        right = stats.norm.cdf(ease + effect + self._harder)
        wrong = shares * (1 - right) / (self.classes - 1)
        predicted = shares * right + wrong.sum() - wrong
        return float(np.mean(2 * shares * right / (shares + predicted)))

    def truth(self, ease: float, seed_sd: float) -> float:
        """Return the mean macro F1 over seeds."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(21)
        scores = [self.score(ease, seed_sd * node) for node in nodes]
        return float(np.dot(weights, scores) / weights.sum())

    @cached_property
    def truths(self) -> np.ndarray:
        """The true score of each strategy."""
        kinds = list(zip(self.eases, self.seed_sd, strict=True))
        known = {kind: self.truth(*kind) for kind in set(kinds)}
        return np.array([known[kind] for kind in kinds])

    @property
    def _harder(self) -> np.ndarray:
        shares = np.array(self.shares)
        spread = np.ptp(shares)
        return -HARDER * (shares.max() - shares) / spread if spread else np.zeros(len(shares))


def make_population(
    gaps: Sequence[float],
    *,
    classes: int = 2,
    balanced: bool = True,
    seed_points: float | None = None,
    first_seed_points: float | None = None,
    like: Likeness = COMMITTED,
) -> Population:
    """Make strategies that are so far behind the best, alike as the committed studies are.

    Args:
        gaps: How much lower the true macro F1 of each is than that of the best, in shares; 0 for the best.
        classes: Number of classes.
        balanced: Whether the classes are equally frequent.
        seed_points: Standard deviation of macro F1 over seeds, in points; by default that of ``like``.
        first_seed_points: That of the first strategy; by default that of the others.
        like: What the population resembles.
    """
    ease = float(stats.norm.ppf(like.accuracy))
    shared, own = (_latent(like.accuracy, phi) for phi in (like.other, like.same))
    shares = SHARES[classes, balanced]
    base = Population((ease,), shares, (0.0,), like.alike, (shared, own - shared, 1 - own))
    slope = (base.score(ease + 1e-3) - base.score(ease - 1e-3)) / 2e-3
    usual = like.seed_sd if seed_points is None else seed_points / 100
    first = usual if first_seed_points is None else first_seed_points / 100
    seed_sds = [sd / slope for sd in (first, *[usual] * (len(gaps) - 1))]
    best = base.truth(ease, usual / slope)

    def at(gap: float, seed_sd: float) -> float:
        return float(optimize.brentq(lambda value: base.truth(value, seed_sd) - best + gap, ease - 3, ease + 1))

    kinds = list(zip(gaps, seed_sds, strict=True))
    eases = {kind: at(*kind) for kind in set(kinds)}
    return Population(tuple(eases[kind] for kind in kinds), shares, tuple(seed_sds), like.alike, base.weights)


def _latent(accuracy: float, phi: float) -> float:
    """Return the correlation of two normals whose excess over a threshold correlates by ``phi``."""
    threshold = float(stats.norm.ppf(accuracy))
    target = phi * accuracy * (1 - accuracy) + accuracy**2

    def both(correlation: float) -> float:
        normal = stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
        return float(normal.cdf([threshold, threshold])) - target

    return float(optimize.brentq(both, 0.0, 0.9999))
