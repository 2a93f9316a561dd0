"""A batch without padding: rectangles of texts of similar length, one after the other.

A batch drawn at random holds long and short texts, and padded to the longest a good part of it is padding.
Everything in a layer but attention works on single tokens, so those of all texts may lie one after another;
attention works on some texts at a time anyway, and may take those together that are about equally long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from tunebench.engine.batching import rounded_up
from tunebench.engine.native.library import Texts

#: A text joins others when it fills at least this share of their width.
_FILLED = 7 / 8
#: Numbers of rows that products get where texts are packed closely.
_ROWS = 64


@dataclass(frozen=True)
class Rectangle:
    """Some texts of one width, whose tokens are consecutive rows.

    Args:
        texts: How many.
        width: Tokens of keys and values a text.
        queries: Tokens of queries a text.
        bias: ``(texts * H, 1, width)``, large and negative at padding, or None.
    """

    texts: int
    width: int
    queries: int
    bias: Tensor | None

    @property
    def rows(self) -> int:
        """Rows of keys and values."""
        return self.texts * self.width


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a padded batch ``(B, S)`` lie once packed.

    Args:
        rectangles: From the longest texts to the shortest.
        rows: ``(N,)``, for every packed row its place among the ``B * S`` padded ones.
        firsts: ``(B,)``, the packed rows that hold a text's first token, in the order of the rectangles.
        back: ``(B,)``, for every text of the batch its place in that order.
        tokens: ``S``.
        texts: The same for the native kernels, where they attend.
    """

    rectangles: tuple[Rectangle, ...]
    rows: Tensor
    firsts: Tensor
    back: Tensor
    tokens: int
    texts: Texts | None = None


def unpacked(texts: int, tokens: int) -> Layout:
    """Return the layout of a batch ``(B, S)`` that keeps its padding: one rectangle."""
    every = torch.arange(texts)
    return Layout(
        (Rectangle(texts, tokens, tokens, None),), torch.arange(texts * tokens), tokens * every, every, tokens
    )


def pack(keys: Tensor, bias: Tensor, *, at_once: int) -> Layout:
    """Lay out a batch.

    Args:
        keys: ``(B, S)``, true where a token is attended to.
        bias: ``(B * H, 1, S)``, what is added to its scores.
        at_once: Attention probabilities a rectangle may have, more only for a single text.
    """
    batch, tokens = keys.shape
    heads = len(bias) // batch
    # Up to the last attended token: whatever is masked before it stays, and stays masked.
    places = torch.arange(1, tokens + 1, device=keys.device)
    lengths = (keys * places).amax(1).clamp_(min=1)
    order = torch.argsort(lengths, descending=True, stable=True)
    sizes = [min(rounded_up(length), tokens) for length in lengths[order].tolist()]
    rectangles, rows, firsts = [], [], []
    done = start = 0
    while done < batch:
        width = sizes[done]
        most = max(1, at_once // (heads * width * width))
        texts = 1
        while texts < most and done + texts < batch and sizes[done + texts] >= _FILLED * width:
            texts += 1
        some = order[done : done + texts]
        rows.append((some[:, None] * tokens + torch.arange(width)).flatten())
        firsts.append(start + width * torch.arange(texts))
        part = bias.view(batch, heads, tokens)[some, :, :width].reshape(texts * heads, 1, width)
        rectangles.append(Rectangle(texts, width, width, part))
        start, done = start + texts * width, done + texts
    return Layout(tuple(rectangles), torch.cat(rows), torch.cat(firsts), torch.argsort(order), tokens)


def pack_closely(lengths: Tensor, tokens: int) -> Layout:
    """Lay out a batch for the native kernels, which take texts of any length: no padding within texts.

    Behind the texts come a few rows of padding, where there are any, up to a multiple of 64: oneDNN prepares every
    product for each number of rows that it meets, and keeps what it prepared.

    Args:
        lengths: ``(B,)``, tokens of each text, at least one.
        tokens: ``S``.
    """
    texts = Texts.of_lengths(lengths)
    attended = (torch.arange(tokens) < lengths[:, None]).flatten()
    rows = attended.nonzero().squeeze(1)
    more = -len(rows) % _ROWS
    rows = torch.cat([rows, (~attended).nonzero()[:more, 0]])
    rectangles = tuple(Rectangle(1, length, length, None) for length in lengths.tolist())
    return Layout(rectangles, rows, texts.first_tokens().table[2], torch.arange(len(lengths)), tokens, texts)


class TakeRows(Function):
    """Rows of a matrix, none twice: the backward pass writes where ``index_select`` would add."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        """Return ``x[rows]``."""
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of ``x``: zero in the rows that were not taken."""
        (rows,) = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_copy_(0, rows, grad), None


class PutRows(Function):
    """The rows of a larger matrix that is zero elsewhere; none twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, count: int) -> Tensor:
        """Return a matrix of so many rows, ``x`` at ``rows``."""
        ctx.save_for_backward(rows)
        return x.new_zeros(count, x.shape[1]).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of ``x``."""
        (rows,) = ctx.saved_tensors
        return grad.index_select(0, rows), None, None


class Packing:
    """What the layers of one encoder know together of the batch that passes through them."""

    def __init__(self) -> None:
        #: The layer that packs; those below it (whose outputs somebody stores) see padded batches.
        self.first = 0
        self.layout: Layout | None = None

    def shapes(self, texts: int, length: int) -> list[tuple[int, int]]:
        """Return texts and tokens of each rectangle that the layers have just computed.

        Args:
            texts: Texts of the padded batch, which is the one rectangle where nothing is packed.
            length: Tokens that it is padded to.
        """
        if self.layout is None:
            return [(texts, length)]
        return [(rectangle.texts, rectangle.width) for rectangle in self.layout.rectangles]
