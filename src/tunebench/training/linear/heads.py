"""Linear functions of features, kept in fp32; :mod:`tunebench.training.linear.fit` fits them.

What is scored is what is stored: the coefficients are rounded to fp32 before anything is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.errors import DataError, StoreError
from tunebench.files import replacing
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear function of features, one row an output.

    Attributes:
        coefficients: fp32 ``(rows, features)``.
        intercepts: fp32 ``(rows,)``.
        setting: The C it was fitted with; None when it was read from disk.
        iterations: Of the solver; each goes over all training texts at least once.
        converged: Whether the solver stopped by itself.
        seconds: Time of the fit.
        flops: Operations of the fit's products: two of the feature matrix an iteration.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray
    setting: float | None = None
    iterations: int = 0
    converged: bool = True
    seconds: float = 0.0
    flops: float = 0.0

    @property
    def parameters(self) -> int:
        """Number of coefficients and intercepts."""
        return int(self.coefficients.size + self.intercepts.size)

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 outputs ``(texts, rows)`` of features ``(texts, features)``, sparse or not."""
        return np.asarray(np.asarray(features @ self.coefficients.T) + self.intercepts, dtype=np.float32)

    def over(self, temperature: float) -> Self:
        """Return the function whose outputs are those of this one divided by a number."""
        coefficients, intercepts = (
            (array / temperature).astype(np.float32) for array in (self.coefficients, self.intercepts)
        )
        return replace(self, coefficients=coefficients, intercepts=intercepts)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored, by name."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}


class NumberHead(LinearHead):
    """One row, which gives a number in the unit of the data."""


class ClassHead(LinearHead):
    """One row a class, or one in all for two classes; or one a label."""

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)``; see :func:`class_logits`."""
        return class_logits(features, self.coefficients, self.intercepts)


#: What is fitted, by task.
HEADS: dict[str, type[LinearHead]] = {
    CLASSIFICATION.name: ClassHead,
    MULTI_LABEL.name: ClassHead,
    REGRESSION.name: NumberHead,
}


def stored_head(arrays: Mapping[str, np.ndarray], task: Task) -> LinearHead:
    """Return the model of stored :attr:`~LinearHead.arrays`."""
    return HEADS[task.name](arrays["coefficients"], arrays["intercepts"])


def class_logits(features: Any, coefficients: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    """Return a linear classifier's fp32 logits, one column a class also where it has one row for two classes.

    Args:
        features: ``(texts, features)``, sparse or not.
        coefficients: ``(rows, features)``.
        intercepts: ``(rows,)``.
    """
    scores: np.ndarray = np.asarray(features @ coefficients.T) + intercepts
    if scores.shape[1] == 1:
        scores = np.concatenate([-scores / 2, scores / 2], axis=1)
    return np.asarray(scores, dtype=np.float32)


def require_classes(labels: np.ndarray, classes: int) -> None:
    """Refuse labels that lack a class. Where a text may have several, they may lack any; numbers are no classes.

    Raises:
        DataError: They do.
    """
    one_each = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    missing = sorted(set(range(classes)) - set(np.unique(labels).tolist())) if one_each else []
    if missing:
        raise DataError("The training part lacks a class.", value=missing, fix="a larger training size")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a safetensors file, by rename."""
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays of a safetensors file.

    Raises:
        StoreError: The file is missing or damaged, or lacks one of them.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
        return {name: arrays[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"The weights cannot be read: {error}", value=str(path)) from None
