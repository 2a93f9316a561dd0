"""Attach the fast layers to a loaded model, and detach them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunebench.engine.fast.families import kernels_refusal, refusal
from tunebench.engine.fast.layers import FastLayer, Shared
from tunebench.engine.fast.linears import OwnForwards, StackedLinear
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.ops import DropoutFunction
from tunebench.engine.fast.packing import Packing
from tunebench.engine.native.library import Library
from tunebench.engine.native.loading import Loaded, load
from tunebench.machine.devices import has_amx
from tunebench.models.architectures import unwrap
from tunebench.models.pooling import reads_first_token

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture


class FastEncoder:
    """The fast layers of one model, and what keeps their copies of the weights in step.

    Args:
        model: A sequence classifier, wrapped by PEFT or not, or an encoder alone. Only ``forward`` attributes of
            its modules are set.
        architecture: Its module names.
        seed: Seed of the dropout masks.
        stream: Which stream of them; see :class:`MaskStream`.
        dtype: Compute type, bf16 or fp32.
        library_attention: Evaluate with PyTorch's own attention; by default where that is faster.
        recomputes: Keep only the input of each layer for the backward pass (gradient checkpointing).
        first_token_only: Whether nothing reads another token of the last layer; by default what the classifier's
            head reads.
        kernels: Native kernels that the layers use; the model is one that they are written for.
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Architecture,
        *,
        seed: int,
        stream: int = 0,
        dtype: torch.dtype,
        library_attention: bool | None = None,
        recomputes: bool = False,
        first_token_only: bool | None = None,
        kernels: Library | None = None,
    ) -> None:
        self.kernels = kernels
        self.masks = MaskStream(seed, stream=stream)
        unwrapped = unwrap(model)
        stack = list(unwrapped.get_submodule(architecture.layers))
        if library_attention is None:
            library_attention = dtype == torch.bfloat16 and has_amx()
        self.packing = Packing()
        shared = Shared(architecture, unwrapped.config, self.masks, dtype, library_attention, self.packing, kernels)
        if first_token_only is None:
            first_token_only = reads_first_token(model)
        self.layers = []
        for index, layer in enumerate(stack):
            last = layer is stack[-1]
            self.layers.append(
                FastLayer(layer, shared, index=index, last=last, first_token_only=last and first_token_only)
            )
        self._swapped: list[nn.Module] = []
        for fast in self.layers:
            self._swap(fast.layer, Recomputed(fast).forward if recomputes else fast.forward)
        replaced = {module for layer in stack for module in layer.modules()} - set(self.own_forwards)
        for module in unwrapped.modules():
            if isinstance(module, nn.Dropout) and module not in replaced:
                self._swap(module, _MaskedDropout(module, self.masks).forward)

    def _swap(self, module: nn.Module, forward: Any) -> None:
        module.forward = forward
        self._swapped.append(module)

    @property
    def stacks(self) -> Iterator[StackedLinear]:
        """All stacked weights."""
        return (part for layer in self.layers for part in layer.linears if isinstance(part, StackedLinear))

    @property
    def own_forwards(self) -> list[nn.Module]:
        """All modules inside the layers that run their own forward, or lie within one that does."""
        parts = (part for layer in self.layers for part in layer.linears if isinstance(part, OwnForwards))
        return [inner for part in parts for module in part.modules for inner in module.modules()]

    def start_step(self, step: int) -> None:
        """Tie the dropout masks that follow to an optimisation step."""
        self.masks.start_step(step)

    def refresh(self, *, everything: bool = False) -> None:
        """Copy the parameters an optimiser step may have changed (or all) into the stacks."""
        for stack in self.stacks:
            stack.refresh(everything=everything)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Run with LoRA folded into the stacked copies; the parameters are never touched.

        Adapters that run their own forward are not merged here.
        """
        for stack in self.stacks:
            stack.refresh(everything=True, merge=True)
        try:
            yield
        finally:
            self.refresh(everything=True)

    def detach(self) -> None:
        """Give every module its own ``forward`` back."""
        for module in self._swapped:
            del module.forward
        self._swapped.clear()


def attach(
    model: nn.Module,
    architecture: Architecture,
    dtype: torch.dtype,
    *,
    seed: int,
    stream: int = 0,
    recomputes: bool = False,
    first_token_only: bool | None = None,
    native: bool = True,
) -> tuple[FastEncoder | None, torch.dtype | None]:
    """Give a model on a CPU its fast layers, or say what type autocast should compute in instead.

    Args:
        model: See :class:`FastEncoder`, as for the others.
        architecture: Its module names.
        dtype: Compute type.
        seed: Seed of the dropout masks.
        stream: Which stream of them.
        recomputes: Gradient checkpointing.
        first_token_only: See :class:`FastEncoder`.
        native: Use the native kernels where :func:`kernels_for` gives them.

    Returns:
        The fast layers, or None; and the autocast type, or None where the layers or plain fp32 do.
    """
    if supports(architecture, model) is None:
        kernels = kernels_for(model, dtype).library if native else None
        fast = FastEncoder(
            model,
            architecture,
            seed=seed,
            stream=stream,
            dtype=dtype,
            recomputes=recomputes,
            first_token_only=first_token_only,
            kernels=kernels,
        )
        return fast, None
    return None, None if dtype == torch.float32 else dtype


def kernels_for(model: nn.Module, dtype: torch.dtype) -> Loaded:
    """Return the native kernels for a model that has fast layers, or why it does not use them."""
    reason = kernels_refusal(unwrap(model).config)
    if reason is not None:
        return Loaded(None, reason)
    return load("bf16" if dtype == torch.bfloat16 else "fp32")


class _MaskedDropout:
    """Dropout outside the layers (embeddings, head) or in adapters' own forward, from the same stream of masks."""

    def __init__(self, module: nn.Dropout, masks: MaskStream) -> None:
        self.module, self.masks = module, masks

    def forward(self, x: Tensor) -> Tensor:
        keep, scale = self.masks.keep(tuple(x.shape), self.module.p if self.module.training else 0.0)
        return x if keep is None else DropoutFunction.apply(x, None, keep, scale)


class Recomputed:
    """A layer that keeps only its input for the backward pass, and then computes the rest again.

    Transformers' layers checkpoint inside the ``forward`` that a fast layer stands in for.

    Args:
        fast: The layer.
    """

    def __init__(self, fast: FastLayer) -> None:
        self.fast = fast

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the layer; see :meth:`FastLayer.forward`."""
        fast = self.fast
        if not (fast.layer.training and torch.is_grad_enabled()):
            return fast.forward(hidden_states, *args, **kwargs)
        state, first = fast.masks.state, True

        def run(*given: Any, **named: Any) -> Any:
            nonlocal first
            if first:
                first = False
                return fast.forward(*given, **named)
            # PyTorch restores its own generator; the masks come from ours.
            with fast.masks.replayed(state):
                return fast.forward(*given, **named)

        return checkpoint(run, hidden_states, *args, use_reentrant=False, **kwargs)


def supports(architecture: Architecture, model: nn.Module) -> str | None:
    """Say why the fast layers cannot stand in for this model's; None when they can.

    Args:
        architecture: The family.
        model: The prepared model.
    """
    if any(p.device.type != "cpu" for p in unwrap(model).parameters()):
        return "the fast layers are for CPUs"
    return refusal(unwrap(model).config)
