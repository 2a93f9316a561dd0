"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70).

A text is a suspect if a model that was not trained on it is confident of another class: its probability of that
class is at least the mean probability that texts with that label have of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Suspects:
    """Labels that are likely wrong, the most suspicious first.

    Attributes:
        rows: Positions of the texts, int64.
        likely: The class that the model is confident of, for each of them.
        margins: Probability of the given class less that of the likely one; ascending.
    """

    rows: np.ndarray
    likely: np.ndarray
    margins: np.ndarray


def find_suspects(probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """Find them.

    Args:
        probabilities: Of each class for each text, ``(texts, classes)``, from models that were not trained on it.
        labels: The given classes, integers ``(texts,)``.
    """
    own = probabilities[np.arange(len(labels)), labels]
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    # Of a class that no text has, nobody can be confident.
    mean = np.bincount(labels, weights=own, minlength=classes) / np.maximum(counts, 1)
    thresholds = np.where(counts > 0, mean, np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    likely = confident.argmax(1)
    sure = np.isfinite(confident.max(1))
    rows = np.flatnonzero(sure & (likely != labels))
    margins = own[rows] - probabilities[rows, likely[rows]]
    order = np.argsort(margins, kind="stable")
    return Suspects(rows[order], likely[rows][order], margins[order])
