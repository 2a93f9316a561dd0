"""Metrics against slow definitions."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.metrics import BUILT_IN, METRICS


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    classes, n = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    logits = draw(hnp.arrays(np.float32, (n, classes), elements=st.floats(-50, 50, width=32)))
    return labels, logits


def slow_f1(labels: list[int], predicted: list[int], which: int) -> float:
    both = sum(a == which and b == which for a, b in zip(labels, predicted, strict=True))
    said, true = predicted.count(which), labels.count(which)
    return 2 * both / (said + true) if said + true else 0.0


def slow_log_loss(labels: list[int], logits: list[list[float]]) -> float:
    total = 0.0
    for label, row in zip(labels, logits, strict=True):
        top = max(row)
        total += top + math.log(math.fsum(math.exp(value - top) for value in row)) - row[label]
    return total / len(labels)


def slow_mcc(labels: list[int], predicted: list[int], classes: range) -> float:
    """Gorodkin's (2004) correlation of the indicators of labels and predictions, summed over classes."""
    n = len(labels)

    def covariance(a: list[int], b: list[int]) -> float:
        return sum(
            a.count(c) * -b.count(c) / n + sum(x == y == c for x, y in zip(a, b, strict=True)) for c in classes
        )

    below = covariance(labels, labels) * covariance(predicted, predicted)
    return covariance(labels, predicted) / math.sqrt(below) if below > 1e-12 else math.nan


def slow_auroc(truth: list[bool], values: list[float]) -> float:
    """Share of pairs of one example inside and one outside the class that are in the right order."""
    inside = [v for v, t in zip(values, truth, strict=True) if t]
    outside = [v for v, t in zip(values, truth, strict=True) if not t]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    return sum(pairs) / len(pairs) if pairs else math.nan


def slow_average_precision(truth: list[bool], values: list[float]) -> float:
    """Sum over thresholds of the precision there, times what recall it adds."""
    if all(truth) or not any(truth):
        return math.nan
    total, recall = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        said = [t for t, v in zip(truth, values, strict=True) if v >= threshold]
        total += sum(said) / len(said) * (sum(said) / sum(truth) - recall)
        recall = sum(said) / sum(truth)
    return total


def slow_ece(labels: list[int], predicted: list[int], confidence: list[float]) -> float:
    total = 0.0
    for k in range(15):
        inside = [i for i, c in enumerate(confidence) if k / 15 < c <= (k + 1) / 15]
        total += abs(sum(labels[i] == predicted[i] for i in inside) - sum(confidence[i] for i in inside))
    return total / len(labels)


def slow(labels: list[int], logits: list[list[float]]) -> dict[str, float]:
    """Return all metrics by their textbook definitions."""
    classes, n = range(len(logits[0])), len(labels)
    predicted = [row.index(max(row)) for row in logits]
    hits = [a == b for a, b in zip(labels, predicted, strict=True)]
    rows = softmax(np.array(logits), axis=1).tolist()  # ranks depend on its last digit
    f1 = [slow_f1(labels, predicted, c) for c in classes]
    recalls = [sum(h for h, y in zip(hits, labels, strict=True) if y == c) / labels.count(c) for c in set(labels)]
    columns = [([y == c for y in labels], [row[c] for row in rows]) for c in classes]
    return {
        "macro_f1": sum(f1) / len(f1),
        "micro_f1": 2 * sum(hits) / (n + n),
        "weighted_f1": sum(score * labels.count(c) for c, score in enumerate(f1)) / n,
        "accuracy": sum(hits) / n,
        "balanced_accuracy": sum(recalls) / len(recalls),
        "mcc": slow_mcc(labels, predicted, classes),
        "log_loss": slow_log_loss(labels, logits),
        "auroc": sum(slow_auroc(*column) for column in columns) / len(columns),
        "average_precision": sum(slow_average_precision(*column) for column in columns) / len(columns),
        "brier": sum((p - (c == y)) ** 2 for y, row in zip(labels, rows, strict=True) for c, p in enumerate(row))
        / n,
        "ece": slow_ece(labels, predicted, [max(row) for row in rows]),
    }


