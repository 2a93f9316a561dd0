"""Strategies ranked on each of several data sets: mean ranks, whether they differ, and which of them do.

The test over all is Friedman's with the correction of Iman and Davenport (1980), and two mean ranks differ where
they are a critical difference apart (Nemenyi 1963), both as Demsar (2006) recommends. For two strategies it is
Wilcoxon's signed-rank test of their differences. A data set counts once, however many test texts or seeds it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.stats.meta_analysis import FEWEST_DATA_SETS
from tunebench.stats.results import Refusal, check_level, finite


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks over data sets.

    Attributes:
        ranks: One a strategy, in the order given; 1 is the best.
        data_sets: How many data sets they are over.
        p_value: Of no difference between the strategies.
        test: The test of ``p_value``.
        critical_difference: Two mean ranks further apart than this differ, for all pairs together; None for two
            strategies, whose test says it.
        groups: Places of strategies that are not shown to differ, each from the best to the worst of them. Groups
            inside another one are left out, and so are single strategies.
        alpha: Level of the tests.
    """

    ranks: tuple[float, ...]
    data_sets: int
    p_value: float
    test: str
    critical_difference: float | None
    groups: tuple[tuple[int, ...], ...]
    alpha: float

    @property
    def different(self) -> bool:
        """Whether the strategies are shown to differ at all."""
        return self.p_value <= self.alpha


def mean_ranks(merits: np.ndarray, *, alpha: float = 0.05) -> MeanRanks | Refusal:
    """Rank strategies on every data set, and compare their mean ranks.

    Args:
        merits: Scores for which more is better, shape ``(data sets, strategies)``; equal ones share their ranks.
        alpha: Level of the tests.

    Returns:
        The ranks, or a refusal with fewer than five data sets or one strategy.

    Raises:
        ValueError: Shapes or values do not fit.
    """
    check_level(alpha, name="alpha")
    merits = finite(merits, name="merits", ndim=2)
    n, k = merits.shape
    if n < FEWEST_DATA_SETS:
        number = "1 data set is" if n == 1 else f"{n} data sets are"
        return Refusal(f"{number} too few to rank strategies ({FEWEST_DATA_SETS} are needed)")
    if k < 2:
        return Refusal("one strategy has nothing to be ranked against")
    ranks = np.apply_along_axis(scipy.stats.rankdata, 1, -merits)
    means = ranks.mean(0)
    if k == 2:
        p, test, critical = _wilcoxon(merits[:, 0] - merits[:, 1]), "Wilcoxon's signed-rank test", None
        apart = p <= alpha
        order = np.argsort(means, kind="stable")
        groups: tuple[tuple[int, ...], ...] = () if apart else (tuple(int(i) for i in order),)
    else:
        p, test = friedman(ranks), "Friedman's test (Iman-Davenport)"
        critical = critical_difference(k, n, alpha=alpha)
        # Without a difference among all there is none between two of them.
        groups = _groups(means, critical if p <= alpha else math.inf)
    return MeanRanks(tuple(means.tolist()), n, p, test, critical, groups, alpha)


def friedman(ranks: np.ndarray) -> float:
    """Return the p value of Friedman's test in the form of Iman and Davenport, corrected for ties.

    Args:
        ranks: Within each data set, shape ``(data sets, strategies)``, three strategies or more.
    """
    n, k = ranks.shape
    if not np.ptp(ranks, axis=1).any():
        return 1.0  # all are tied everywhere
    chi2 = float(scipy.stats.friedmanchisquare(*ranks.T).statistic)
    most = n * (k - 1)
    if chi2 >= most * (1 - 1e-12):
        return 0.0 if n < 2 else math.factorial(k) ** (1 - n)  # the same order everywhere: one of k!^(n-1)
    ratio = (n - 1) * chi2 / (most - chi2)
    return float(scipy.special.fdtrc(k - 1, (k - 1) * (n - 1), ratio))


def critical_difference(strategies: int, data_sets: int, *, alpha: float = 0.05) -> float:
    """Return how far two mean ranks must be apart to differ, for all pairs together (Nemenyi 1963)."""
    quantile = float(scipy.stats.studentized_range.ppf(1 - alpha, strategies, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(strategies * (strategies + 1) / (6 * data_sets))


def _wilcoxon(differences: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's test; data sets without a difference count half for either side."""
    if not differences.any():
        return 1.0
    # Exact: over all assignments of signs where there are ties or zeros, which tables do not hold.
    plain = np.unique(np.abs(differences)).size == differences.size and differences.all()
    few = len(differences) <= 13
    method = (
        "exact" if plain and len(differences) <= 50 else scipy.stats.PermutationMethod() if few else "asymptotic"
    )
    return float(scipy.stats.wilcoxon(differences, zero_method="zsplit", method=method).pvalue)


def _groups(means: np.ndarray, critical: float) -> tuple[tuple[int, ...], ...]:
    """Return the longest runs of strategies, by mean rank, whose ends are no further apart than the difference."""
    order = [int(i) for i in np.argsort(means, kind="stable")]
    found: list[tuple[int, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and means[order[end + 1]] - means[order[start]] <= critical:
            end += 1
        if end > start and end + 1 > reached:
            found.append(tuple(order[start : end + 1]))
            reached = end + 1
    return tuple(found)
