"""Linear layers that share an input: stacked into one product, or left to their own forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunebench.engine.fast.low_rank import low_rank, refusal
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.ops import LinearFunction, LoraFunction
from tunebench.engine.native.functions import DropoutKernel
from tunebench.engine.native.library import Library
from tunebench.engine.native.masks import Dropout


class StackedLinear:
    """Linear layers that share an input, run as one product over one stacked low-precision weight.

    Args:
        modules: ``nn.Linear``, or layers of PEFT that add a low-rank update to one.
        dtype: Compute type.
        kernels: Native kernels, if they are used.
    """

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype, kernels: Library | None = None) -> None:
        self.modules = list(modules)
        self.kernels = kernels
        self.linears: list[Any] = [getattr(module, "base_layer", module) for module in modules]
        self.dtype = dtype
        self.adapters: list[Any] = [module if hasattr(module, "base_layer") else None for module in modules]
        self.starts = [0]
        for linear in self.linears:
            self.starts.append(self.starts[-1] + linear.out_features)
        self.merged = False
        weights = [linear.weight for linear in self.linears]
        self.stacked = torch.empty(self.starts[-1], weights[0].shape[1], dtype=dtype)
        self.has_bias = any(linear.bias is not None for linear in self.linears)
        self.bias = torch.zeros(self.starts[-1], dtype=dtype) if self.has_bias else None
        self.refresh(everything=True)

    @torch.no_grad()
    def refresh(self, *, everything: bool = False, merge: bool = False) -> None:
        """Copy the fp32 parameters into the stack.

        Args:
            everything: Also copy frozen parameters, which an optimiser step leaves alone.
            merge: Fold the adapters' updates into the copy; the parameters themselves are not touched, so
                nothing has to be undone but the copy.
        """
        for linear, adapter, start in zip(self.linears, self.adapters, self.starts[:-1], strict=True):
            rows = slice(start, start + linear.out_features)
            if merge and adapter is not None:
                update = low_rank(adapter)
                self.stacked[rows].copy_(linear.weight + update.scaling * (update.up @ update.down))
            elif everything or linear.weight.requires_grad:
                self.stacked[rows].copy_(linear.weight)
            if self.bias is not None and linear.bias is not None:
                self.bias[rows].copy_(linear.bias)
        self.merged = merge

    def __call__(self, x: Tensor, masks: MaskStream, *, training: bool) -> Tensor:
        """Apply all layers.

        Args:
            x: ``(rows, in)`` in the compute type.
            masks: Where the adapters' dropout draws from.
            training: Whether dropout is on.

        Returns:
            ``(rows, sum of out)``.
        """
        biases = [linear.bias for linear in self.linears]
        return self._applied(x, self.bias, biases, masks, training=training)

    def without_bias(self, x: Tensor, masks: MaskStream, *, training: bool) -> tuple[Tensor, Tensor | None]:
        """Apply the one layer there is without its bias, and return that in fp32 for a kernel that adds it."""
        (linear,) = self.linears
        return self._applied(x, None, [None], masks, training=training), linear.bias

    def _applied(
        self, x: Tensor, bias: Tensor | None, biases: Sequence[Tensor | None], masks: MaskStream, *, training: bool
    ) -> Tensor:
        weights = [linear.weight for linear in self.linears]
        y: Tensor = LinearFunction.apply(x, self.stacked, bias, self.kernels, *weights, *biases)
        if self.merged:
            return y
        for adapter, start in zip(self.adapters, self.starts[:-1], strict=True):
            if adapter is None:
                continue
            update = low_rank(adapter)
            p = getattr(update.dropout, "p", 0.0) if training else 0.0
            dropped, keep, scale = x, None, 1.0
            if self.kernels is None:
                keep, scale = masks.keep(tuple(x.shape), p)
            elif masks.drops(p):
                dropped = DropoutKernel.apply(x, self.kernels, Dropout.of(p, masks.keys()))
            y = LoraFunction.apply(y, dropped, keep, scale, start, update.down, update.up, update.scaling)
        return y


class OwnForwards:
    """Linear layers that share an input and run their own forward: adapters without a fast operation.

    Args:
        modules: ``nn.Linear`` or layers of PEFT over them.
        dtype: Compute type.
    """

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
        self.modules = list(modules)
        self.dtype = dtype

    def __call__(self, x: Tensor, masks: MaskStream, *, training: bool) -> Tensor:
        """Apply all layers.

        Args:
            x: ``(rows, in)`` in the compute type.
            masks: Unused here; :class:`~tunebench.engine.fast.attach.FastEncoder` gives it to their dropout.
            training: Unused; the modules know.

        Returns:
            ``(rows, sum of out)`` in the compute type.
        """
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            parts = [module(x).to(self.dtype) for module in self.modules]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def without_bias(self, x: Tensor, masks: MaskStream, *, training: bool) -> tuple[Tensor, None]:
        """Apply the layers; each has added its own bias."""
        return self(x, masks, training=training).contiguous(), None


def why_own_forward(module: Any) -> str | None:
    """Say why a linear layer has no fast operation; None when it has: plain ones, and low-rank updates of them."""
    return None if type(module) is nn.Linear else refusal(module)


def linears_for(
    modules: Sequence[nn.Module], dtype: torch.dtype, kernels: Library | None = None
) -> StackedLinear | OwnForwards:
    """Return what stands in for linear layers that share an input: one product, or their own forward if need be."""
    own = any(why_own_forward(module) for module in modules)
    return OwnForwards(modules, dtype) if own else StackedLinear(modules, dtype, kernels)