@settings(max_examples=100, deadline=None)
@given(predictions())
def test_metrics_equal_their_slow_definitions(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = case
    classes = range(logits.shape[1])
    expected = slow(labels.tolist(), logits.astype(float).tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {name: metric(labels, logits) for name, metric in METRICS.items()}
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    for name, metric in METRICS.items():
        low, high = metric.bounds
        value = found[name]
        assert math.isnan(value) or (
            (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)
        )
        if metric.per_example is not None:
            each = metric.per_example(labels, metric.decode(logits), len(classes))
            assert each.mean() == pytest.approx(value)

    scores = CLASSIFICATION.score(labels, logits, [f"class {c}" for c in classes])
    predicted = logits.argmax(1).tolist()
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    for true, said in zip(labels.tolist(), predicted, strict=True):
        confusion[true, said] += 1
    assert scores.confusion == confusion.tolist()
    for c, one in zip(classes, scores.per_class, strict=True):
        assert one.label == f"class {c}"
        assert one.support == labels.tolist().count(c)
        assert one.f1 == pytest.approx(slow_f1(labels.tolist(), predicted, c), abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "predicted", "undefined"),
    [
        ([0, 0, 0], [0, 1, 0], {"mcc", "auroc", "average_precision"}),  # one class among the labels
        ([0, 1, 0], [1, 1, 1], {"mcc"}),  # one class predicted
        ([0, 1, 0], [0, 1, 1], set()),
    ],
)
def test_what_is_not_defined_is_nan_with_a_reason(
    labels: list[int], predicted: list[int], undefined: set[str]
) -> None:
    values = {name: metric(np.array(labels), np.eye(2)[predicted]) for name, metric in METRICS.items()}
    assert {name for name, value in values.items() if math.isnan(value)} == undefined
    assert all("class" in METRICS[name].undefined for name in undefined)


@settings(max_examples=50, deadline=None)
@given(predictions(), st.data())
def test_weighted_forms_score_what_a_resample_holds(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    labels, logits = case
    classes, n = logits.shape[1], len(labels)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n)))
    counts = np.bincount(rows, minlength=n)[None]
    for name, metric in METRICS.items():
        values = metric.decode(logits)
        found = metric.weighted_scores(labels, values, counts, classes)[0]
        slow = metric.function(labels[rows], values[rows], classes)
        if not math.isnan(slow):
            assert found == pytest.approx(slow, abs=1e-9), name
        elif name in ("auroc", "average_precision"):  # those classes that can be ranked
            assert math.isnan(found) or 0 <= found <= 1
        else:
            assert math.isnan(found), name


def test_a_metric_without_a_weighted_form_is_scored_resample_by_resample() -> None:
    labels, logits = np.array([0, 1, 1, 0]), np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    plain = replace(METRICS["mcc"], weighted=None)
    counts = np.array([[1, 1, 1, 1], [3, 0, 1, 0], [0, 2, 1, 1]])
    values = plain.decode(logits)
    expected = METRICS["mcc"].weighted_scores(labels, values, counts, 2)
    assert plain.weighted_scores(labels, values, counts, 2) == pytest.approx(expected, nan_ok=True)


def test_a_closed_form_is_claimed_only_where_there_is_one() -> None:
    closed = {name for name, metric in METRICS.items() if metric.influence is not None}
    assert closed == {"macro_f1"} | {name for name, metric in METRICS.items() if metric.per_example is not None}


def test_an_absent_class_counts_as_zero() -> None:
    labels, logits = np.array([0, 1]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert METRICS["macro_f1"](labels, logits) == pytest.approx(2 / 3)
    assert CLASSIFICATION.score(labels, logits, ["a", "b", "c"]).per_class[2].support == 0


def test_log_loss_survives_extreme_logits() -> None:
    logits = np.array([[1e4, -1e4]], dtype=np.float32)
    assert METRICS["log_loss"](np.array([1]), logits) == pytest.approx(2e4)
    assert METRICS["log_loss"](np.array([0]), logits) == 0


def test_directions_are_right() -> None:
    labels = np.array([0, 1, 0, 1])
    good = np.eye(2)[labels] * 4
    good[0] = [1.0, 0.9]
    bad = -good
    bad[1] = [0.0, 1.0]
    for name, metric in METRICS.items():
        better, worse = metric(labels, good), metric(labels, bad)
        assert (better > worse) == (metric.direction == "max"), name
        assert metric.better(better, worse) and not metric.better(worse, better)
        assert metric.better(worse, None) and metric.better(worse, math.nan)
        assert not metric.better(math.nan, worse) and not metric.better(math.nan, None)
        assert not metric.better(better, better)


@pytest.mark.parametrize(
    ("labels", "logits", "words"),
    [
        ([0, 2], [[1, 0], [0, 1]], "from 0 to 1"),
        ([0, -1], [[1, 0], [0, 1]], "from 0 to 1"),
        ([0.0, 1.0], [[1, 0], [0, 1]], "integers"),
        ([0], [[1, 0], [0, 1]], "needed"),
        ([], np.zeros((0, 2)), "needed"),
        ([0, 1], [[1, 0], [math.nan, 1]], "not finite"),
        ([0, 1], [[1, 0], [math.inf, 1]], "not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels: list[float], logits: list[list[float]], words: str) -> None:
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=words):
            metric(np.array(labels), np.array(logits))


def test_one_name_a_class_is_needed() -> None:
    with pytest.raises(ValueError, match="3 label names for 2 classes"):
        CLASSIFICATION.score(np.array([0]), np.array([[1.0, 0.0]]), ["a", "b", "c"])


def test_the_docs_list_every_metric_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"
    ]
    assert [row[0].strip("`") for row in rows] == list(BUILT_IN)
    for name, _, better, _, variance in rows:
        metric = METRICS[name.strip("`")]
        assert better == ("larger" if metric.higher_is_better else "smaller")
        assert variance == ("bootstrap" if metric.influence is None else "closed form")
