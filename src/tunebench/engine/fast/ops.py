"""Differentiable operations over fp32 parameters in a compute type, with backward passes written out.

Shapes: ``B`` texts, ``S`` tokens, ``H`` heads, ``E`` elements a head, ``D = H * E``; matrices of
activations are ``(B * S, D)``. The compute type is bf16 or fp32; in fp32 the tests compare every operation
with PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from tunebench.engine.fast.masks import MaskStream, apply_mask, read_signs, sign_kept
from tunebench.engine.fast.packing import Rectangle

#: Attention probabilities worked on at a time. A whole batch's are many times a core's cache, and would go to
#: memory and back between softmax, dropout and products; much smaller blocks cost more in calls.
BLOCK_ELEMENTS = 2**21


class LinearFunction(Function):
    """``x @ W.T + b`` for one or several stacked linear layers that share their input.

    The weights enter twice: as the fp32 parameters that receive gradients, and as one stacked copy in
    the compute type that the caller keeps up to date, so that nothing is cast per call.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stacked: Tensor, bias: Tensor | None, *parameters: Tensor | None) -> Tensor:
        """Return ``(rows, sum of out)``.

        Args:
            ctx: Autograd context.
            x: ``(rows, in)`` in the compute type.
            stacked: ``(sum of out, in)``, the weights stacked, in the compute type.
            bias: ``(sum of out,)`` in the compute type, or None.
            *parameters: The fp32 weights, then their fp32 biases, in stacking order.
        """
        ctx.save_for_backward(x, stacked)
        ctx.sizes = [p.shape[0] for p in parameters[: len(parameters) // 2] if p is not None]
        return linear(x, stacked, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of the input, of each weight and of each bias."""
        x, stacked = ctx.saved_tensors
        needs = ctx.needs_input_grad
        count = len(ctx.sizes)
        grad = grad.contiguous()
        grad_x = grad @ stacked if needs[0] else None
        weights: list[Tensor | None] = [None] * count
        biases: list[Tensor | None] = [None] * count
        if all(needs[3 : 3 + count]):
            weights = list((grad.t() @ x).float().split(ctx.sizes))
        else:
            for i, part in enumerate(grad.split(ctx.sizes, dim=1)):
                if needs[3 + i]:
                    weights[i] = (part.t() @ x).float()
        if any(needs[3 + count :]):
            sums = grad.sum(0).float().split(ctx.sizes)  # summed in fp32, rounded once
            biases = [part if need else None for part, need in zip(sums, needs[3 + count :], strict=True)]
        return (grad_x, None, None, *weights, *biases)


class LoraFunction(Function):
    """Add a low-rank update to a slice of columns, in place: ``y[:, a:b] += s * drop(x) A.T B.T``."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        x: Tensor,
        keep: Tensor | None,
        scale: float,
        start: int,
        lora_a: Tensor,
        lora_b: Tensor,
        scaling: float,
    ) -> Tensor:
        """Return ``y`` itself, changed.

        Args:
            ctx: Autograd context.
            y: ``(rows, out of all stacked layers)``.
            x: ``(rows, in)``.
            keep: Dropout mask of ``x``, or None.
            scale: Scale of the kept elements.
            start: First column of this layer in ``y``.
            lora_a: ``(rank, in)``, fp32.
            lora_b: ``(out, rank)``, fp32.
            scaling: LoRA's alpha / rank.
        """
        dropped = apply_mask(x, keep)
        down = lora_a.to(x.dtype)
        up = lora_b.to(x.dtype)
        hidden = dropped @ down.t()
        stop = start + lora_b.shape[0]
        y[:, start:stop].addmm_(hidden, up.t(), alpha=scaling * scale)
        ctx.mark_dirty(y)
        ctx.save_for_backward(dropped, keep, hidden, down, up)
        ctx.place, ctx.factor = (start, stop), scaling * scale
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of ``y``, ``x`` and the two factors."""
        dropped, keep, hidden, down, up = ctx.saved_tensors
        part = grad[:, ctx.place[0] : ctx.place[1]]
        inner = part @ up
        grad_x = None
        if ctx.needs_input_grad[1]:
            grad_x = apply_mask((inner * ctx.factor) @ down, keep)
        grad_a = (inner.t() @ dropped).float().mul_(ctx.factor)
        grad_b = (part.t() @ hidden).float().mul_(ctx.factor)
        return grad, grad_x, None, None, None, grad_a, grad_b, None


class DropoutFunction(Function):
    """``dropout(x)``, or ``residual + dropout(x)``, with a given mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, keep: Tensor, scale: float) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        ctx.save_for_backward(keep)
        ctx.scale = scale
        # A Python scalar multiplies in fp32: a bf16 constant of 1.111 would shrink the mean by 0.2 %.
        if residual is None:
            return apply_mask(x, keep) * scale
        return torch.add(residual, apply_mask(x, keep), alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of ``x`` and of the residual."""
        (keep,) = ctx.saved_tensors
        residual = grad if ctx.needs_input_grad[1] else None
        return apply_mask(grad.contiguous(), keep).mul_(ctx.scale), residual, None, None


class AttentionFunction(Function):
    """Multi-head attention with materialised probabilities, from and to rows of activations.

    At a few hundred tokens two batched products and a softmax beat PyTorch's CPU flash kernel by more
    than two to one, and dropout of the probabilities costs one more pass instead of a slower kernel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        others: Tensor | None,
        rectangles: Sequence[Rectangle],
        heads: int,
        scaling: float,
        masks: MaskStream,
        dropout: float,
    ) -> Tensor:
        """Return ``(rows of queries, D)``.

        Args:
            ctx: Autograd context.
            query: ``(rows, 3 D)``, query, key and value of every token side by side; or ``(rows of queries, D)``,
                the queries alone.
            others: None, or ``(rows, 2 D)``, key and value.
            rectangles: The texts, in the order of their rows.
            heads: ``H``.
            scaling: Factor of the scores.
            masks: Where dropout draws from.
            dropout: Probability of dropping a probability, in [0, 1).
        """
        context = query.new_empty(len(query), query.shape[1] if others is not None else query.shape[1] // 3)
        drops, keep_scale = masks.drops(dropout), 1.0
        kept: list[Tensor | None] = []
        for rectangle, asking, answering in _rows_of(rectangles):
            if others is None:
                q, k, v = _split_heads(query[asking], 3, rectangle.texts, heads)
            else:
                (q,) = _split_heads(query[asking], 1, rectangle.texts, heads)
                k, v = _split_heads(others[answering], 2, rectangle.texts, heads)
            whole = (*q.shape[:2], rectangle.width)
            saved = q.new_empty(whole) if any(ctx.needs_input_grad) else None
            output = torch.empty_like(q)
            for part in blocks(whole):
                if rectangle.bias is None:
                    scores = torch.bmm(q[part] * scaling, k[part].transpose(1, 2))
                else:
                    scores = torch.baddbmm(rectangle.bias[part], q[part], k[part].transpose(1, 2), alpha=scaling)
                # With dropout, what is saved carries the mask; where nothing is saved, the scores' place will do.
                probabilities = torch.softmax(scores, dim=-1, out=scores if drops or saved is None else saved[part])
                mask, keep_scale = masks.keep(tuple(scores.shape), dropout)
                if mask is not None and saved is not None:
                    sign_kept(probabilities, mask, out=saved[part])
                apply_mask(probabilities, mask, in_place=True)
                _scaled_bmm(probabilities, v[part], keep_scale, out=output[part])
            _join_heads([output], context[asking], heads)
            kept += [q, k, v, saved]
        ctx.save_for_backward(*kept)
        ctx.rectangles, ctx.heads, ctx.apart = rectangles, heads, others is not None
        ctx.scaling, ctx.keep_scale, ctx.drops = scaling, keep_scale, drops
        return context

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients in the layout of the inputs."""
        kept, heads, dim = ctx.saved_tensors, ctx.heads, grad.shape[1]
        keys = sum(rectangle.rows for rectangle in ctx.rectangles)
        grad_query = grad.new_empty(len(grad), dim if ctx.apart else 3 * dim)
        grad_others = grad.new_empty(keys, 2 * dim) if ctx.apart else None
        # The softmax's gradient is linear in its input, so the scale of dropout can wait for the last products.
        factor = ctx.scaling * ctx.keep_scale
        for i, (rectangle, asking, answering) in enumerate(_rows_of(ctx.rectangles)):
            q, k, v, saved = kept[4 * i : 4 * i + 4]
            (grad_out,) = _split_heads(grad[asking], 1, rectangle.texts, heads)
            grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            for part in blocks(saved.shape):
                probabilities, mask = read_signs(saved[part]) if ctx.drops else (saved[part], None)
                grad_p = torch.bmm(grad_out[part], v[part].transpose(1, 2))
                apply_mask(grad_p, mask, in_place=True)
                grad_s = torch.ops.aten._softmax_backward_data(
                    grad_p, probabilities, -1, probabilities.dtype, grad_input=grad_p
                )
                _scaled_bmm(grad_s, k[part], factor, out=grad_q[part])
                _scaled_bmm(grad_s.transpose(1, 2), q[part], factor, out=grad_k[part])
                apply_mask(probabilities, mask, in_place=True)
                _scaled_bmm(probabilities.transpose(1, 2), grad_out[part], ctx.keep_scale, out=grad_v[part])
            if grad_others is None:
                _join_heads([grad_q, grad_k, grad_v], grad_query[asking], heads)
            else:
                _join_heads([grad_q], grad_query[asking], heads)
                _join_heads([grad_k, grad_v], grad_others[answering], heads)
        return grad_query, grad_others, None, None, None, None, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x @ weight.T + bias``, of bf16 with the bias added while the product is written.

    PyTorch's own ``linear`` copies the bias to every row of the result first, and adds the product to that.
    """
    if bias is None or x.dtype != torch.bfloat16 or not _adds_bias_itself():
        return functional.linear(x, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


@lru_cache(maxsize=1)
def _adds_bias_itself() -> bool:
    """Tell whether oneDNN's linear layer is there, which ``torch.compile`` uses; tried, as it is no public name."""
    try:
        one = torch.ones(1, 1, dtype=torch.bfloat16)
        return bool(torch.ops.mkldnn._linear_pointwise(one, one, one[0], "none", [], "") == 2)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False


def attend(query: Tensor, others: Tensor | None, rectangle: Rectangle, heads: int, scaling: float) -> Tensor:
    """Do what :class:`AttentionFunction` does for one rectangle by PyTorch's kernel, without dropout or gradient.

    Forward alone, and where the processor has AMX, it is the faster one, and it reads the heads where they are.
    """
    texts, width, queries = rectangle.texts, rectangle.width, rectangle.queries
    if others is None:
        q, k, v = query.view(texts, width, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    else:
        q = query.view(texts, queries, heads, -1).transpose(1, 2)
        k, v = others.view(texts, width, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mask = None if rectangle.bias is None else rectangle.bias.view(texts, heads, 1, width)[:, :1]
    output = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    return output.transpose(1, 2).reshape(texts * queries, -1)


def _scaled_bmm(a: Tensor, b: Tensor, factor: float, *, out: Tensor) -> None:
    """Write ``factor * a @ b``: scaled while it is written, which a pass of its own over the product is not."""
    torch.baddbmm(out, a, b, beta=0, alpha=factor, out=out)


def _rows_of(rectangles: Sequence[Rectangle]) -> Iterator[tuple[Rectangle, slice, slice]]:
    """Go through rectangles with the rows of their queries, and of their keys and values."""
    asking = answering = 0
    for rectangle in rectangles:
        queries = rectangle.texts * rectangle.queries
        yield rectangle, slice(asking, asking + queries), slice(answering, answering + rectangle.rows)
        asking, answering = asking + queries, answering + rectangle.rows


def blocks(shape: tuple[int, int, int]) -> Iterator[slice]:
    """Cut probabilities ``(B * H, Q, S)`` into parts of some heads, to be worked on while they are in the cache."""
    rows = max(1, BLOCK_ELEMENTS // (shape[1] * shape[2]))
    return (slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows))


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
