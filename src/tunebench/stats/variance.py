"""Where the variance of a score comes from: subset draw, initialisation and order, test sampling."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tunebench.stats.joint_counts import joint_counts, score_covariance
from tunebench.stats.measures import MACRO_F1, Measure
from tunebench.stats.methods import mean_covariance
from tunebench.stats.results import finite


@dataclass(frozen=True)
class SamplingVariance:
    """Variance of a score because the test examples are a sample (delta method).

    Attributes:
        single_run: Of one run's score.
        own: The part that is each run's own (its errors on examples that another run gets right); two
            runs differ by it on the same examples. None for a single run.
        n_examples: Test examples.
    """

    single_run: float
    own: float | None
    n_examples: int


@dataclass(frozen=True)
class Component:
    """One source of variance.

    Attributes:
        name: The source.
        variance: In squared units of the score; None where the runs cannot tell.
        share: Of the sum of the known components; None where unknown or the sum is 0.
        clipped: The estimate was negative and is given as 0.
        reason: Why it is unknown, or what it holds besides; None if there is nothing to say.
    """

    name: str
    variance: float | None
    share: float | None
    clipped: bool
    reason: str | None


@dataclass(frozen=True)
class VarianceShares:
    """Components of the variance of one run's score.

    Attributes:
        components: ``subset draw``, ``initialisation and order``, ``subset draw and seed together`` (known
            only where those two cannot be told apart) and ``test sampling``.
        total: Sum of the known components; None if there is none.
        n_runs: Runs behind it.
        n_subsets: Distinct subset draws; None if not known.
        n_seeds: Distinct seeds; None if not known.
        method: Name of the method.
    """

    components: tuple[Component, ...]
    total: float | None
    n_runs: int
    n_subsets: int | None
    n_seeds: int | None
    method: str

    def __getitem__(self, name: str) -> Component:
        """Return a component by name."""
        return next(component for component in self.components if component.name == name)


def sampling_variance(
    labels: np.ndarray, predictions: np.ndarray, *, classes: int, metric: Measure = MACRO_F1
) -> SamplingVariance:
    """Return how much of a score's variance comes from the test examples.

    Args:
        labels: Integers of shape ``(n,)``.
        predictions: Integers of shape ``(n,)`` or ``(runs, n)``.
        classes: Number of classes.
        metric: What to score.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    cells = joint_counts(labels, predictions, classes=classes)
    covariance = score_covariance(cells, metric)
    runs, single = len(covariance), float(np.trace(covariance)) / len(covariance)
    if runs == 1:
        return SamplingVariance(single, None, cells.n)
    return SamplingVariance(single, single - mean_covariance(covariance), cells.n)


def variance_shares(
    scores: Sequence[float] | np.ndarray,
    *,
    subsets: Sequence[Hashable] | None = None,
    seeds: Sequence[Hashable] | None = None,
    test_sampling: SamplingVariance | None = None,
) -> VarianceShares:
    """Split the variance of one strategy's scores at one size, by the method of moments over pairs of runs.

    Half the mean squared difference of two runs estimates ``within`` for pairs of one subset draw and
    different seeds, and ``within + subset`` for pairs that differ in both (Koch 1967; in balanced designs
    the analysis of variance, nested or crossed). ``within`` is all that varies once the subset is drawn:
    initialisation, order, dropout, and their interaction with the subset.

    Args:
        scores: One a run, shape ``(runs,)``, all on the same test examples.
        subsets: Subset draw of each run; None if not known.
        seeds: Seed of each run; None if not known (every run counts as a seed of its own).
        test_sampling: From :func:`sampling_variance`; None if there are no predictions.

    Raises:
        ValueError: Lengths differ, or a score is not finite.
    """
    values = finite(scores, name="scores")
    runs = len(values)
    for name, ids in (("subsets", subsets), ("seeds", seeds)):
        if ids is not None and len(ids) != runs:
            raise ValueError(f"{name} must hold one value a run: {len(ids)} for {runs} scores")
    draw, seed = _codes(subsets, runs), _codes(seeds, runs)
    first, second = np.triu_indices(runs, 1)
    squares = (values[first] - values[second]) ** 2 / 2
    same_draw = draw[first] == draw[second] if subsets is not None else np.zeros(len(first), dtype=bool)
    same_seed = seed[first] == seed[second] if seeds is not None else np.zeros(len(first), dtype=bool)
    within = _mean(squares[same_draw & ~same_seed])
    apart = _mean(squares[~same_draw & ~same_seed]) if subsets is not None else None

    subset = None if within is None or apart is None else apart - within
    subset_reason = None if subset is not None else _why_no_subset(subsets, draw)
    together = _mean(squares[~(same_draw & same_seed)]) if within is None else None
    own = test_sampling.own if test_sampling else None
    seed_reason = None
    if within is None:
        seed_reason = _why_no_seed(runs, subsets, seeds, seed)
    elif own is None:
        seed_reason = "holds how differently the seeds fare on these test examples, which predictions would tell"
    else:
        within -= own
    if together is not None and own is not None:
        together -= own
    test = test_sampling.single_run if test_sampling else None
    found: list[tuple[str, float | None, str | None]] = [
        ("subset draw", subset, subset_reason),
        ("initialisation and order", within, seed_reason),
        ("subset draw and seed together", together, _why_not_together(runs, within)),
        ("test sampling", test, None if test is not None else "no predictions to resample"),
    ]
    known = [max(value, 0.0) for _, value, _ in found if value is not None]
    total = sum(known) if known else None
    components = tuple(
        Component(
            name,
            None if value is None else max(value, 0.0),
            max(value, 0.0) / total if value is not None and total else None,
            value is not None and value < 0,
            reason,
        )
        for name, value, reason in found
    )
    return VarianceShares(
        components,
        total,
        runs,
        len(set(draw.tolist())) if subsets is not None else None,
        len(set(seed.tolist())) if seeds is not None else None,
        "method of moments over pairs of runs",
    )


def _codes(ids: Sequence[Hashable] | None, runs: int) -> np.ndarray:
    if ids is None:
        return np.arange(runs)
    numbers = {value: number for number, value in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[value] for value in ids], dtype=np.int64)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _why_no_subset(subsets: Sequence[Hashable] | None, draw: np.ndarray) -> str:
    if subsets is None:
        return "not known which subset draw each run had"
    if len(set(draw.tolist())) < 2:
        return "one subset draw only"
    return "no subset draw was run with two seeds"


def _why_not_together(runs: int, within: float | None) -> str | None:
    if within is not None:
        return "the seed is told apart from the subset draw"
    return "one run only" if runs < 2 else None


def _why_no_seed(
    runs: int, subsets: Sequence[Hashable] | None, seeds: Sequence[Hashable] | None, seed: np.ndarray
) -> str:
    if runs < 2:
        return "one run only"
    if seeds is not None and len(set(seed.tolist())) < 2:
        return "one seed only"
    if subsets is None:
        return "not known which subset draw each run had, so it cannot be told from the seed"
    return "no subset draw was run with two seeds"
