"""The statistics of committed runs, computed again by scikit-learn, SciPy, permutation and two-way ANOVA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tunebench.stats import ACCURACY, MACRO_F1, crossed_difference, delta_difference, mcnemar

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def runs(study: str, start: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions of the runs whose folder begins so, by seed."""
    folders = sorted((RESULTS / study / "runs").glob(f"{start}-*"))
    loaded = [np.load(folder / "predictions.npz") for folder in folders]
    return loaded[0]["labels"].astype(int), np.stack([one["logits"].argmax(1) for one in loaded])


def rank_one() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pair whose corrected p value depended on the seed of a bootstrap."""
    labels, one = runs("without-regret", "full-6-epochs-n2000-lr0.0001")
    _, other = runs("without-regret", "all-r1-n2000-lr0.0025")
    return labels, one[0], other[0]


def test_a_p_value_over_texts_is_that_of_a_permutation_and_of_mcnemar() -> None:
    labels, one, other = rank_one()
    found = delta_difference(labels, one, other, classes=2)
    assert found.estimate == pytest.approx(
        f1_score(labels, one, average="macro") - f1_score(labels, other, average="macro")
    )
    # Under no difference each text's two answers may be swapped; only texts where they differ count.
    disputed = np.flatnonzero(one != other)
    swaps = np.random.default_rng(0).random((4_000, len(disputed))) < 0.5
    more = 0
    for swap in swaps:
        a, b = one.copy(), other.copy()
        places = disputed[swap]
        a[places], b[places] = other[places], one[places]
        more += abs(_macro_f1(labels, a) - _macro_f1(labels, b)) >= abs(found.estimate) - 1e-12
    share = more / len(swaps)
    assert abs(share - found.p_value) <= 3 * np.sqrt(found.p_value / len(swaps)) + 5e-4
    assert mcnemar(labels, one, other).exact_p == pytest.approx(found.p_value, rel=0.6)
    # Ten strategies make 45 pairs: nothing is shown.
    assert 0.05 < 45 * found.p_value < 0.25


def _macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    table = np.bincount(2 * labels + predicted, minlength=4).reshape(2, 2)
    return float(np.mean(2 * np.diag(table) / (table.sum(0) + table.sum(1))))


def test_accuracy_over_texts_is_a_paired_t_test() -> None:
    labels, one, other = rank_one()
    found = delta_difference(labels, one, other, classes=2, metric=ACCURACY)
    theirs = stats.ttest_rel((one == labels).astype(float), (other == labels).astype(float))
    assert found.p_value == pytest.approx(theirs.pvalue, rel=2e-3)
    ends = theirs.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((ends.low, ends.high), abs=1e-5)


def test_a_comparison_over_seeds_and_texts_is_a_two_way_analysis_of_variance() -> None:
    labels, full = runs("parity", "full-n5000")
    _, lora = runs("parity", "all-r64-n5000")
    found = crossed_difference(labels, full, lora, classes=2, metric=ACCURACY)
    gaps = (full == labels).astype(float) - (lora == labels)
    seeds, texts = gaps.shape
    centred = gaps - gaps.mean(1, keepdims=True) - gaps.mean(0) + gaps.mean()
    rest = (centred**2).sum() / ((seeds - 1) * (texts - 1))
    by_text = seeds * gaps.mean(0).var(ddof=1)
    # Mean squares: of texts less the rest is what seeds share, times their number.
    assert found.example_variance == pytest.approx((by_text - rest) / seeds / texts, rel=0.02)
    assert found.seed_variance == pytest.approx(gaps.mean(1).var(ddof=1) / seeds)
    assert found.estimate == pytest.approx(gaps.mean())


def test_the_error_of_macro_f1_is_that_of_resampled_texts() -> None:
    labels, full = runs("parity", "full-n5000")
    _, lora = runs("parity", "all-r64-n5000")
    found = crossed_difference(labels, full, lora, classes=2, metric=MACRO_F1)
    assert found.example_variance is not None
    rng, gaps = np.random.default_rng(0), []
    for _ in range(300):
        drawn = rng.integers(0, len(labels), len(labels))
        scores = [[_macro_f1(labels[drawn], run[drawn]) for run in group] for group in (full, lora)]
        gaps.append(np.mean(scores[0]) - np.mean(scores[1]))
    # Resampled texts move the mean over seeds by what seeds share and a fifth of each one's own.
    assert found.example_variance < np.var(gaps, ddof=1) * 1.1
    own = found.seed_variance or 0.0
    assert np.var(gaps, ddof=1) < (found.example_variance + own) * 1.2
