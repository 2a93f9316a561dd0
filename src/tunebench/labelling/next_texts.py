"""Which unlabelled texts to label next: those the model is least sure of, spread over what they are about.

As in Zhdanov 2019 (arXiv:1901.05954): of the texts with the smallest margins, k-means weighted by uncertainty makes
as many groups as texts are wanted, and the text that is nearest to the middle of each group is taken.
"""

from __future__ import annotations

import numpy as np

#: So many times as many texts as wanted are grouped: the least certain ones.
_POOL = 10


def margins_of(probabilities: np.ndarray) -> np.ndarray:
    """Return by how much the most likely class of each text leads the second."""
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def choose_next(probabilities: np.ndarray, vectors: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Return the positions of the texts to label next, the least certain first.

    Args:
        probabilities: ``(texts, classes)``.
        vectors: Embeddings, ``(texts, width)``.
        count: How many are wanted; all where there are no more.
        seed: Of k-means.
    """
    margins = margins_of(probabilities)
    pool = np.argsort(margins, kind="stable")[: _POOL * count]
    if len(pool) <= count:
        return np.asarray(pool)
    from sklearn.cluster import KMeans

    # A text that the model is sure of has the weight 0; k-means wants some weight.
    weights = 1 - margins[pool] + 1e-6
    groups = KMeans(count, n_init=1, random_state=seed).fit(vectors[pool], sample_weight=weights)
    away = ((vectors[pool] - groups.cluster_centers_[groups.labels_]) ** 2).sum(1)
    chosen = [members[away[members].argmin()] for members in map(np.flatnonzero, _members(groups.labels_))]
    found = pool[chosen]
    return np.asarray(found[np.argsort(margins[found], kind="stable")])


def _members(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == group for group in np.unique(labels)]
