"""Probabilities from frozen embeddings and a logistic regression: of the labelled texts by others of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tunebench.data.text import Text, by_side
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import whole_tokens
from tunebench.files import default_cache_dir
from tunebench.machine import devices
from tunebench.models.sources import model_folder, resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.training.embeddings.cache import EmbeddingCache
from tunebench.training.embeddings.encoder import Embedder, load_encoder
from tunebench.training.embeddings.pairs import features
from tunebench.training.linear.fit import fit_path

#: Parts of the cross-validation, and the values of C among which its log loss decides.
FOLDS = 5
_GRID = (1.0, 10.0)


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities of texts from models that were not trained on them.

    Attributes:
        probabilities: ``(texts, classes)``.
        setting: The C with the least log loss.
    """

    probabilities: np.ndarray
    setting: float


def embed(
    texts: Sequence[Text],
    *,
    model: str,
    revision: str | None,
    max_length: int,
    label_names: Sequence[str],
    device: str,
    doing: Callable[[str], None],
) -> np.ndarray:
    """Return the embeddings of texts by a frozen encoder, each computed once and cached."""
    folder = model_folder(model, revision)
    encoder, _ = load_encoder(folder, label_names)
    tokenizer = load_tokenizer(folder)
    fingerprint = tokenizer_fingerprint(tokenizer)
    embedder = Embedder(encoder, tokenizer, pooling="mean", max_length=max_length, device=device)
    embedder.compute_in(devices.inference_precision(device))
    cache = EmbeddingCache(embedder, resolve_model(model, revision).fingerprint)

    def look(done: int, total: int) -> None:
        if total:
            doing(f"embedding texts: {done:,} of {total:,}")

    sides = [whole_tokens(side, tokenizer, fingerprint, default_cache_dir()) for side in by_side(texts)]
    return features([cache.embed(side, look).vectors for side in sides])


def out_of_fold(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> OutOfFold:
    """Return the probabilities that cross-validation gives each text.

    Args:
        vectors: ``(texts, width)``.
        labels: Integers ``(texts,)``.
        groups: Texts of one group stay in one part, as copies do.
        seed: Of the parts.
    """
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    classes = int(labels.max()) + 1
    found = np.zeros((len(_GRID), len(labels), classes))
    # No more parts than the most frequent class has texts.
    count = max(2, min(FOLDS, int(np.bincount(labels).max())))
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class may have fewer texts than there are parts
        splits = list(parts.split(vectors, labels, groups))
    for train, test in splits:
        for place, probabilities in enumerate(
            _fitted(vectors[train], labels[train], vectors[test], classes, _GRID)
        ):
            found[place, test] = probabilities
    own = np.clip(found[:, np.arange(len(labels)), labels], 1e-12, None)
    best = int((-np.log(own)).mean(1).argmin())
    return OutOfFold(found[best], _GRID[best])


def predict(vectors: np.ndarray, labels: np.ndarray, others: np.ndarray, *, setting: float) -> np.ndarray:
    """Return the probabilities of other texts, by a regression of all labelled ones."""
    (found,) = _fitted(vectors, labels, others, int(labels.max()) + 1, (setting,))
    return found


def _fitted(
    vectors: np.ndarray, labels: np.ndarray, others: np.ndarray, classes: int, grid: Sequence[float]
) -> list[np.ndarray]:
    """Return the probabilities of other texts for each C; a class that no text trains has the probability 0."""
    there = np.unique(labels)
    if len(there) == 1:
        fixed = np.zeros((len(others), classes))
        fixed[:, there] = 1.0
        return [fixed] * len(grid)
    found = []
    for head in fit_path(vectors, np.searchsorted(there, labels), grid):
        whole = np.zeros((len(others), classes))
        whole[:, there] = scipy.special.softmax(head.logits(others).astype(np.float64), axis=1)
        found.append(whole)
    return found
