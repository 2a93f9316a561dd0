"""Cohen's kappa: agreement of predictions and labels beyond what chance gives."""

from __future__ import annotations

import numpy as np

from tunebench.tasks.metric import Metric


def kappa(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Return (agreement - chance) / (1 - chance); NaN where chance alone agrees always."""
    from sklearn.metrics import cohen_kappa_score

    if len(np.union1d(labels, predicted)) < 2:
        return float("nan")
    return float(cohen_kappa_score(labels, predicted))


KAPPA = Metric(
    name="kappa",
    label="Cohen's kappa",
    direction="max",
    function=kappa,
    bounds=(-1.0, 1.0),
    undefined="labels and predictions hold one and the same class",
)
