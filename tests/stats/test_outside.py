"""The statistics of committed runs, computed again by statsmodels, SciPy and baycomp."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from baycomp.single import Posterior
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.evidence import Entry
from tunebench.analysis.load import load_comparison
from tunebench.stats import Difference, equivalence, mcnemar, seed_difference

RESULTS = Path(__file__).parents[2] / "docs" / "results"
#: Points that do not matter, as shares.
MARGIN = 0.005


@pytest.fixture(scope="module")
def study() -> Analysis:
    """Six strategies with five seeds each."""
    return analyse(load_comparison(RESULTS / "equivalence"))


def scores(entry: Entry) -> np.ndarray:
    return entry.seed_scores(entry.metric)


def over_seeds(first: Entry, second: Entry) -> Difference:
    found = seed_difference(scores(first), scores(second))
    assert isinstance(found, Difference)
    return found


def test_scores_over_seeds_are_compared_as_scipy_does(study: Analysis) -> None:
    for first, second in combinations(study.entries, 2):
        found, theirs = over_seeds(first, second), stats.ttest_rel(scores(first), scores(second))
        assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
        ends = theirs.confidence_interval(0.95)
        assert (found.interval.low, found.interval.high) == pytest.approx((ends.low, ends.high))
        welch = seed_difference(scores(first), scores(second), pairing="different seeds")
        assert isinstance(welch, Difference)
        assert welch.p_value == pytest.approx(
            stats.ttest_ind(scores(first), scores(second), equal_var=False).pvalue, rel=1e-9
        )


def test_equivalence_over_seeds_is_that_of_statsmodels(study: Analysis) -> None:
    shown = set()
    for first, second in combinations(study.entries, 2):
        found = equivalence(over_seeds(first, second), margin=MARGIN)
        theirs, *_ = ttost_paired(scores(first), scores(second), -MARGIN, MARGIN)
        assert found.tost_p == pytest.approx(theirs, rel=1e-6)
        shown.add(found.equivalent)
    assert shown == {True, False}


def test_holms_correction_of_a_published_table_is_that_of_statsmodels(study: Analysis) -> None:
    p_values = [pair.difference.p_value for pair in study.pairs]
    theirs = multipletests(p_values, method="holm")[1]
    assert len(p_values) > 1
    assert [pair.p_holm for pair in study.pairs] == pytest.approx(theirs)


def test_two_runs_on_the_same_texts_are_compared_as_statsmodels_does(study: Analysis) -> None:
    for first, second in combinations(study.entries, 2):
        hits = [entry.predictions[0] == entry.labels for entry in (first, second)]
        table = [[np.sum((hits[0] == a) & (hits[1] == b)) for b in (True, False)] for a in (True, False)]
        theirs = their_mcnemar(table, exact=True).pvalue
        assert mcnemar(first.labels, first.predictions[0], second.predictions[0]).exact_p == pytest.approx(theirs)


def test_the_chance_to_be_within_the_margin_is_that_of_baycomp(study: Analysis) -> None:
    for first, second in combinations(study.entries, 2):
        found = over_seeds(first, second)
        seeds = len(first.seeds)
        _, within, _ = Posterior(found.estimate, found.standard_error**2, seeds - 1, rope=MARGIN).probs()
        assert equivalence(found, margin=MARGIN).within == pytest.approx(within)
