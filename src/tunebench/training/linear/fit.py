"""Fit linear functions of features with scikit-learn, one a value of C."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tunebench.strategies.base import Head
from tunebench.tasks.scale import Scale
from tunebench.training.linear.heads import ClassHead, NumberHead

#: Iterations of the solver; on rows of length 1 it needs some tens to hundreds.
_MAX_ITERATIONS = 1000
#: Standard deviations of the numbers by which a support vector regression may be wrong at no cost.
_FREE = 0.1


def fit_path(
    features: Any,
    labels: np.ndarray,
    grid: Sequence[float],
    weights: np.ndarray | None = None,
    head: Head = "logistic",
) -> Iterator[ClassHead | NumberHead]:
    """Fit one model a value of C, each when it is asked for.

    Args:
        features: ``(texts, features)``, sparse or not.
        labels: Integers of shape ``(texts,)``, of two classes or more; or 0/1 of shape ``(texts, labels)``, where
            each label is fitted by itself; or doubles of shape ``(texts,)``, the numbers to predict.
        grid: Values of C, the inverse strength of the L2 penalty.
        weights: Of each label in the loss; None weighs all alike. Of several labels it counts where a text has it.
        head: What is fitted. The outputs of an SVM are its decision values.

    Yields:
        Functions whose rows are the classes that ``labels`` holds, ascending, or one a label; or of one row, which
        gives a number.
    """
    if labels.ndim == 2:
        yield from _fit_each(features, labels, grid, weights, head)
        return
    if np.issubdtype(labels.dtype, np.floating):
        yield from _fit_numbers(features, labels, grid, head)
        return
    given = None if weights is None else {label: weights[label] for label in np.unique(labels).tolist()}
    model = _classifier(head, given)
    for c in grid:
        begin = time.monotonic()
        _fit_quietly(model.set_params(C=c), features, labels)
        iterations = int(np.max(model.n_iter_))
        yield ClassHead(
            model.coef_.astype(np.float32),
            model.intercept_.astype(np.float32),
            setting=float(c),
            iterations=iterations,
            converged=iterations < _MAX_ITERATIONS,
            seconds=time.monotonic() - begin,
            flops=_products(features) * len(model.coef_) * iterations,
        )


def _classifier(head: Head, weights: dict[int, float] | None) -> Any:
    if head == "svm":
        from sklearn.svm import LinearSVC

        # The primal problem: its solver draws nothing at random, and needs some tens of iterations.
        return LinearSVC(dual=False, max_iter=_MAX_ITERATIONS, class_weight=weights)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=_MAX_ITERATIONS, class_weight=weights)


def _fit_quietly(model: Any, features: Any, labels: np.ndarray) -> None:
    """Fit; that the solver did not converge is said in the record."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)


def _products(features: Any) -> float:
    """Return the operations of two products with a feature matrix and one row of coefficients."""
    return 4.0 * float(features.nnz if hasattr(features, "nnz") else features.size)


def _fit_numbers(features: Any, labels: np.ndarray, grid: Sequence[float], head: Head) -> Iterator[NumberHead]:
    """Fit ridge regressions (Hoerl and Kennard 1970), ``sum of squared errors + |coefficients|^2 / C``.

    Dense features are solved by their normal equations, which counts as one iteration; sparse ones by iterations.
    As an SVM, fit support vector regressions: only what an error has beyond :data:`_FREE` counts, squared.
    """
    # On a scale of its own, so that the tolerance is relative to what there is to explain.
    scale = Scale.of(labels)
    wanted = scale.onto(labels).astype(features.dtype)
    iterates = hasattr(features, "nnz") or head == "svm"
    for c in grid:
        begin = time.monotonic()
        model = _regression(head, c, sparse=hasattr(features, "nnz"))
        _fit_quietly(model, features, wanted)
        iterations = int(np.max(model.n_iter_)) if iterates else 1
        yield NumberHead(
            (np.atleast_2d(model.coef_) * scale.size).astype(np.float32),
            np.atleast_1d(model.intercept_ * scale.size + scale.shift).astype(np.float32),
            setting=float(c),
            iterations=iterations,
            converged=not iterates or iterations < _MAX_ITERATIONS,
            seconds=time.monotonic() - begin,
            flops=_products(features) * (iterations if iterates else features.shape[1] / 2),
        )


def _regression(head: Head, c: float, *, sparse: bool) -> Any:
    if head == "svm":
        from sklearn.svm import LinearSVR

        loss = "squared_epsilon_insensitive"
        return LinearSVR(C=c, epsilon=_FREE, loss=loss, dual=False, max_iter=_MAX_ITERATIONS)
    from sklearn.linear_model import Ridge

    options = {"solver": "lsqr", "max_iter": _MAX_ITERATIONS, "tol": 1e-6} if sparse else {"solver": "cholesky"}
    return Ridge(alpha=1 / c, **options)


def _fit_each(
    features: Any, labels: np.ndarray, grid: Sequence[float], weights: np.ndarray | None, head: Head
) -> Iterator[ClassHead]:
    """Fit one function a label against its absence. One that all texts have, or none, gets its log odds alone."""
    texts = len(labels)
    varying = [label for label in range(labels.shape[1]) if 0 < labels[:, label].sum() < texts]
    pairs = {label: None if weights is None else np.array([1.0, weights[label]]) for label in varying}
    paths = {
        label: fit_path(features, labels[:, label].astype(np.int64), grid, pairs[label], head) for label in varying
    }
    counts = labels.sum(0, dtype=np.float64)
    odds = np.log((counts + 0.5) / (texts - counts + 0.5)).astype(np.float32)
    for c in grid:
        coefficients = np.zeros((labels.shape[1], features.shape[1]), dtype=np.float32)
        intercepts, fitted = odds.copy(), [next(paths[label]) for label in varying]
        for label, one in zip(varying, fitted, strict=True):
            coefficients[label], intercepts[label] = one.coefficients[0], one.intercepts[0]
        yield ClassHead(
            coefficients,
            intercepts,
            setting=float(c),
            iterations=max((one.iterations for one in fitted), default=0),
            converged=all(one.converged for one in fitted),
            seconds=sum(one.seconds for one in fitted),
            flops=sum(one.flops for one in fitted),
        )
