"""Attention probabilities in parts that are worked on while they are in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Attention probabilities worked on at a time. A whole batch's are many times a core's cache, and would go to
#: memory and back between softmax, dropout and products; much smaller blocks cost more in calls.
BLOCK_ELEMENTS = 2**21


@dataclass(frozen=True)
class Tile:
    """A part of the probabilities ``(B * H, Q, S)`` of a rectangle.

    Attributes:
        texts: Which texts' heads.
        asking: Which queries.
        answering: Which keys.
    """

    texts: slice
    asking: slice
    answering: slice

    @property
    def queries(self) -> tuple[slice, slice]:
        """Where its queries are in ``(B * H, Q, E)``."""
        return self.texts, self.asking

    @property
    def keys(self) -> tuple[slice, slice]:
        """Where its keys are in ``(B * H, S, E)``."""
        return self.texts, self.answering

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of its probabilities."""
        texts, queries, keys = (part.stop - part.start for part in (self.texts, self.asking, self.answering))
        return texts, queries, keys

    @property
    def size(self) -> int:
        """How many probabilities it has."""
        texts, queries, keys = self.shape
        return texts * queries * keys

    def outside(self, window: int | None) -> Tensor | None:
        """Return ``(queries, keys)``, true where a key lies outside of the query's window; None where none does."""
        asking, answering = self.asking, self.answering
        if window is None or max(answering.stop - asking.start, asking.stop - answering.start) <= window + 1:
            return None
        queries, keys = (torch.arange(part.start, part.stop) for part in (asking, answering))
        return (queries[:, None] - keys).abs_() > window


def tiles(shape: tuple[int, int, int], window: int | None = None) -> Iterator[Tile]:
    """Cut probabilities ``(B * H, Q, S)`` into parts of some heads, to be worked on while they are in the cache.

    Where texts are longer than a window, parts are of some queries too, and of the keys within their windows.
    """
    texts, queries, width = shape
    reach = width if window is None else window
    step = queries if width <= 4 * reach else max(1, 2 * reach)
    for first in range(0, queries, step):
        asking = slice(first, min(first + step, queries))
        answering = slice(max(0, first - reach), min(asking.stop + reach, width))
        at_once = max(1, BLOCK_ELEMENTS // ((asking.stop - first) * (answering.stop - answering.start)))
        for start in range(0, texts, at_once):
            yield Tile(slice(start, min(start + at_once, texts)), asking, answering)


def with_places(every: Sequence[Tile], saved: Tensor | None) -> Iterator[tuple[Tile, Tensor | None]]:
    """Go through tiles with the part of ``saved`` that holds the probabilities of each."""
    if saved is None:
        return ((tile, None) for tile in every)
    parts = saved.split([tile.size for tile in every])
    return ((tile, part.view(tile.shape)) for tile, part in zip(every, parts, strict=True))
