"""What choosing a learning rate and adding seeds do to decisions, simulated on scores alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from tunebench.analysis.tuning import ALIKE, NEAR
from tunebench.benchmarks.drawn import Study
from tunebench.benchmarks.populations import COMMITTED, make_population
from tunebench.stats import Anytime, Looks, at_look, holm, nominal_tail
from tunebench.stats.tails import mean_quantile, tails_of

#: True scores of the rates of a list, in points below the best.
RATES = (0.0, 0.3, 1.0, 3.0)
#: Texts on which the rate is chosen, and on which strategies are compared.
VALIDATION, TEST = 400, 2_500
_SCORE = COMMITTED.accuracy


def _texts(count: int, alike: float) -> float:
    """Return the standard deviation that texts add to the difference of two scores, in points."""
    return float(100 * np.sqrt(2 * (1 - alike) * _SCORE * (1 - _SCORE) / count))


def chosen_rate(studies: int, *, seeds: int = 1) -> dict[str, Any]:
    """Choose the best of four rates on validation: what is lost, and whether the warning stands.

    Args:
        studies: How many choices.
        seeds: Runs of each rate.
    """
    rng = np.random.default_rng(1)
    gaps, seen, _ = _choices(rng, studies, seeds)
    chosen = seen.argmax(1)
    ordered = -np.sort(-seen, axis=1)
    texts = _texts(VALIDATION, ALIKE)
    near = ordered[:, 0] - ordered[:, 1] < NEAR * texts
    lost = -gaps[chosen]
    return {
        "regret in points": float(lost.mean()),
        "another rate is better": float((lost > 0).mean()),
        "warned": float(near.mean()),
        "warned where another rate is better": float(near[lost > 0].mean()) if (lost > 0).any() else None,
    }


def two_tuned(studies: int, *, seeds: int = 3, choosing: int = 1) -> dict[str, Any]:
    """Compare two equal strategies, each at the rate that validation chose.

    Args:
        studies: How many comparisons.
        seeds: Runs at the chosen rates, on test.
        choosing: Seeds that choose, each on validation texts of its own.
    """
    rng = np.random.default_rng(2)
    truths, gains = [], []
    for _ in range(2):
        gaps, seen, _ = _choices(rng, studies, choosing, validation=choosing * VALIDATION)
        ordered = -np.sort(-seen, axis=1)
        truths.append(gaps[seen.argmax(1)])
        gains.append(NEAR * _texts(choosing * VALIDATION, ALIKE) - (ordered[:, 0] - ordered[:, 1]))
    gaps = truths[0] - truths[1]
    scores = _differences(rng, np.repeat(gaps[:, None], seeds, axis=1))
    different, means = _different(scores), scores.mean(1)
    # The warning names the strategy that is behind, where its next rate may be worth more than the distance.
    behind = np.where(means > 0, gains[1], gains[0])
    return {
        "called different": float(different.mean()),
        "called different, and no warning": float((different & (behind < np.abs(means))).mean()),
    }


def each_tuned(studies: int, *, seeds: int) -> dict[str, Any]:
    """Compare two equal strategies of which each seed chose its own rate, on validation texts of its own.

    Args:
        studies: How many comparisons.
        seeds: Of each strategy.
    """
    rng = np.random.default_rng(3)
    truths = []
    for _ in range(2):
        gaps, seen, _ = _choices(rng, studies * seeds, 1)
        truths.append(gaps[seen.argmax(1)].reshape(studies, seeds))
    return {"called different": float(_different(_differences(rng, truths[0] - truths[1])).mean())}


@dataclass(frozen=True)
class Reading:
    """When two strategies are compared.

    Attributes:
        seeds: At each look.
        design: What was declared; None where each look is tested as if it were the only one.
        seed_points: Standard deviation over seeds of one strategy's score in points; by default that of the
            committed studies.
        texts: Whether test texts add to the noise; without them, seeds are all of it, and looks correlate least.
    """

    seeds: tuple[int, ...]
    design: Looks | Anytime | None = None
    seed_points: float = 100 * COMMITTED.seed_sd
    texts: bool = True


def read_often(reading: Reading, studies: int, *, difference: float = 1.0, margin: float = 2.0) -> dict[str, Any]:
    """Compare two strategies at every look until there is an answer.

    Args:
        reading: When.
        studies: How many comparisons of each kind.
        difference: True difference, in points, that is to be found.
        margin: Within it two strategies count as equal, in points.
    """
    rng = np.random.default_rng(4)
    equal, _ = _read(reading, studies, rng, 0.0, margin)
    _, apart = _read(reading, studies, rng, margin, margin)
    found, _ = _read(reading, studies, rng, difference, margin)
    first = np.where(found.any(0), np.array(reading.seeds)[found.argmax(0)], reading.seeds[-1])
    return {
        "different at any look": float(equal.any(0).mean()),
        "called equal at any look": float(apart.any(0).mean()),
        "found at any look": float(found.any(0).mean()),
        "seeds on average": float(first.mean()),
        "studies": studies,
    }


def _read(
    reading: Reading, studies: int, rng: np.random.Generator, gap: float, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where two strategies so far apart are called different, and where equal, by look and study."""
    sd = reading.seed_points * np.sqrt(2 * (1 - COMMITTED.alike))
    texts = _texts(TEST, COMMITTED.other) if reading.texts else 0.0
    scores = gap + sd * rng.standard_normal((studies, reading.seeds[-1]))
    scores += texts * rng.standard_normal((studies, 1))
    different, equal = [], []
    for seeds in reading.seeds:
        mean, variances, df = _summed(scores[:, :seeds], texts)
        look = None if reading.design is None else reading.design.at(seeds)
        error = np.sqrt(variances.sum(-1))
        two, one = (error * mean_quantile(variances, df, nominal_tail(look, tail)) for tail in (0.025, 0.05))
        different.append(np.abs(mean) > two)
        equal.append(np.abs(mean) + one < margin)
    return np.array(different), np.array(equal)


