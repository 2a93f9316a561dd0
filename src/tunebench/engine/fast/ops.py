"""Differentiable operations over fp32 parameters in a compute type, with backward passes written out.

Matrices of activations are ``(rows, D)``, one row a token. The compute type is bf16 or fp32; in fp32 the tests
compare every operation with PyTorch's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from tunebench.engine.fast.masks import apply_mask
from tunebench.engine.native.library import Library


class LinearFunction(Function):
    """``x @ W.T + b`` for one or several stacked linear layers that share their input.

    The weights enter twice: as the fp32 parameters that receive gradients, and as one stacked copy in
    the compute type that the caller keeps up to date, so that nothing is cast per call.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        stacked: Tensor,
        bias: Tensor | None,
        kernels: Library | None,
        *parameters: Tensor | None,
    ) -> Tensor:
        """Return ``(rows, sum of out)``.

        Args:
            ctx: Autograd context.
            x: ``(rows, in)`` in the compute type.
            stacked: ``(sum of out, in)``, the weights stacked, in the compute type.
            bias: ``(sum of out,)`` in the compute type, or None.
            kernels: Native kernels, if they are used.
            *parameters: The fp32 weights, then their fp32 biases, in stacking order.
        """
        ctx.save_for_backward(x, stacked)
        ctx.kernels = kernels
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
        if all(needs[4 : 4 + count]):
            weights = list(_weight_gradient(grad, x, ctx.kernels).split(ctx.sizes))
        else:
            for i, part in enumerate(grad.split(ctx.sizes, dim=1)):
                if needs[4 + i]:
                    weights[i] = _weight_gradient(part, x, ctx.kernels)
        if any(needs[4 + count :]):
            # Summed in fp32; by PyTorch's operator rounded once.
            whole = grad.sum(0).float() if ctx.kernels is None else ctx.kernels.column_sums(grad)
            sums = whole.split(ctx.sizes)
            biases = [part if need else None for part, need in zip(sums, needs[4 + count :], strict=True)]
        return (grad_x, None, None, None, *weights, *biases)


def _weight_gradient(grad: Tensor, x: Tensor, kernels: Library | None) -> Tensor:
    """Return ``grad.T @ x`` in fp32: by the kernel with AMX, where it is the faster one, else by oneDNN in bf16."""
    if kernels is not None and kernels.has_amx and not (grad.shape[1] % 32 or x.shape[1] % 32):
        return kernels.weight_gradient(grad, x)
    return (grad.t() @ x).float()


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
