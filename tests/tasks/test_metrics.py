"""Metrics against slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tunebench.tasks.metrics import METRICS, score


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


@settings(max_examples=30, deadline=None)
@given(predictions())
def test_metrics_equal_their_slow_definitions(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = case
    classes = range(logits.shape[1])
    predicted = [row.index(max(row)) for row in logits.tolist()]
    expected = {
        "macro_f1": sum(slow_f1(labels.tolist(), predicted, c) for c in classes) / len(classes),
        "accuracy": sum(a == b for a, b in zip(labels.tolist(), predicted, strict=True)) / len(labels),
        "log_loss": slow_log_loss(labels.tolist(), logits.astype(float).tolist()),
    }
    found = {name: metric.function(labels, logits) for name, metric in METRICS.items()}
    assert found == pytest.approx(expected, abs=1e-9)

    scores = score(labels, logits, [f"class {c}" for c in classes])
    assert scores.model_dump(include=set(expected)) == pytest.approx(expected, abs=1e-9)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    for true, said in zip(labels.tolist(), predicted, strict=True):
        confusion[true, said] += 1
    assert scores.confusion == confusion.tolist()
    for c, one in zip(classes, scores.per_class, strict=True):
        assert one.label == f"class {c}"
        assert one.support == labels.tolist().count(c)
        assert one.f1 == pytest.approx(slow_f1(labels.tolist(), predicted, c), abs=1e-9)


def test_an_absent_class_counts_as_zero() -> None:
    labels, logits = np.array([0, 1]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert METRICS["macro_f1"].function(labels, logits) == pytest.approx(2 / 3)
    assert score(labels, logits, ["a", "b", "c"]).per_class[2].support == 0


def test_log_loss_survives_extreme_logits() -> None:
    logits = np.array([[1e4, -1e4]], dtype=np.float32)
    assert METRICS["log_loss"].function(np.array([1]), logits) == pytest.approx(2e4)
    assert METRICS["log_loss"].function(np.array([0]), logits) == 0


def test_directions_are_right() -> None:
    labels = np.array([0, 1, 0, 1])
    good = np.eye(2)[labels] * 4
    for name, metric in METRICS.items():
        better, worse = metric.function(labels, good), metric.function(labels, -good)
        assert (better > worse) == (metric.direction == "max"), name


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
            metric.function(np.array(labels), np.array(logits))


def test_one_name_a_class_is_needed() -> None:
    with pytest.raises(ValueError, match="3 label names for 2 classes"):
        score(np.array([0]), np.array([[1.0, 0.0]]), ["a", "b", "c"])
