"""Multi-head attention with materialised probabilities, from and to rows of activations.

Shapes: ``B`` texts, ``S`` tokens, ``Q`` queries a text, ``H`` heads, ``E`` elements a head, ``D = H * E``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from tunebench.engine.fast.masks import MaskStream, apply_mask, read_signs, sign_kept
from tunebench.engine.fast.packing import Rectangle
from tunebench.engine.fast.relative import RelativeScores
from tunebench.engine.fast.tiles import Tile, tiles, with_places

#: Up to this many tokens, the probabilities are kept for the backward pass. Those of longer texts are computed
#: again: their memory would grow with the square of the length.
_KEPT_WIDTH = 512


@dataclass(frozen=True)
class Attention:
    """How the attention of a layer works on a batch.

    Attributes:
        rectangles: The texts, in the order of their rows.
        heads: ``H``.
        scaling: Factor of the scores.
        masks: Where dropout draws from.
        dropout: Probability of dropping a probability, in [0, 1).
        window: Tokens on each side that a token attends to; None where it attends to all.
        rotary: Cosines and sines, ``(S, E / 2)`` each, that turn queries and keys; or None.
    """

    rectangles: Sequence[Rectangle]
    heads: int
    scaling: float
    masks: MaskStream
    dropout: float
    window: int | None = None
    rotary: tuple[Tensor, Tensor] | None = None

    def turned(self, x: Tensor, *, back: bool = False) -> Tensor:
        """Rotate queries or keys ``(..., n, E)`` by their positions, or a gradient back."""
        if self.rotary is None:
            return x
        cos, sin = (part[: x.shape[-2]] for part in self.rotary)
        a, b = x.chunk(2, dim=-1)
        if back:
            sin = -sin
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


class AttentionFunction(Function):
    """Attention with an explicit backward pass.

    At a few hundred tokens two batched products and a softmax beat PyTorch's CPU flash kernel by more
    than two to one, and dropout of the probabilities costs one more pass instead of a slower kernel.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, others: Tensor | None, positions: Tensor | None, attention: Attention
    ) -> Tensor:
        """Return ``(rows of queries, D)``.

        Args:
            ctx: Autograd context.
            query: ``(rows, 3 D)``, query, key and value of every token side by side; or ``(rows of queries, D)``,
                the queries alone.
            others: None, or ``(rows, 2 D)``, key and value.
            positions: None, or ``(2 S - 1, 2 D)``, query and key of each distance; see :class:`RelativeScores`.
            attention: Everything else.
        """
        heads, masks = attention.heads, attention.masks
        context = query.new_empty(len(query), query.shape[1] if others is not None else query.shape[1] // 3)
        drops, keep_scale = masks.drops(attention.dropout), 1.0
        kept: list[Tensor | None] = []
        for rectangle, asking, answering in _rows_of(attention.rectangles):
            if others is None:
                q, k, v = _split_heads(query[asking], 3, rectangle.texts, heads)
            else:
                (q,) = _split_heads(query[asking], 1, rectangle.texts, heads)
                k, v = _split_heads(others[answering], 2, rectangle.texts, heads)
            q, k = attention.turned(q), attention.turned(k)
            relative = None if positions is None else RelativeScores(positions, rectangle.width, heads)
            every = list(tiles((*q.shape[:2], rectangle.width), attention.window))
            keeps = drops or attention.window is not None or rectangle.width <= _KEPT_WIDTH
            saved = q.new_empty(sum(tile.size for tile in every)) if keeps and any(ctx.needs_input_grad) else None
            output = torch.empty_like(q)
            for tile, place in with_places(every, saved):
                scores = _scores(q, k, rectangle, tile, attention, relative)
                # With dropout, what is saved carries the mask; where nothing is saved, the scores' place will do.
                probabilities = torch.softmax(scores, dim=-1, out=scores if drops or place is None else place)
                mask, keep_scale = masks.keep(tile.shape, attention.dropout)
                if mask is not None and place is not None:
                    sign_kept(probabilities, mask, out=place)
                apply_mask(probabilities, mask, in_place=True)
                _scaled_bmm(probabilities, v[tile.keys], keep_scale, out=output[tile.queries])
            _join_heads([output], context[asking], heads)
            kept += [q, k, v, saved]
        ctx.save_for_backward(*kept, positions)
        ctx.attention, ctx.apart = attention, others is not None
        ctx.keep_scale, ctx.drops = keep_scale, drops
        return context

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients in the layout of the inputs."""
        attention: Attention = ctx.attention
        (*kept, positions), heads, dim = ctx.saved_tensors, attention.heads, grad.shape[1]
        keys = sum(rectangle.rows for rectangle in attention.rectangles)
        grad_query = grad.new_empty(len(grad), dim if ctx.apart else 3 * dim)
        grad_others = grad.new_empty(keys, 2 * dim) if ctx.apart else None
        grad_positions = None if positions is None else torch.zeros(positions.shape)
        # The softmax's gradient is linear in its input, so the scale of dropout can wait for the last products.
        factor = attention.scaling * ctx.keep_scale
        # Several tiles read the same keys where there is a window.
        adds = attention.window is not None
        for i, (rectangle, asking, answering) in enumerate(_rows_of(attention.rectangles)):
            q, k, v, saved = kept[4 * i : 4 * i + 4]
            (grad_out,) = _split_heads(grad[asking], 1, rectangle.texts, heads)
            grad_q = torch.empty_like(q)
            grad_k, grad_v = (torch.zeros_like(x) if adds else torch.empty_like(x) for x in (k, v))
            relative = None
            if positions is not None:
                learns = ctx.needs_input_grad[2]
                relative = RelativeScores(positions, rectangle.width, heads, learns=learns)
            every = list(tiles((*q.shape[:2], rectangle.width), attention.window))
            for tile, place in with_places(every, saved):
                if place is None:
                    place = torch.softmax(_scores(q, k, rectangle, tile, attention, relative), dim=-1)
                probabilities, mask = read_signs(place) if ctx.drops else (place, None)
                grad_p = torch.bmm(grad_out[tile.queries], v[tile.keys].transpose(1, 2))
                apply_mask(grad_p, mask, in_place=True)
                grad_s = torch.ops.aten._softmax_backward_data(
                    grad_p, probabilities, -1, probabilities.dtype, grad_input=grad_p
                )
                _scaled_bmm(grad_s, k[tile.keys], factor, out=grad_q[tile.queries])
                _scaled_bmm(grad_s.transpose(1, 2), q[tile.queries], factor, out=grad_k[tile.keys], adds=adds)
                if relative is not None:
                    relative.add_gradients(grad_s, tile, factor, (q, k), (grad_q, grad_k))
                apply_mask(probabilities, mask, in_place=True)
                _scaled_bmm(
                    *(probabilities.transpose(1, 2), grad_out[tile.queries], ctx.keep_scale),
                    out=grad_v[tile.keys],
                    adds=adds,
                )
            if relative is not None and grad_positions is not None:
                grad_positions[relative.rows] += relative.gradient()
            grad_q, grad_k = attention.turned(grad_q, back=True), attention.turned(grad_k, back=True)
            if grad_others is None:
                _join_heads([grad_q, grad_k, grad_v], grad_query[asking], heads)
            else:
                _join_heads([grad_q], grad_query[asking], heads)
                _join_heads([grad_k, grad_v], grad_others[answering], heads)
        return grad_query, grad_others, grad_positions, None


def attend(query: Tensor, others: Tensor | None, attention: Attention) -> Tensor:
    """Do what :class:`AttentionFunction` does for one rectangle by PyTorch's kernel, without dropout or gradient.

    Forward alone, and where the processor has AMX, it is the faster one, and it reads the heads where they are.
    """
    (rectangle,), heads = attention.rectangles, attention.heads
    texts, width, queries = rectangle.texts, rectangle.width, rectangle.queries
    if others is None:
        q, k, v = query.view(texts, width, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    else:
        q = query.view(texts, queries, heads, -1).transpose(1, 2)
        k, v = others.view(texts, width, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mask = None if rectangle.bias is None else rectangle.bias.view(texts, heads, 1, width)[:, :1]
    (whole,) = tiles((1, queries, width))
    if (outside := whole.outside(attention.window)) is not None:
        mask = (q.new_zeros(()) if mask is None else mask).masked_fill(outside, -torch.inf)
    q, k = attention.turned(q), attention.turned(k)
    output = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attention.scaling)
    return output.transpose(1, 2).reshape(texts * queries, -1)


def _scores(
    q: Tensor, k: Tensor, rectangle: Rectangle, tile: Tile, attention: Attention, relative: RelativeScores | None
) -> Tensor:
    asked, answers = q[tile.queries], k[tile.keys].transpose(1, 2)
    if rectangle.bias is None:
        scores = torch.bmm(asked * attention.scaling, answers)
    else:
        bias = rectangle.bias[tile.texts, :, tile.answering]
        scores = torch.baddbmm(bias, asked, answers, alpha=attention.scaling)
    if relative is not None:
        relative.add_to(scores, tile, attention.scaling, (q, k))
    outside = tile.outside(attention.window)
    return scores if outside is None else scores.masked_fill_(outside, -torch.inf)


def _scaled_bmm(a: Tensor, b: Tensor, factor: float, *, out: Tensor, adds: bool = False) -> None:
    """Write ``factor * a @ b``, or add it: scaled while it is written, which a pass of its own is not."""
    torch.baddbmm(out, a, b, beta=float(adds), alpha=factor, out=out)


def _rows_of(rectangles: Sequence[Rectangle]) -> Iterator[tuple[Rectangle, slice, slice]]:
    """Go through rectangles with the rows of their queries, and of their keys and values."""
    asking = answering = 0
    for rectangle in rectangles:
        queries = rectangle.texts * rectangle.queries
        yield rectangle, slice(asking, asking + queries), slice(answering, answering + rectangle.rows)
        asking, answering = asking + queries, answering + rectangle.rows


def _split_heads(rows: Tensor, parts: int, texts: int, heads: int) -> tuple[Tensor, ...]:
    """Turn ``(B * S, parts * D)`` into ``parts`` tensors of shape ``(B * H, S, E)``."""
    split = rows.view(texts, len(rows) // texts, parts, heads, -1).permute(2, 0, 3, 1, 4)
    return split.reshape(parts, texts * heads, split.shape[3], -1).unbind(0)


def _join_heads(tensors: list[Tensor], rows: Tensor, heads: int) -> None:
    """Undo :func:`_split_heads`, writing each tensor to its place in ``rows`` once."""
    tokens, size = tensors[0].shape[1:]
    joined = rows.view(-1, tokens, len(tensors), heads, size)
    for i, tensor in enumerate(tensors):
        joined[:, :, i].copy_(tensor.view(-1, heads, tokens, size).transpose(1, 2))
