"""Temperature scaling: one number, chosen on validation, that logits are divided by (Guo et al. 2017).

Probabilities then fit how often they are right; which label wins stays the same. See arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tunebench.tasks.base import Task

#: The loss of labels and logits.
Loss = Callable[[np.ndarray, np.ndarray], float]
#: Whether the probabilities of a trained run are scaled.
Calibration = Literal["none", "temperature"]
#: Temperatures lie between the reciprocal and this.
_LARGEST = 20.0
#: A logarithm as near as this to that of the smallest one lies at the end of the range.
_EDGE = 0.01


def tuned_temperature(task: Task, labels: np.ndarray, logits: np.ndarray, loss: Loss | None = None) -> float:
    """Return the temperature with the smallest loss on these texts; 1 where none is better.

    Where all texts are right, the smaller the better: such texts say nothing of the temperature, and it is 1.

    Args:
        task: What was learned.
        labels: Of texts that were not trained on.
        logits: Of shape ``(texts, labels)``.
        loss: A loss of labels and logits; by default the task's.
    """
    # Slow to import, and every study file is read with this module.
    from scipy.optimize import minimize_scalar

    values, lossy = np.asarray(logits, dtype=np.float64), loss or task.metrics[task.loss]
    bound = float(np.log(_LARGEST))
    found = minimize_scalar(
        lambda place: lossy(labels, values / np.exp(place)), bounds=(-bound, bound), method="bounded"
    )
    better = found.fun < lossy(labels, values) and found.x > -bound + _EDGE
    return float(np.exp(found.x)) if better else 1.0


def tempered(logits: np.ndarray, temperature: float | None) -> np.ndarray:
    """Return float32 logits divided by a temperature; as they are for None.

    The largest logit of a text stays the largest: where rounding makes two equal, the winner gets the next number.
    """
    if temperature is None:
        return logits
    found = (np.asarray(logits, dtype=np.float64) / temperature).astype(np.float32)
    winners = logits.argmax(-1)
    rows = np.flatnonzero(found.argmax(-1) != winners)
    found[rows, winners[rows]] = np.nextafter(found[rows].max(-1), np.float32(np.inf))
    return found
