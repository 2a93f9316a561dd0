"""The logarithm of the softmax, without scipy: its import takes longer than reading a study's records."""

from __future__ import annotations

import numpy as np


def log_softmax(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the logarithm of the softmax along an axis; bit-identical to ``scipy.special.log_softmax``.

    Args:
        values: Finite numbers.
        axis: The axis whose probabilities sum to 1.
    """
    shifted = values - values.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))
