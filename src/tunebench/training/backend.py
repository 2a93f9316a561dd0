"""What every backend gives."""

from __future__ import annotations

import numpy as np

#: Logits of the test part, its labels, and the seconds that scoring took.
Predicted = tuple[np.ndarray, np.ndarray, float]
