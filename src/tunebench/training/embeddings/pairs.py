"""Pairs of texts as features of the embeddings of both: u, v, |u - v| and u * v, side by side.

Each text goes through the encoder by itself, as encoders of sentences were trained, and once, however many pairs it
stands in. A row of tokens holds both texts, so that whoever batches rows need not know of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tunebench.data.text import Text, by_side

#: Between the tokens of two texts; no token is negative.
_BREAK = -1


def encode_rows(texts: Sequence[Text], tokens: Callable[[list[str]], Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Return the token ids of each text, or of both texts of each pair, as one row.

    Args:
        texts: The texts.
        tokens: Returns those of single texts.
    """
    return [_one_row(row) for row in zip(*map(tokens, by_side(texts)), strict=True)]


def features_of_rows(
    rows: Sequence[np.ndarray], vectors: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """Return the features of the texts whose tokens :func:`encode_rows` gave.

    Args:
        rows: Their tokens.
        vectors: Returns the embeddings ``(texts, width)`` of the tokens of single texts.
    """
    return features([vectors(side) for side in zip(*map(_sides_of_row, rows), strict=True)])


def _one_row(sides: Sequence[np.ndarray]) -> np.ndarray:
    """Return the tokens of a text, or of the two texts of a pair, as one row."""
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    return np.concatenate([first, np.array([_BREAK], dtype=first.dtype), second])


def _sides_of_row(row: np.ndarray) -> list[np.ndarray]:
    """Return the tokens of each text of a row; the inverse of :func:`_one_row`."""
    (places,) = np.nonzero(row == _BREAK)
    return [row] if not len(places) else [row[: places[0]], row[places[0] + 1 :]]


def features(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the features of texts.

    Args:
        vectors: The embeddings ``(texts, width)`` of single texts, or those of the first and of the second texts.

    Returns:
        The embeddings of single texts as they are; of pairs ``(texts, 4 * width)``.
    """
    if len(vectors) == 1:
        return vectors[0]
    u, v = vectors
    return np.hstack([u, v, np.abs(u - v), u * v])


def feature_count(width: int, sides: int) -> int:
    """Return how many features there are, of embeddings of a width."""
    return int(features([np.zeros((1, width), dtype=np.float32)] * sides).shape[1])
