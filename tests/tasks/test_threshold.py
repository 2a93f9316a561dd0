"""The threshold of two classes, against every threshold there could be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.thresholds import tuned_threshold


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "balanced_accuracy", "auroc"])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_is_better(metric: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(40) < 0.2).astype(np.int64)
    logits = rng.normal(0, 1, (40, 2)).astype(np.float32)
    logits[:, 1] += labels - 1
    (found,) = tuned_threshold(CLASSIFICATION, labels, logits, metric)
    score = CLASSIFICATION.metrics["macro_f1" if metric == "auroc" else metric]

    def at(threshold: float) -> float:
        shares = expit((logits[:, 1] - logits[:, 0]).astype(np.float64))
        answers = np.eye(2)[(shares > threshold).astype(int)]
        return score(labels, answers.astype(np.float32))

    own = CLASSIFICATION.at((found,)).metric(score.name)(labels, logits)
    assert own == pytest.approx(at(found))
    best = max(at(threshold) for threshold in np.linspace(0.001, 0.999, 2_000))
    assert own >= best - 1e-12
    if at(0.5) == own:
        assert found == 0.5, "of equal ones it is the usual one"


@pytest.mark.parametrize("odd", [(0.5, 0.5), (1.0,), (0.0,), ()])
def test_a_threshold_is_one_number_between_0_and_1(odd: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one threshold"):
        CLASSIFICATION.at(odd)


def test_a_threshold_is_for_two_classes() -> None:
    with pytest.raises(ValueError, match="for two classes"):
        CLASSIFICATION.at((0.3,)).outputs.predicted(np.zeros((4, 3)))
