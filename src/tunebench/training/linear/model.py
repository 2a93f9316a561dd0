"""TF-IDF and logistic regression as arrays: fitted by scikit-learn, kept without pickle.

What is scored is what is stored: the coefficients are rounded to fp32 before anything is predicted.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import DataError, StoreError
from tunebench.files import read_json, write_text

#: Iterations of the solver; on TF-IDF rows, which have length 1, it needs some tens to hundreds.
_MAX_ITERATIONS = 1000
WEIGHTS, VOCABULARY = "weights.safetensors", "vocabulary.json"


@dataclass(frozen=True, eq=False)
class LinearText:
    """A linear classifier of texts.

    Attributes:
        vocabulary: Features, one or several words each, in the order of the columns.
        idf: fp32 ``(features,)``.
        coefficients: fp32 ``(rows, features)``: one row a class, or one in all for two classes.
        intercepts: fp32 ``(rows,)``.
        ngrams: Longest run of words that is a feature.
        setting: The C it was fitted with; None when it was read from disk.
        iterations: Of the solver; each is a pass over all training texts.
        converged: Whether the solver stopped by itself.
        seconds: Time of the fit, its share of the counting included.
        flops: Operations of the fit's products: two of the sparse matrix an iteration.
    """

    vocabulary: tuple[str, ...]
    idf: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray
    ngrams: int
    setting: float | None = None
    iterations: int = 0
    converged: bool = True
    seconds: float = 0.0
    flops: float = 0.0

    @property
    def parameters(self) -> int:
        """Number of coefficients and intercepts; idf weights are counted from the texts, not trained."""
        return int(self.coefficients.size + self.intercepts.size)

    def features(self, texts: Sequence[str]) -> Any:
        """Return the TF-IDF rows of texts as a sparse fp32 matrix ``(texts, features)``."""
        vectorizer = _vectorizer(self.ngrams, vocabulary=self.vocabulary)
        vectorizer.idf_ = self.idf
        return vectorizer.transform(texts)

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)``; their softmax is the model's probability.

        Args:
            features: From :meth:`features`.
        """
        return class_logits(features, self.coefficients, self.intercepts)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``weights.safetensors`` and ``vocabulary.json``, each by rename, and return both paths."""
        from safetensors.numpy import save_file

        arrays = {"idf": self.idf, "coefficients": self.coefficients, "intercepts": self.intercepts}
        target, temporary = folder / WEIGHTS, folder / f".{WEIGHTS}.{os.getpid()}.tmp"
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        os.replace(temporary, target)
        write_text(folder / VOCABULARY, json.dumps(self.vocabulary, ensure_ascii=False) + "\n")
        return target, folder / VOCABULARY

    @classmethod
    def load(cls, folder: Path, *, ngrams: int) -> LinearText:
        """Read a model back.

        Raises:
            StoreError: A file is missing or damaged, or the two do not fit.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        vocabulary = read_json(folder / VOCABULARY)
        try:
            arrays = load_file(folder / WEIGHTS)
            found = cls(
                tuple(vocabulary), arrays["idf"], arrays["coefficients"], arrays["intercepts"], ngrams=ngrams
            )
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise StoreError(f"The weights cannot be read: {error}", value=str(folder / WEIGHTS)) from None
        if not len(vocabulary) == len(found.idf) == found.coefficients.shape[1]:
            raise StoreError("Vocabulary and weights do not belong together.", value=str(folder))
        return found


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


def fit_linear_text(
    texts: Sequence[str],
    labels: np.ndarray,
    *,
    classes: int,
    ngrams: int,
    min_documents: int,
    grid: Sequence[float],
) -> list[LinearText]:
    """Count the features once, and fit one logistic regression a C.

    Term frequencies enter as ``1 + ln(tf)``, rows have Euclidean length 1 (scikit-learn's smoothed idf).

    Args:
        texts: Training texts.
        labels: Integers of shape ``(texts,)``, every class among them.
        classes: Number of classes.
        ngrams: Longest run of words that is a feature.
        min_documents: Training texts that must hold a feature.
        grid: Values of C, the inverse strength of the L2 penalty.

    Raises:
        DataError: No feature is left, or a class is missing.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    begin = time.monotonic()
    missing = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
    if missing:
        raise DataError("The training part lacks a class.", value=missing, fix="a larger training size")
    vectorizer = _vectorizer(ngrams, min_df=min_documents)
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:
        raise _no_features(texts, ngrams=ngrams, min_documents=min_documents) from None
    counting = (time.monotonic() - begin) / len(grid)
    vocabulary = tuple(vectorizer.get_feature_names_out().tolist())
    idf = vectorizer.idf_.astype(np.float32)
    found = []
    for c in grid:
        begin = time.monotonic()
        model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said in the record
            model.fit(matrix, labels)
        iterations = int(np.max(model.n_iter_))
        found.append(
            LinearText(
                vocabulary,
                idf,
                model.coef_.astype(np.float32),
                model.intercept_.astype(np.float32),
                ngrams=ngrams,
                setting=float(c),
                iterations=iterations,
                converged=iterations < _MAX_ITERATIONS,
                seconds=counting + time.monotonic() - begin,
                flops=4.0 * matrix.nnz * len(model.coef_) * iterations,
            )
        )
    return found


def _no_features(texts: Sequence[str], *, ngrams: int, min_documents: int) -> DataError:
    """Return the error for texts that leave no feature: without a word, or without one in enough of them."""
    counted = Counter(term for text in texts for term in set(_vectorizer(ngrams).build_analyzer()(text)))
    if not counted:
        return DataError(
            "No training text holds a word that TF-IDF could count: two or more letters or digits in a row.",
            value=texts[0],
            fix="drop the strategies of the kind tfidf: they cannot tell such texts apart",
        )
    most = max(counted.values())
    return DataError(
        f"No word is in as many training texts as min_documents asks for; the most frequent one is in {most}.",
        value=f"min_documents: {min_documents}",
        allowed=f"at most {most} with these texts",
        fix=f"set min_documents: {most}, or a larger training size",
    )


def _vectorizer(ngrams: int, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True, dtype=np.float32, **options)
