"""Temperature scaling: what it chooses, and that no winner changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.temperature import tempered, tuned_temperature


@given(
    arrays(np.float32, (3, 4), elements=st.floats(-30, 30, width=32)),
    st.floats(0.05, 20),
)
@settings(max_examples=200, deadline=None)
def test_the_winner_stays_the_winner(logits: np.ndarray, temperature: float) -> None:
    # A rival that is as near as numbers come.
    logits[1, 3] = np.nextafter(logits[1, :3].max(), np.float32(np.inf))
    found = tempered(logits, temperature)
    assert found.dtype == np.float32 and (found.argmax(1) == logits.argmax(1)).all()
    np.testing.assert_allclose(found, logits.astype(np.float64) / temperature, rtol=1e-5, atol=1e-30)
    assert tempered(logits, None) is logits


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("several", [False, True])
def test_the_temperature_that_made_the_labels_is_found(truth: float, several: bool) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6000, 3))
    if several:
        task, labels = MULTI_LABEL, (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    else:
        task = CLASSIFICATION
        labels = (rng.random((6000, 1)) > softmax(logits, 1).cumsum(1)[:, :2]).sum(1)
    assert tuned_temperature(task, labels, logits * truth) == pytest.approx(truth, rel=0.08)


def test_of_all_temperatures_none_has_a_smaller_loss() -> None:
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 3, 50), rng.normal(0, 5, (50, 3))
    found, loss = tuned_temperature(CLASSIFICATION, labels, logits), CLASSIFICATION.metrics["log_loss"]
    slow = min(loss(labels, logits / np.exp(place)) for place in np.linspace(-2.9, 2.9, 601))
    assert loss(labels, logits / found) <= slow + 1e-6


def test_texts_that_are_all_right_scale_nothing() -> None:
    labels = np.arange(12) % 3
    logits = np.eye(3)[labels] * np.linspace(1, 2, 12)[:, None]
    assert tuned_temperature(CLASSIFICATION, labels, logits) == 1.0
