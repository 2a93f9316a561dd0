"""Metrics of several labels a text against scikit-learn, and what the statistics need of them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from tunebench.stats import crossed_difference, example_interval
from tunebench.stats.joint_counts import influence, joint_counts, observed_scores, with_pseudo_examples
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.outputs import SeveralLabels
from tunebench.tasks.thresholds import tuned_thresholds

METRICS = MULTI_LABEL.metrics
CUTS = np.linspace(0.005, 0.995, 199)


def made(texts: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and logits; one label is never true nor given, and one text has no label and gets none."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((texts, 5)) < [0.5, 0.3, 0.2, 0.1, 0.0]).astype(np.int8)
    logits = (2.0 * labels - 1 + rng.normal(size=labels.shape)).astype(np.float32)
    labels[0], logits[0], logits[:, 4] = 0, -1, -3
    return labels, logits


def slow(name: str, labels: np.ndarray, logits: np.ndarray) -> float:
    predicted, shares = logits > 0, expit(logits.astype(float))
    averages = {"macro_f1": "macro", "micro_f1": "micro"}
    if name in averages:
        return float(sk.f1_score(labels, predicted, average=averages[name], zero_division=0))
    ranked = [label for label in range(labels.shape[1]) if 0 < labels[:, label].sum() < len(labels)]
    one = {
        "samples_f1": lambda: sk.f1_score(labels, predicted, average="samples", zero_division=1),
        "subset_accuracy": lambda: sk.accuracy_score(labels, predicted),
        "mean_average_precision": lambda: sk.average_precision_score(labels[:, ranked], shares[:, ranked]),
        "auroc": lambda: sk.roc_auc_score(labels[:, ranked], shares[:, ranked]),
        "log_loss": lambda: -np.log(np.where(labels == 1, shares, 1 - shares)).mean(),
        "brier": lambda: ((shares - labels) ** 2).mean(),
        "ece": lambda: _slow_ece(labels.ravel(), shares.ravel()),
    }
    return float(one[name]())


def _slow_ece(labels: np.ndarray, shares: np.ndarray) -> float:
    place = np.ceil(shares * 15)
    return sum(abs((labels - shares)[place == bin_].sum()) for bin_ in np.unique(place)) / len(labels)


@pytest.mark.parametrize("name", METRICS.known)
def test_metrics_are_those_of_scikit_learn(name: str) -> None:
    labels, logits = made()
    assert METRICS[name](labels, logits) == pytest.approx(slow(name, labels, logits), abs=1e-9)


@pytest.mark.parametrize("name", METRICS.known)
def test_weights_count_examples_as_often(name: str) -> None:
    labels, logits = made(40)
    counts = np.random.default_rng(1).integers(0, 4, 40)
    metric, rows = METRICS[name], np.repeat(np.arange(40), counts)
    weighted = metric.weighted_scores(labels, metric.decode(logits), counts[None], 5)
    assert weighted[0] == pytest.approx(metric(labels[rows], logits[rows]), abs=1e-9)


@pytest.mark.parametrize("name", [name for name in METRICS.known if METRICS[name].influence is not None])
def test_influence_is_what_one_more_example_changes(name: str) -> None:
    labels, logits = made(60)
    metric, small = METRICS[name], 1e-6
    cells = joint_counts(labels, metric.decode(logits)[None], classes=5)
    found, base = influence(cells, metric), observed_scores(cells, metric)[0]
    assert found is not None and abs((found[0] * cells.counts).mean()) < 1e-9
    for place in (0, 7, 31):
        weights = np.ones((1, 60))
        weights[0, place] += small
        moved = metric.weighted_scores(cells.labels, cells.predictions[0], weights, 5)[0]
        assert found[0, place] == pytest.approx((moved - base) / small * 60, abs=1e-3)


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "mean_average_precision"])
def test_intervals_and_tests_hold_several_labels(name: str) -> None:
    labels, logits = made(120)
    metric, noise = METRICS[name], np.random.default_rng(2).normal(size=(4, *logits.shape))
    good, bad = (metric.decode(logits + scale * noise) for scale in (0.1, 3.0))
    interval = example_interval(labels, good, classes=5, rng=np.random.default_rng(0), metric=metric)
    assert interval.low < interval.estimate < interval.high
    assert crossed_difference(labels, good, bad, classes=5, metric=metric).p_value < 0.05
    same = crossed_difference(labels, good, good, classes=5, metric=metric)
    assert same.interval.low <= 0 <= same.interval.high and same.interval.high > same.interval.low


def test_imagined_examples_hold_each_label_found_and_missed() -> None:
    labels, logits = made(20)
    cells = joint_counts(labels, MULTI_LABEL.outputs.predicted(np.stack([logits, logits])), classes=5)
    more = with_pseudo_examples(cells, 1)
    assert more.n == cells.n + 10 and more.labels[20:].sum() == 10
    hits = (more.predictions[:, 20:] == more.labels[20:]).all(2)
    assert (hits[0] != hits[1]).all()


def test_labels_that_do_not_fit_are_refused() -> None:
    labels, logits = made(5)
    for wrong in (labels[:, :3], labels + 1, labels[:, 0]):
        with pytest.raises(ValueError, match=r"0 or 1|are needed"):
            METRICS["macro_f1"](wrong, logits)
    with pytest.raises(ValueError, match="label names"):
        MULTI_LABEL.score(labels, logits, ["a"])


def test_scores_by_label_are_those_of_scikit_learn() -> None:
    labels, logits = made()
    found = MULTI_LABEL.score(labels, logits, list("abcde"))
    expected = sk.precision_recall_fscore_support(labels, logits > 0, zero_division=0)
    for number, one in enumerate(found.per_class):
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx(
            [part[number] for part in expected]
        )
    assert found.confusion == []


def test_thresholds_are_those_of_the_best_f1_of_each_label() -> None:
    labels, logits = made(60, seed=3)
    labels[:, 3] = 1
    found = tuned_thresholds(labels, logits)
    assert found[3] == found[4] == 0.5  # all texts have the one label, and none the other
    shares = expit(logits.astype(np.float64))
    for label in range(3):
        cuts, truth = np.linspace(0.001, 0.999, 999), labels[:, label] == 1
        given = shares[:, label] > cuts[:, None]
        tried = 2 * (given & truth).sum(1) / (given.sum(1) + truth.sum())
        mine = sk.f1_score(truth, shares[:, label] > found[label])
        assert mine >= tried.max() - 1e-12
        nearest = np.abs(cuts - 0.5)[tried > mine - 1e-12].min()
        assert abs(found[label] - 0.5) <= nearest + 0.1


def test_a_label_whose_probability_is_the_same_for_all_texts_keeps_one_half() -> None:
    """Nothing was learned of it; giving it to all texts would have the best F1."""
    assert tuned_thresholds(np.array([[1], [0], [0]]), np.full((3, 1), -6.0)) == (0.5,)


def test_thresholds_of_many_texts_take_little_memory() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, (20_000, 1), dtype=np.int8), rng.normal(size=(20_000, 1))
    tracemalloc.start()
    try:
        tuned_thresholds(labels, logits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24  # one byte for each text and cut would be 400 MB


def test_thresholds_move_predictions_and_nothing_else() -> None:
    labels, logits = made()
    task = MULTI_LABEL.at((0.2, 0.5, 0.8, 0.1, 0.5))
    shares = expit(logits)
    assert (task.outputs.predicted(logits) == (shares > [0.2, 0.5, 0.8, 0.1, 0.5])).all()
    for name in METRICS.known:
        same = task.metric(name)(labels, logits) == METRICS[name](labels, logits)
        assert same == (METRICS[name].needs != "labels"), name
    with pytest.raises(ValueError, match="one threshold"):
        CLASSIFICATION.at((0.5, 0.5))


def test_a_label_that_only_the_surest_texts_have_is_still_given() -> None:
    logits = np.array([[80.0], [60.0], [39.0], [38.0]])
    thresholds = tuned_thresholds(np.array([[1], [1], [0], [0]]), logits)
    assert thresholds[0] < 1
    assert SeveralLabels(thresholds).predicted(logits)[0] == 1


def test_a_selection_split_is_scored_at_thresholds_tuned_on_it_where_the_run_tunes_them() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((60, 4)) < 0.2).astype(np.int8)
    logits = (labels + rng.normal(size=labels.shape) - 4).astype(np.float32)
    fixed = MULTI_LABEL.selection_metrics(labels, logits, "macro_f1")
    found = replace(MULTI_LABEL, tunes_thresholds=True).selection_metrics(labels, logits, "macro_f1")
    by_hand = MULTI_LABEL.at(tuned_thresholds(labels, logits)).metric("macro_f1")(labels, logits)
    assert found["macro_f1"] == by_hand > 0.3 > fixed["macro_f1"]
    assert found["loss"] == fixed["loss"]
