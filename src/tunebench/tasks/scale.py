"""The scale that a head is trained on: numbers less their mean, over their standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scale:
    """A change of unit. Predictions and scores are always in the unit of the data.

    Attributes:
        shift: What is 0 on the scale.
        size: What is 1 on it, above :attr:`shift`.
    """

    shift: float = 0.0
    size: float = 1.0

    @classmethod
    def of(cls, numbers: np.ndarray) -> Scale:
        """Return the scale on which numbers have mean 0 and standard deviation 1; of equal ones, mean 0."""
        numbers = np.asarray(numbers, dtype=np.float64)
        return cls(float(numbers.mean()), float(numbers.std()) if np.ptp(numbers) else 1.0)

    @property
    def unchanged(self) -> bool:
        """Whether it is the data's own unit."""
        return self == AS_IT_IS

    def onto(self, values: np.ndarray) -> np.ndarray:
        """Return values of the data's unit on the scale."""
        return values if self.unchanged else np.asarray((values - self.shift) / self.size)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Return values on the scale in the data's unit, in double precision."""
        return values if self.unchanged else np.asarray(values.astype(np.float64) * self.size + self.shift)


#: The unit of the data.
AS_IT_IS = Scale()