def six_strategies(studies: int) -> dict[str, Any]:
    """Compare six equal strategies two by two at declared looks, by the table of pairs.

    Args:
        studies: A tenth of them is drawn, as all predictions are.
    """
    rng, design = np.random.default_rng(5), Looks((5, 10))
    population = make_population([0.0] * 6, seed_points=1.0)
    pairs = list(combinations(range(6), 2))
    different, outside = [], []
    for _ in range(max(2, studies // 10)):
        study = Study.draw(population, design.seeds[-1], TEST, rng)
        at = {seeds: study.first(seeds).differences(pairs) for seeds in design.seeds}
        seen = [[at_look(one, design.at(seeds)) for one in found] for seeds, found in at.items()]
        different.append(any(any(holm([one.p_value for one in found]).rejected) for found in seen))
        first_pair = [found[0].interval for found in seen]
        outside.append(any(not one.low <= 0 <= one.high for one in first_pair))
    return {
        "any pair different at any look": float(np.mean(different)),
        "one pair's interval wrong at any look": float(np.mean(outside)),
    }


def _choices(
    rng: np.random.Generator, studies: int, seeds: int, validation: int = VALIDATION
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return true scores of the rates, and what validation shows of them, in points."""
    gaps = -np.array(RATES)
    # Each rate's own part of what texts add: two of them make the difference.
    texts = _texts(validation, COMMITTED.same) / np.sqrt(2)
    own = 100 * COMMITTED.seed_sd / np.sqrt(seeds)
    shape = (studies, len(gaps))
    return gaps, gaps + texts * rng.standard_normal(shape) + own * rng.standard_normal(shape), texts


def _differences(rng: np.random.Generator, gaps: np.ndarray) -> np.ndarray:
    """Return the differences of two strategies on test, of true differences of shape ``(studies, seeds)``."""
    sd = 100 * COMMITTED.seed_sd * np.sqrt(2 * (1 - COMMITTED.alike))
    texts = _texts(TEST, COMMITTED.other)
    own, shared = rng.standard_normal(gaps.shape), rng.standard_normal((len(gaps), 1))
    return np.asarray(gaps + sd * own + texts * shared)


def _different(scores: np.ndarray) -> np.ndarray:
    """Return which rows of differences are called different at 5 %."""
    return np.asarray(_p_values(scores, _texts(TEST, COMMITTED.other)) <= 0.05)


def _p_values(scores: np.ndarray, texts: float) -> np.ndarray:
    """Return p of the mean of each row, whose columns are seeds, by the rule of the table of pairs."""
    mean, variances, df = _summed(scores, texts)
    return 2 * tails_of(variances, df, np.abs(mean) / np.sqrt(variances.sum(1)))


def _summed(scores: np.ndarray, texts: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of each row, the parts of its variance, and their degrees of freedom."""
    seeds = scores.shape[1]
    between = scores.var(axis=1, ddof=1) / seeds
    variances = np.stack([between, np.full_like(between, texts**2)], -1)
    return scores.mean(1), variances, np.broadcast_to([seeds - 1.0, TEST - 1.0], variances.shape)


#: What is simulated, by name.
RULES: dict[str, Callable[[int], dict[str, Any]]] = {
    "choice of a rate, one seed": lambda studies: chosen_rate(studies, seeds=1),
    "choice of a rate, three seeds": lambda studies: chosen_rate(studies, seeds=3),
    "two equal strategies, each tuned once": two_tuned,
    "two equal strategies, each tuned with two seeds on validation texts of their own": lambda studies: two_tuned(
        studies, choosing=2
    ),
    "two equal strategies of which each seed chooses the rate, 3 seeds": partial(each_tuned, seeds=3),
    "two equal strategies of which each seed chooses the rate, 5 seeds": partial(each_tuned, seeds=5),
    "six equal strategies, looks after 5 and 10 seeds, seeds 1 points": six_strategies,
}
_ONE_BY_ONE, _FROM_THREE = tuple(range(2, 11)), tuple(range(3, 11))
_NOISES: dict[str, dict[str, Any]] = {
    "": {},
    "; seeds 1 points": {"seed_points": 1.0},
    "; seeds 1 points, no noise of texts": {"seed_points": 1.0, "texts": False},
}
#: When a study may be read, by name.
READINGS: dict[str, Reading] = {
    f"{name}{noise}": replace(reading, **changes)
    for name, reading in {
        "once, after 10 seeds": Reading((10,)),
        "not declared, after 3, 5 and 8 seeds": Reading((3, 5, 8)),
        "not declared, after every seed from 2 to 10": Reading(_ONE_BY_ONE),
        "looks after 5 and 10 seeds, O'Brien-Fleming": Reading((5, 10), Looks((5, 10))),
        "looks after 5 and 10 seeds, Pocock": Reading((5, 10), Looks((5, 10), "pocock")),
        "looks after 3, 5 and 8 seeds, O'Brien-Fleming": Reading((3, 5, 8), Looks((3, 5, 8))),
        "looks after every seed from 3 to 10, Pocock": Reading(_FROM_THREE, Looks(_FROM_THREE, "pocock")),
        "any time, up to 10 seeds": Reading(_ONE_BY_ONE, Anytime()),
        "any time, up to 50 seeds": Reading(tuple(range(2, 51)), Anytime()),
    }.items()
    for noise, changes in _NOISES.items()
}
