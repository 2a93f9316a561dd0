"""Logistic regressions: fitted by scikit-learn, one a value of C, and kept in fp32.

What is scored is what is stored: the coefficients are rounded to fp32 before anything is predicted.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import DataError, StoreError

#: Iterations of the solver; on rows of length 1 it needs some tens to hundreds.
_MAX_ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class Logistic:
    """A logistic regression.

    Attributes:
        coefficients: fp32 ``(rows, features)``: one row a class, or one in all for two classes.
        intercepts: fp32 ``(rows,)``.
        setting: The C it was fitted with; None when it was read from disk.
        iterations: Of the solver; each is a pass over all training texts.
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
        """Return fp32 logits ``(texts, classes)``; see :func:`class_logits`."""
        return class_logits(features, self.coefficients, self.intercepts)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored, by name."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Logistic:
        """Return the regression of stored :attr:`arrays`."""
        return cls(arrays["coefficients"], arrays["intercepts"])


def class_logits(features: Any, coefficients: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    """Return a logistic regression's fp32 logits, one column a class also where it has one row for two classes.

    Args:
        features: ``(texts, features)``, sparse or not.
        coefficients: ``(rows, features)``.
        intercepts: ``(rows,)``.
    """
    scores: np.ndarray = np.asarray(features @ coefficients.T) + intercepts
    if scores.shape[1] == 1:
        scores = np.concatenate([-scores / 2, scores / 2], axis=1)
    return np.asarray(scores, dtype=np.float32)


def fit_path(
    features: Any, labels: np.ndarray, grid: Sequence[float], weights: np.ndarray | None = None
) -> Iterator[Logistic]:
    """Fit one regression a value of C, each when it is asked for.

    Args:
        features: ``(texts, features)``, sparse or not.
        labels: Integers of shape ``(texts,)``, of two classes or more; or 0/1 of shape ``(texts, labels)``, where
            each label is fitted by itself.
        grid: Values of C, the inverse strength of the L2 penalty.
        weights: Of each label in the loss; None weighs all alike. Of several labels it counts where a text has it.

    Yields:
        The regressions. Their rows are the classes that ``labels`` holds, ascending; or one a label.
    """
    if labels.ndim == 2:
        yield from _fit_each(features, labels, grid, weights)
        return
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    products = 4.0 * (features.nnz if hasattr(features, "nnz") else features.size)
    given = None if weights is None else {label: weights[label] for label in np.unique(labels).tolist()}
    model = LogisticRegression(max_iter=_MAX_ITERATIONS, class_weight=given)
    for c in grid:
        begin = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said in the record
            model.set_params(C=c).fit(features, labels)
        iterations = int(np.max(model.n_iter_))
        yield Logistic(
            model.coef_.astype(np.float32),
            model.intercept_.astype(np.float32),
            setting=float(c),
            iterations=iterations,
            converged=iterations < _MAX_ITERATIONS,
            seconds=time.monotonic() - begin,
            flops=products * len(model.coef_) * iterations,
        )


def _fit_each(
    features: Any, labels: np.ndarray, grid: Sequence[float], weights: np.ndarray | None
) -> Iterator[Logistic]:
    """Fit one regression a label against its absence. One that all texts have, or none, gets its log odds alone."""
    texts = len(labels)
    varying = [label for label in range(labels.shape[1]) if 0 < labels[:, label].sum() < texts]
    pairs = {label: None if weights is None else np.array([1.0, weights[label]]) for label in varying}
    paths = {label: fit_path(features, labels[:, label].astype(np.int64), grid, pairs[label]) for label in varying}
    counts = labels.sum(0, dtype=np.float64)
    odds = np.log((counts + 0.5) / (texts - counts + 0.5)).astype(np.float32)
    for c in grid:
        coefficients = np.zeros((labels.shape[1], features.shape[1]), dtype=np.float32)
        intercepts, fitted = odds.copy(), [next(paths[label]) for label in varying]
        for label, one in zip(varying, fitted, strict=True):
            coefficients[label], intercepts[label] = one.coefficients[0], one.intercepts[0]
        yield Logistic(
            coefficients,
            intercepts,
            setting=float(c),
            iterations=max((one.iterations for one in fitted), default=0),
            converged=all(one.converged for one in fitted),
            seconds=sum(one.seconds for one in fitted),
            flops=sum(one.flops for one in fitted),
        )


def require_classes(labels: np.ndarray, classes: int) -> None:
    """Refuse labels that lack a class; where a text may have several, they may lack any.

    Raises:
        DataError: They do.
    """
    missing = sorted(set(range(classes)) - set(np.unique(labels).tolist())) if labels.ndim == 1 else []
    if missing:
        raise DataError("The training part lacks a class.", value=missing, fix="a larger training size")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a safetensors file, by rename."""
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
