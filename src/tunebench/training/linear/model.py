"""TF-IDF and a linear function of it as arrays, kept without pickle."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tunebench.data.text import Text
from tunebench.data.tokens import Cut
from tunebench.errors import DataError, StoreError
from tunebench.files import read_json, write_text
from tunebench.strategies.base import Head
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.training.imbalance import Weigh, unweighted
from tunebench.training.linear.fit import fit_path
from tunebench.training.linear.heads import LinearHead, read_arrays, require_classes, stored_head, write_arrays
from tunebench.training.linear.terms import Terms

WEIGHTS, VOCABULARY = "weights.safetensors", "vocabulary.json"


@dataclass(frozen=True, eq=False)
class LinearText:
    """A linear classifier of texts.

    Attributes:
        vocabulary: Features, terms each, in the order of the columns.
        idf: fp32 ``(features,)``. Counted from the texts, not trained.
        head: The function of the features.
        terms: Gives the terms of a text.
    """

    vocabulary: tuple[str, ...]
    idf: np.ndarray
    head: LinearHead
    terms: Terms

    #: Whole texts are read.
    max_length: ClassVar[int | None] = None
    cut: ClassVar[Cut | None] = None
    features_name: ClassVar[str] = "tfidf"

    @cached_property
    def _fixed(self) -> Any:
        """The vectorizer of this vocabulary; making it takes longer than a text."""
        vectorizer = _vectorizer(self.terms, vocabulary=self.vocabulary)
        vectorizer.idf_ = self.idf
        return vectorizer

    def features(self, texts: Sequence[Text]) -> Any:
        """Return the TF-IDF rows of texts as a sparse fp32 matrix ``(texts, features)``."""
        return self._fixed.transform(texts)

    def logits(self, features: Any) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)``; their softmax is the model's probability.

        Args:
            features: From :meth:`features`.
        """
        return self.head.logits(features)

    def use_bf16(self) -> bool:
        """Return False: nothing here computes in bf16."""
        return False

    def encode(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return the columns of the features that each text holds, repeated as they are in it; int64."""
        columns = self._fixed.vocabulary_
        return [
            np.array([columns[term] for term in self.terms(text) if term in columns], dtype=np.int64)
            for text in texts
        ]

    def logits_of(self, rows: Sequence[np.ndarray], *, batch_tokens: int) -> np.ndarray:
        """Return the logits of what :meth:`encode` gave, bit-identical to those of :meth:`logits`."""
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import TfidfTransformer

        columns = np.concatenate(rows) if len(rows) else np.empty(0, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        ones = np.ones(len(columns), dtype=np.float32)
        counts = csr_matrix((ones, columns, offsets), shape=(len(rows), len(self.vocabulary)))
        counts.sum_duplicates()
        weights = TfidfTransformer(sublinear_tf=True)
        weights.idf_ = self.idf
        return self.logits(weights.transform(counts, copy=False))

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``weights.safetensors`` and ``vocabulary.json``, each by rename, and return both paths."""
        self._write(folder, WEIGHTS)
        return folder / WEIGHTS, folder / VOCABULARY

    def _write(self, folder: Path, weights: str) -> None:
        write_arrays(folder / weights, {"idf": self.idf} | self.head.arrays)
        write_text(folder / VOCABULARY, json.dumps(self.vocabulary, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, *, terms: Terms, task: Task = CLASSIFICATION, weights: str = WEIGHTS) -> LinearText:
        """Read a model back.

        Raises:
            StoreError: A file is missing or damaged, or the two do not fit.
        """
        vocabulary = read_json(folder / VOCABULARY)
        arrays = read_arrays(folder / weights, ("idf", "coefficients", "intercepts"))
        named = isinstance(vocabulary, list) and all(isinstance(term, str) for term in vocabulary)
        if not named or len(set(vocabulary)) < len(vocabulary):
            raise StoreError("The vocabulary is no list of different terms.", value=str(folder / VOCABULARY))
        shape = arrays["coefficients"].shape
        if arrays["idf"].shape != (len(vocabulary),) or shape != (*arrays["intercepts"].shape, len(vocabulary)):
            raise StoreError("Vocabulary and weights do not belong together.", value=str(folder))
        return cls(tuple(vocabulary), arrays["idf"], stored_head(arrays, task), terms)

    def export(self, folder: Path, weights: str) -> dict[str, Any]:
        """Write everything into a folder of its own, and return what it takes to read it."""
        self._write(folder, weights)
        return self.terms.settings

    @classmethod
    def read_export(
        cls, folder: Path, weights: str, facts: Mapping[str, Any], *, task: Task, device: str
    ) -> LinearText:
        """Read what :meth:`export` wrote; it computes on the CPU, whatever the device."""
        return cls.load(folder, terms=Terms.stored(facts), task=task, weights=weights)


class TfidfLearner:
    """Fits TF-IDF and a linear function of it on some of a run's labelled texts.

    Term frequencies enter as ``1 + ln(tf)``, rows have Euclidean length 1 (scikit-learn's smoothed idf).

    Args:
        texts: The labelled texts.
        labels: Integers of shape ``(texts,)``, or 0/1 ``(texts, labels)``, or doubles ``(texts,)``.
        classes: Number of classes, or of labels.
        terms: Gives the terms of a text.
        min_documents: Texts that must hold a feature.
        head: What is fitted.
        weigh: Gives the weight of each label from the labels that are fitted on, or None.
    """

    def __init__(
        self,
        texts: Sequence[Text],
        labels: np.ndarray,
        *,
        classes: int,
        terms: Terms,
        min_documents: int,
        head: Head = "logistic",
        weigh: Weigh = unweighted,
    ) -> None:
        self.texts, self.labels, self.classes, self.head, self.weigh = texts, labels, classes, head, weigh
        self._terms, self._min_documents = terms, min_documents

    def fits(self, rows: np.ndarray, grid: Sequence[float]) -> Iterator[LinearText]:
        """Count the features of some texts once, and fit one function a value of C, each when asked for.

        Raises:
            DataError: No feature is left.
        """
        begin = time.monotonic()
        vectorizer = _vectorizer(self._terms, min_df=self._min_documents)
        texts = [self.texts[i] for i in rows]
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError:
            raise _no_features(texts, self._terms, min_documents=self._min_documents) from None
        counting = time.monotonic() - begin
        vocabulary = tuple(vectorizer.get_feature_names_out().tolist())
        idf = vectorizer.idf_.astype(np.float32)
        for head in fit_path(matrix, self.labels[rows], grid, self.weigh(self.labels[rows]), self.head):
            # The counting is part of the first fit.
            head, counting = replace(head, seconds=head.seconds + counting), 0.0
            yield LinearText(vocabulary, idf, head, self._terms)

    def features(self, model: LinearText, rows: np.ndarray) -> Any:
        """Return a model's features of some of the texts."""
        return model.features([self.texts[i] for i in rows])


def fit_linear_text(
    texts: Sequence[Text],
    labels: np.ndarray,
    *,
    classes: int,
    terms: Terms,
    min_documents: int,
    grid: Sequence[float],
    head: Head = "logistic",
) -> list[LinearText]:
    """Count the features of texts once, and fit one linear function a C; see :class:`TfidfLearner`.

    Args:
        texts: Training texts.
        labels: Integers of shape ``(texts,)``, every class among them; or 0/1 of shape ``(texts, labels)``.
        classes: Number of classes, or of labels.
        terms: Gives the terms of a text.
        min_documents: Training texts that must hold a feature.
        grid: Values of C.
        head: What is fitted.

    Raises:
        DataError: No feature is left, or a class is missing.
    """
    require_classes(labels, classes)
    learner = TfidfLearner(texts, labels, classes=classes, terms=terms, min_documents=min_documents, head=head)
    return list(learner.fits(np.arange(len(labels)), grid))


def _no_features(texts: Sequence[Text], terms: Terms, *, min_documents: int) -> DataError:
    """Return the error for texts that leave no feature: without a term, or without one in enough of them."""
    counted = Counter(term for text in texts for term in set(terms(text)))
    if not counted:
        return DataError(
            f"No training text holds {terms.described} that TF-IDF could count.",
            value=texts[0],
            fix="drop the strategies of the kind tfidf: they cannot tell such texts apart",
        )
    most = max(counted.values())
    return DataError(
        f"No feature is in as many training texts as min_documents asks for; the most frequent one is in {most}.",
        value=f"min_documents: {min_documents}",
        allowed=f"at most {most} with these texts",
        fix=f"set min_documents: {most}, or a larger training size",
    )


def _vectorizer(terms: Terms, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=terms, sublinear_tf=True, dtype=np.float32, **options)
