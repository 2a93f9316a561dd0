"""What a model reads of one example: a text, or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """Two texts that are read together, such as premise and hypothesis. Their order counts."""

    first: str
    second: str


#: What is classified.
Text = str | Pair


def sides_of(text: Text) -> tuple[str, ...]:
    """Return the strings of a text: itself, or the two of a pair."""
    return (text,) if isinstance(text, str) else (text.first, text.second)


def by_side(texts: Iterable[Text]) -> list[list[str]]:
    """Return texts as columns: one of single texts, or the first and the second sides of pairs.

    Raises:
        ValueError: Some are pairs, and others are not.
    """
    every = [sides_of(text) for text in texts]
    counts = {len(sides) for sides in every}
    if len(counts) > 1:
        raise ValueError("some texts are pairs, and others are not")
    return [[sides[place] for sides in every] for place in range(max(counts, default=1))]


def single_texts(texts: Iterable[Text]) -> list[str]:
    """Return texts none of which is a pair; pairs were refused before."""
    (found,) = by_side(texts)
    return found


def together(sides: Sequence[Sequence[str]]) -> list[Text]:
    """Return texts from their columns; the inverse of :func:`by_side`."""
    return [Pair(*values) for values in zip(*sides, strict=True)] if len(sides) == 2 else list(sides[0])


def as_text(value: Any) -> Text | None:
    """Return a value as a text: a string, or a list or tuple of two strings as a pair; None if it is neither."""
    if isinstance(value, str):
        return value
    two = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, str) for side in value)
    return Pair(*value) if two else None


def characters(text: Text) -> int:
    """Return how many characters a text has; of a pair, both sides together."""
    return sum(map(len, sides_of(text)))
