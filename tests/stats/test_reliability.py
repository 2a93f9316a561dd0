"""Calibration against loops and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, log_loss

from tunebench.stats import Calibration, CalibrationError, calibration


def sample(
    rng: np.random.Generator, n: int, *, classes: int = 3, sharpen: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits; the logits handed out are sharpened."""
    logits = 2 * rng.standard_normal((n, classes))
    labels = (softmax(logits, axis=1).cumsum(1) < rng.random((n, 1))).sum(1)
    return np.minimum(labels, classes - 1), sharpen * logits


def slow_ece(labels: np.ndarray, logits: np.ndarray, edges: list[float]) -> float:
    probabilities = softmax(logits, axis=1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, row in enumerate(probabilities) if low < row.max() <= high]
        if inside:
            right = sum(probabilities[i].argmax() == labels[i] for i in inside) / len(inside)
            sure = sum(probabilities[i].max() for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(right - sure)
    return total


def run(labels: np.ndarray, logits: np.ndarray, bins: int = 10) -> Calibration:
    return calibration(labels, logits, rng=np.random.default_rng(0), bins=bins)


@pytest.mark.parametrize("classes", [2, 5])
def test_both_errors_are_those_of_loops_over_the_bins(classes: int) -> None:
    labels, logits = sample(np.random.default_rng(1), 237, classes=classes, sharpen=2.0)
    found = run(labels, logits)
    assert found.equal_width.value == pytest.approx(slow_ece(labels, logits, [i / 10 for i in range(11)]))
    confidence = softmax(logits, axis=1).max(1)
    edges = [0.0, *(float(np.quantile(confidence, i / 10)) for i in range(1, 10)), 1.0]
    assert found.equal_mass.value == pytest.approx(slow_ece(labels, logits, edges))
    assert {b.count for b in found.equal_mass.bins} <= {23, 24}
    assert (found.equal_width.scheme, found.equal_mass.scheme) == ("equal width", "equal mass")


def test_reliability_data_add_up() -> None:
    labels, logits = sample(np.random.default_rng(2), 300)
    found = run(labels, logits)
    for error in (found.equal_width, found.equal_mass):
        assert sum(b.count for b in error.bins) == 300
        full = [b for b in error.bins if b.count]
        parts = [b.count * abs(b.accuracy.estimate - b.confidence) for b in full if b.accuracy and b.confidence]
        assert len(parts) == len(full) and sum(parts) / 300 == pytest.approx(error.value)
        for each in full:
            assert each.confidence is not None and each.low < each.confidence <= each.high
            assert each.accuracy is not None and each.accuracy.method == "Wilson"
    empty = [b for b in found.equal_width.bins if not b.count]
    assert empty and all(b.confidence is None and b.accuracy is None for b in empty)


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_and_log_loss_are_sklearns(classes: int) -> None:
    labels, logits = sample(np.random.default_rng(3), 150, classes=classes)
    found, probabilities = run(labels, logits), softmax(logits, axis=1)
    truth = np.eye(classes)[labels]
    assert found.brier.estimate == pytest.approx(
        np.mean([sum((p - t) ** 2) for p, t in zip(probabilities, truth, strict=True)])
    )
    if classes == 2:
        assert found.brier.estimate == pytest.approx(2 * brier_score_loss(labels, probabilities[:, 1]))
    assert found.log_loss.estimate == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))
    assert found.over == found.brier.over == found.log_loss.over == "test examples"


def test_several_labels_are_one_decision_for_each_label_of_each_text() -> None:
    rng = np.random.default_rng(7)
    logits = 2 * rng.standard_normal((90, 4)) - 1
    labels = (rng.random((90, 4)) < expit(logits)).astype(int)
    found = run(labels, 2 * logits)
    # The same decisions as texts of two classes, whose confidence is that of the label.
    shares, total = expit(2 * logits), 0.0
    for low, high in itertools.pairwise(i / 10 for i in range(11)):
        inside = (low < shares) & (shares <= high)
        if inside.any():
            total += inside.sum() / inside.size * abs(labels[inside].mean() - shares[inside].mean())
    assert found.equal_width.value == pytest.approx(total)
    assert sum(b.count for b in found.equal_mass.bins) == 360 and found.n_examples == 90 and not found.exclusive
    assert found.brier.estimate == pytest.approx(
        np.mean([brier_score_loss(labels[:, i], shares[:, i]) for i in range(4)])
    )
    assert found.log_loss.estimate == pytest.approx(
        np.mean([log_loss(labels[:, i], shares[:, i], labels=[0, 1]) for i in range(4)])
    )
    with pytest.raises(ValueError, match="must be 0 or 1"):
        run(labels + 1, logits)


def test_draws_in_blocks_are_the_draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = sample(np.random.default_rng(8), 101)
    whole = run(labels, logits)
    monkeypatch.setattr("tunebench.stats.reliability._AT_ONCE", 707)
    assert run(labels, logits) == whole


def test_loss_intervals_cover() -> None:
    rng = np.random.default_rng(4)
    labels, logits = sample(rng, 200000)
    truth = calibration(labels, logits, rng=rng, resamples=1)
    covered = np.zeros(2)
    for _ in range(300):
        index = rng.integers(0, 200000, 200)
        found = calibration(labels[index], logits[index], rng=rng, resamples=1)
        for i, (one, true) in enumerate(((found.brier, truth.brier), (found.log_loss, truth.log_loss))):
            covered[i] += one.low <= true.estimate <= one.high
    assert ((0.92 <= covered / 300) & (covered / 300 <= 0.98)).all()


def test_a_calibrated_classifier_stays_under_its_bound_and_a_sharpened_one_does_not() -> None:
    rng = np.random.default_rng(5)

    def over(sharpen: float) -> list[bool]:
        labels, logits = sample(rng, 400, sharpen=sharpen)
        found = calibration(labels, logits, rng=rng, resamples=100)
        errors: list[CalibrationError] = [found.equal_width, found.equal_mass]
        assert min(error.value for error in errors) > 0.005  # never 0, calibrated or not: what the bound is for
        return [error.value > error.if_calibrated for error in errors]

    exceeded = np.mean([over(1.0) for _ in range(300)], axis=0)
    assert ((0.02 <= exceeded) & (exceeded <= 0.08)).all()
    assert np.mean([over(2.5) for _ in range(20)]) == 1


def test_log_probabilities_serve_as_logits_and_ties_share_a_bin() -> None:
    labels, logits = sample(np.random.default_rng(6), 100)
    assert run(labels, np.log(softmax(logits, axis=1))).log_loss.estimate == pytest.approx(
        run(labels, logits).log_loss.estimate
    )
    same = run(np.array([0, 1, 1, 1]), np.tile([0.0, 1.0], (4, 1)))
    assert [b.count for b in same.equal_mass.bins if b.count] == [4]
    certain = run(np.array([0, 1]), np.array([[900.0, -900.0], [900.0, -900.0]]))
    assert certain.equal_width.value == 0.5 and certain.log_loss.estimate == 900


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    found = run(np.array([0, 1]), np.zeros((2, 2)))
    assert [(b.low, b.high) for b in found.equal_width.bins if b.count] == [(0.4, 0.5)]


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        ([0, 1], [[0.0, 1.0]]),
        ([0], [[0.0, 1.0]]),
        ([0, 2], [[0.0, 1.0], [0.0, 1.0]]),
        ([0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]]),
        ([0, 1], [[0.0, float("nan")], [0.0, 1.0]]),
        ([0, 1], [0.0, 1.0]),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[int], logits: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"labels|logits"):
        run(np.array(labels), np.array(logits))
