"""Counting the arithmetic of a training step as it is, unlike ``total_flos``.

The Trainer multiplies 6 by all tokens and all parameters, frozen ones included. Here every matrix
product counts 2 operations a multiply-add, three times at most: forward; the gradient of its input,
where anything trained lies below; the gradient of its weight, where that is trained. So full
fine-tuning costs 6 N a token, LoRA on every layer about 4 N, the top k of L layers 2 N + 4 N k / L,
and a linear probe 2 N. Element-wise work is not counted, nor what an adapter computes of its weights once
a step (DoRA's norms, OFT's rotations).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunebench.models.architectures import unwrap, virtual_tokens

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


@dataclass(frozen=True)
class Work:
    """Operations of one part of a model, forward and backward.

    Attributes:
        linear: Of its linear layers, a token (or a text, for the head).
        attention: Of scores and context, a pair of tokens.
    """

    linear: float = 0.0
    linear_backward: float = 0.0
    attention: float = 0.0
    attention_backward: float = 0.0


@dataclass(frozen=True)
class Workload:
    """Operations of one model under one strategy.

    Attributes:
        layers: One entry an encoder layer.
        head: The head, a text.
        key_value: Of the last layer, what every token needs even where only the first one's output
            is wanted: its keys and values.
        prompt: Virtual tokens that go through every layer before a text's own.
        prefix: Virtual keys and values that every layer attends to besides.
        recomputes: Whether the backward pass computes the layers' outputs again.
    """

    layers: tuple[Work, ...]
    head: Work
    key_value: Work
    prompt: int = 0
    prefix: int = 0
    recomputes: bool = False

    def above(self, layers: int) -> Workload:
        """Return the work that is left when the outputs of the bottom layers are there already."""
        return replace(self, layers=self.layers[layers:])

    def below(self, layers: int) -> Workload:
        """Return the work of the bottom layers alone, without a head."""
        return replace(self, layers=self.layers[:layers], head=Work())

    def forward(self, *, texts: int, length: int, first_token_only: bool = False) -> float:
        """Return the operations of a forward pass.

        Args:
            texts: Texts in the batch.
            length: Tokens a text, padding included, virtual ones not.
            first_token_only: The last layer computes the first token only (the fast layers).
        """
        length, keys = length + self.prompt, length + self.prompt + self.prefix
        total = sum(length * (work.linear + keys * work.attention) for work in self.layers)
        if first_token_only:
            total -= (length - 1) * (self.layers[-1].linear - self.key_value.linear)
            total -= (length - 1) * keys * self.layers[-1].attention
        return texts * (total + self.head.linear)

    def step(self, *, texts: int, length: int, first_token_only: bool = False) -> float:
        """Return the operations of a forward and a backward pass; see :meth:`forward`."""
        forward = self.forward(texts=texts, length=length, first_token_only=first_token_only)
        length, keys = length + self.prompt, length + self.prompt + self.prefix
        total = sum(length * (work.linear_backward + keys * work.attention_backward) for work in self.layers)
        if first_token_only:
            total -= (length - 1) * (self.layers[-1].linear_backward - self.key_value.linear_backward)
            total -= (length - 1) * keys * self.layers[-1].attention_backward
        again = forward - texts * self.head.linear if self.recomputes else 0.0
        return forward + again + texts * (total + self.head.linear_backward)


def count(model: nn.Module, architecture: Architecture) -> Workload:
    """Count the operations of a prepared model.

    Relative-position products (DeBERTa) and local attention windows (ModernBERT) are counted as plain
    attention.

    Args:
        model: The model, with ``requires_grad`` set as it will be trained.
        architecture: Its module names.
    """
    unwrapped = unwrap(model)
    stack = list(unwrapped.get_submodule(architecture.layers))
    inside = {id(p) for layer in stack for p in layer.parameters()}
    prompt, prefix = virtual_tokens(model)
    # A prefix enters at the layers' attention, everything else outside of the layers below them.
    below = not prefix and any(
        p.requires_grad and id(p) not in inside and not architecture.is_head(name)
        for name, p in model.named_parameters()
    )
    layers = []
    key_value = Work()
    for layer in stack:
        # Of a weight that gives the query too, all.
        costs = [_linear(layer.get_submodule(name), below) for name in architecture.reading[-2:]]
        key_value = Work(sum(c[0] for c in costs), sum(c[1] for c in costs))
        work, below = _count_layer(
            layer, architecture, unwrapped.config.hidden_size, below, trained_keys=prefix > 0
        )
        layers.append(work)
    head = [module for name, module in _head_modules(unwrapped, architecture) if "original_module" not in name]
    forward = sum(2.0 * module.weight.numel() for module in head)
    backward = sum(4.0 * module.weight.numel() for module in head if module.weight.requires_grad)
    return Workload(tuple(layers), Work(forward, backward), key_value, prompt, prefix)


def _count_layer(
    layer: nn.Module, architecture: Architecture, hidden: int, below: bool, *, trained_keys: bool
) -> tuple[Work, bool]:
    """Count a layer; the flag says whether a gradient is wanted of what enters, and then leaves, it."""
    stages = [architecture.reading, (architecture.attention_output,), *((name,) for name in architecture.mlp)]
    forward = backward = attention_backward = 0.0
    for number, names in enumerate(stages):
        modules = [layer.get_submodule(name) for name in names]
        for module in modules:
            cost, gradients = _linear(module, below)
            forward += cost
            backward += gradients
        below = below or trained_keys or any(p.requires_grad for module in modules for p in module.parameters())
        if number == 0 and below:
            attention_backward = 8.0 * hidden
    below = below or any(p.requires_grad for p in layer.parameters())
    return Work(forward, backward, 4.0 * hidden, attention_backward), below


def _linear(module: Any, below: bool) -> tuple[float, float]:
    """Return forward and backward operations a token of a linear layer and the adapter on it."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight = base.weight
    rotations = list(getattr(module, "oft_R", {}).values())
    forward = 2.0 * weight.numel()
    # A rotation stands before the base layer, which then has to hand a gradient down to it.
    backward = forward * ((below or bool(rotations)) + weight.requires_grad)
    for rotation in rotations:
        extra = 2.0 * base.in_features * rotation.block_size
        forward += extra
        backward += extra * (below + rotation.weight.requires_grad)
    for shared in getattr(module, "vera_A", {}).values():
        # Two frozen products, of which a layer takes its part, with a trained scale between them.
        down, up = (2.0 * shared.shape[0] * width for width in (base.in_features, base.out_features))
        forward += down + up
        backward += up + down * below
    # Packed rotations and IA3's scales have two dimensions, and stand in no product.
    scales = [rotation.weight for rotation in rotations] + list(getattr(module, "ia3_l", {}).values())
    apart = {id(weight), *map(id, scales)}
    for name, parameter in module.named_parameters():
        if parameter.ndim == 2 and id(parameter) not in apart:
            extra = 2.0 * parameter.numel()
            forward += extra
            # The input of the upper low-rank factor always needs its gradient: the lower one is trained.
            backward += extra * (parameter.requires_grad + (below or "lora_B" in name))
    return forward, backward


def _head_modules(model: Any, architecture: Architecture) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if hasattr(module, "modules_to_save"):
            continue  # PEFT's wrapper shows the weight of what it wraps, which comes on its own
        if architecture.is_head(name) and getattr(getattr(module, "weight", None), "ndim", 0) == 2:
            yield name, module
