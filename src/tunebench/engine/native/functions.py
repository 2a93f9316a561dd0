"""Differentiable operations of the fast layers over the kernels; activations in bf16 or fp32, fp32 parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from tunebench.engine.native.library import Heads, Library, Texts
from tunebench.engine.native.masks import Dropout


class AttentionKernel(Function):
    """Attention whose probabilities are never stored: the backward pass computes them again, and the mask too."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        others: Tensor | None,
        library: Library,
        texts: Texts,
        heads: Heads,
        dropout: Dropout,
    ) -> Tensor:
        """Return ``(rows of queries, D)``.

        Args:
            ctx: Autograd context.
            query: ``(rows, 3 D)``, query, key and value of every token side by side; or ``(rows of queries, D)``,
                the queries alone.
            others: None, or ``(rows, 2 D)``, key and value.
            library: The kernels.
            texts: Where the texts are.
            heads: The heads.
            dropout: Of the probabilities.
        """
        differentiable = any(ctx.needs_input_grad)
        context, logs = library.attention(
            _parts(query, others), texts, heads, dropout, differentiable=differentiable
        )
        if differentiable:
            ctx.save_for_backward(query, others, context, logs)
            ctx.given = library, texts, heads, dropout
        return context

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients in the layout of the inputs."""
        query, others, context, logs = ctx.saved_tensors
        library, texts, heads, dropout = ctx.given
        grads = texts.new_queries(query, query.shape[1]), None
        if others is not None:
            grads = grads[0], texts.new_keys(others, others.shape[1])
        library.attention_gradients(
            _parts(query, others), [context, grad.contiguous()], logs, _parts(*grads), texts, heads, dropout
        )
        return (*grads, None, None, None, None)


def _parts(query: Tensor, others: Tensor | None) -> list[Tensor]:
    """Return query, key and value as views of columns."""
    return list(query.chunk(3, dim=1)) if others is None else [query, *others.chunk(2, dim=1)]


class NormKernel(Function):
    """``norm(residual + dropout(x + x_bias))``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        x_bias: Tensor | None,
        residual: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        library: Library,
        dropout: Dropout,
    ) -> Tensor:
        """Return a tensor of the shape of ``x``; the bias of the product that ``x`` is comes with its gradient."""
        found = library.norm(x, x_bias, residual, (weight, bias, epsilon), dropout)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(found.sums, found.means, found.deviations, weight)
            ctx.given = library, dropout
        return found.result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of ``x``, its bias, the residual, and the norm's weight and bias."""
        *saved, weight = ctx.saved_tensors
        library, dropout = ctx.given
        needs = ctx.needs_input_grad
        learns = needs[1] or needs[3] or needs[4]
        residual, x, totals = library.norm_gradients(
            grad.contiguous(), weight, tuple(saved), dropout, learns=learns
        )
        of_weight, of_bias, of_x_bias = (None, None, None) if totals is None else totals.unbind(0)
        return x, of_x_bias, residual, of_weight, of_bias, None, None, None


class GeluKernel(Function):
    """``gelu(x + bias)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, library: Library) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, bias)
            ctx.library = library
        return library.gelu(x, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients of ``x`` and of the bias."""
        x, bias = ctx.saved_tensors
        x_grad, bias_grad = ctx.library.gelu_gradients(grad.contiguous(), x, bias, learns=ctx.needs_input_grad[1])
        return x_grad, bias_grad, None


class DropoutKernel(Function):
    """``dropout(x)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, library: Library, dropout: Dropout) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        ctx.library, ctx.dropout = library, dropout
        return library.dropped(x, dropout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of ``x``."""
        return ctx.library.dropped(grad.contiguous(), ctx.dropout), None, None
