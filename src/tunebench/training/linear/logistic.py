"""Linear models: fitted by scikit-learn, one a value of C, and kept in fp32.

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
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION
from tunebench.tasks.scale import Scale

#: Iterations of the solver; on rows of length 1 it needs some tens to hundreds.
_MAX_ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear function of features, one row an output.

    Attributes:
        coefficients: fp32 ``(rows, features)``.
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
        """Return fp32 outputs ``(texts, rows)`` of features ``(texts, features)``, sparse or not."""
        return np.asarray(np.asarray(features @ self.coefficients.T) + self.intercepts, dtype=np.float32)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored, by name."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}


class Ridge(LinearHead):
    """A ridge regression (Hoerl and Kennard 1970): one row, which gives a number in the unit of the data."""


class Logistic(LinearHead):
    """A logistic regression: one row a class, or one in all for two classes; or one a label."""

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)``; see :func:`class_logits`."""
        return class_logits(features, self.coefficients, self.intercepts)


#: What is fitted, by task.
HEADS: dict[str, type[LinearHead]] = {
    CLASSIFICATION.name: Logistic,
    MULTI_LABEL.name: Logistic,
    REGRESSION.name: Ridge,
}


def stored_head(arrays: Mapping[str, np.ndarray], task: Task) -> LinearHead:
    """Return the model of stored :attr:`~LinearHead.arrays`."""
    return HEADS[task.name](arrays["coefficients"], arrays["intercepts"])


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
) -> Iterator[LinearHead]:
    """Fit one model a value of C, each when it is asked for.

    Args:
        features: ``(texts, features)``, sparse or not.
        labels: Integers of shape ``(texts,)``, of two classes or more; or 0/1 of shape ``(texts, labels)``, where
            each label is fitted by itself; or doubles of shape ``(texts,)``, the numbers to predict.
        grid: Values of C, the inverse strength of the L2 penalty.
        weights: Of each label in the loss; None weighs all alike. Of several labels it counts where a text has it.

    Yields:
        Logistic regressions, whose rows are the classes that ``labels`` holds, ascending, or one a label; or ridge
        regressions.
    """
    if labels.ndim == 2:
        yield from _fit_each(features, labels, grid, weights)
        return
    if np.issubdtype(labels.dtype, np.floating):
        yield from _fit_numbers(features, labels, grid)
        return
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

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
            flops=_products(features) * len(model.coef_) * iterations,
        )


def _products(features: Any) -> float:
    """Return the operations of two products with a feature matrix and one row of coefficients."""
    return 4.0 * float(features.nnz if hasattr(features, "nnz") else features.size)


def _fit_numbers(features: Any, labels: np.ndarray, grid: Sequence[float]) -> Iterator[Ridge]:
    """Fit ridge regressions, ``sum of squared errors + |coefficients|^2 / C``.

    Dense features are solved by their normal equations, which counts as one iteration; sparse ones by iterations.
    """
    from sklearn.linear_model import Ridge as Solver

    sparse = hasattr(features, "nnz")
    # On a scale of its own, so that the tolerance is relative to what there is to explain.
    scale = Scale.of(labels)
    wanted = scale.onto(labels).astype(features.dtype)
    for c in grid:
        begin = time.monotonic()
        options = {"solver": "lsqr", "max_iter": _MAX_ITERATIONS, "tol": 1e-6} if sparse else {"solver": "cholesky"}
        model = Solver(alpha=1 / c, **options).fit(features, wanted)
        iterations = int(np.max(model.n_iter_)) if sparse else 1
        yield Ridge(
            (np.atleast_2d(model.coef_) * scale.size).astype(np.float32),
            np.atleast_1d(model.intercept_ * scale.size + scale.shift).astype(np.float32),
            setting=float(c),
            iterations=iterations,
            converged=not sparse or iterations < _MAX_ITERATIONS,
            seconds=time.monotonic() - begin,
            flops=_products(features) * (iterations if sparse else features.shape[1] / 2),
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
