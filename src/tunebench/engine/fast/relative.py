"""Scores of content and position beside those of content alone: DeBERTa's disentangled attention.

To the score of a query and a key, two products are added: the query times a position's key, and the key times a
position's query. The position is the distance from key to query, in buckets. Entry ``(i, j)`` depends on ``i - j``
alone; so with the positions in the order of the distance, all entries of a row of the product are consecutive, one
further on in each row. A view with other strides reads them, where a general gather would copy element by element.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tunebench.engine.fast.tiles import Tile


def by_distance(relative_pos: Tensor, span: int) -> Tensor:
    """Return which position stands for each distance of two tokens, from ``S - 1`` down to ``1 - S``.

    Args:
        relative_pos: ``(1, S, S)``, the bucket of each distance from key to query.
        span: Buckets to each side; positions are ``2 * span``.
    """
    buckets = torch.cat([relative_pos[0, :, 0].flip(0), relative_pos[0, 0, 1:]])
    return (buckets + span).clamp_(0, 2 * span - 1)


class RelativeScores:
    """The scores that positions add in one rectangle, and the gradients of these.

    Shapes as in :mod:`tunebench.engine.fast.attention`.

    Args:
        positions: ``(2 * S - 1, 2 D)``, query and key of each distance's position side by side, from the largest
            distance to the smallest. More at both ends are left out.
        width: ``S``, the tokens of a text.
        heads: ``H``.
        learns: Whether the gradient of the positions is wanted.
    """

    def __init__(self, positions: Tensor, width: int, heads: int, *, learns: bool = False) -> None:
        extra = (len(positions) - (2 * width - 1)) // 2
        self.rows, self.width, self.heads = slice(extra, extra + 2 * width - 1), width, heads
        query, self.key = _of_heads(positions[self.rows], heads)
        # Read from the key's side, distances come in the opposite order.
        self.query = query.flip(1)
        self.learns = learns
        # Sums over all texts, in full precision.
        self.grad_query, self.grad_key = (torch.zeros(query.shape) for _ in range(2))

    def add_to(self, scores: Tensor, tile: Tile, scaling: float, content: tuple[Tensor, Tensor]) -> None:
        """Add to the scores of a tile; ``content`` is all queries ``(B * H, Q, E)`` and keys ``(B * H, S, E)``."""
        q, k = content[0][tile.queries], content[1][tile.keys]
        head = self._heads_of(tile)
        of_query = torch.bmm(q, self.key[head].transpose(1, 2))
        of_key = torch.bmm(k, self.query[head].transpose(1, 2))
        scores.add_(self._shifted(of_query, scores.shape[2]), alpha=scaling)
        scores.add_(self._shifted(of_key, scores.shape[1]).transpose(1, 2), alpha=scaling)

    def add_gradients(
        self,
        grad: Tensor,
        tile: Tile,
        factor: float,
        content: tuple[Tensor, Tensor],
        gradients: tuple[Tensor, Tensor],
    ) -> None:
        """Add to the gradients of queries and keys, and to those of the positions.

        Args:
            grad: Of the scores of a tile, but for ``factor``.
            tile: The tile.
            factor: Of all gradients.
            content: Queries and keys, as in :meth:`add_to`.
            gradients: Those of queries and keys.
        """
        head = self._heads_of(tile)
        of_query = (grad, content[0][tile.queries], gradients[0][tile.queries], self.key, self.grad_key)
        of_key = (
            *(grad.transpose(1, 2), content[1][tile.keys], gradients[1][tile.keys]),
            *(self.query, self.grad_query),
        )
        for part, rows, grad_rows, position, grad_position in (of_query, of_key):
            spread = part.new_zeros(*part.shape[:2], 2 * self.width - 1)
            self._shifted(spread, part.shape[2]).copy_(part)
            grad_rows.baddbmm_(spread, position[head], alpha=factor)
            if self.learns:
                grad_position.index_add_(0, head, torch.bmm(spread.transpose(1, 2), rows).float(), alpha=factor)

    def gradient(self) -> Tensor:
        """Return the gradient of the positions of :attr:`rows`."""
        parts = torch.stack([self.grad_query.flip(1), self.grad_key])
        return parts.permute(2, 0, 1, 3).flatten(1)

    def _heads_of(self, tile: Tile) -> Tensor:
        return torch.arange(tile.texts.start, tile.texts.stop) % self.heads

    def _shifted(self, product: Tensor, columns: int) -> Tensor:
        """Return a view: ``[i, j]`` is ``product[i, j - i + S - 1]``."""
        count, rows, distances = product.shape
        return product.as_strided((count, rows, columns), (rows * distances, distances - 1, 1), self.width - 1)


def _of_heads(positions: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Turn ``(2 * S - 1, 2 D)`` into queries and keys of shape ``(H, 2 * S - 1, E)``."""
    return positions.view(len(positions), 2, heads, -1).permute(1, 2, 0, 3).contiguous().unbind(0)
