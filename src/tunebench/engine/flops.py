"""Counting the arithmetic of a training step as it is, unlike ``total_flos``.

The Trainer multiplies 6 by all tokens and all parameters, frozen ones included. Here every matrix
product counts 2 operations a multiply-add, three times at most: forward; the gradient of its input,
where anything trained lies below; the gradient of its weight, where that is trained. So full
fine-tuning costs 6 N a token, LoRA on every layer about 4 N, the top k of L layers 2 N + 4 N k / L,
and a linear probe 2 N. Element-wise work is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture


@dataclass(frozen=True)
class Workload:
    """Operations of one model under one strategy, apart by what they scale with.

    Attributes:
        forward_per_token: Linear layers of the encoder.
        backward_per_token: Their gradients.
        attention_forward: Scores and context, per token and per token attended to.
        attention_backward: Their gradients.
        forward_per_text: The head.
        backward_per_text: Its gradients.
        first_token_saving: Share of ``*_per_token`` and attention that disappears where the last
            layer computes the first token only.
    """

    forward_per_token: float
    backward_per_token: float
    attention_forward: float
    attention_backward: float
    forward_per_text: float
    backward_per_text: float
    last_forward_per_token: float
    last_backward_per_token: float
    last_attention_forward: float
    last_attention_backward: float

    def forward(self, *, texts: int, length: int, first_token_only: bool = False) -> float:
        """Return the operations of one forward pass over ``texts`` padded to ``length``."""
        tokens = texts * length
        total = tokens * self.forward_per_token + tokens * length * self.attention_forward
        if first_token_only:
            unused = texts * (length - 1)
            total -= unused * self.last_forward_per_token + unused * length * self.last_attention_forward
        return total + texts * self.forward_per_text

    def step(self, *, texts: int, length: int, first_token_only: bool = False) -> float:
        """Return the operations of one forward and backward pass."""
        tokens = texts * length
        total = tokens * self.backward_per_token + tokens * length * self.attention_backward
        if first_token_only:
            unused = texts * (length - 1)
            total -= unused * self.last_backward_per_token + unused * length * self.last_attention_backward
        forward = self.forward(texts=texts, length=length, first_token_only=first_token_only)
        return total + forward + texts * self.backward_per_text


def count(model: nn.Module, architecture: Architecture) -> Workload:
    """Count the operations of a prepared model.

    Args:
        model: The model, with ``requires_grad`` set as it will be trained.
        architecture: Its module names.
    """
    unwrapped: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = list(unwrapped.get_submodule(architecture.layers))
    inside = {id(p) for layer in layers for p in layer.parameters()}
    below = any(
        p.requires_grad and id(p) not in inside and not architecture.is_head(name)
        for name, p in unwrapped.named_parameters()
    )
    hidden = unwrapped.config.hidden_size
    totals = [0.0] * 4
    last = [0.0] * 4
    for layer in layers:
        costs, below = _count_layer(layer, architecture, hidden, below)
        totals = [a + b for a, b in zip(totals, costs, strict=True)]
        # Keys and values are needed of every token, whatever the head reads.
        last = [costs[0] - _key_value(layer, architecture, 1.0), costs[1], costs[2], costs[3]]
        last[1] -= _key_value(layer, architecture, costs[1] / costs[0] if costs[0] else 0.0)
    head_forward = head_backward = 0.0
    for name, module in unwrapped.named_modules():
        weight = getattr(module, "weight", None)
        if architecture.is_head(name) and "original_module" not in name and getattr(weight, "ndim", 0) == 2:
            head_forward += 2 * weight.numel()
            head_backward += 4 * weight.numel() if weight.requires_grad else 0
    return Workload(*totals, head_forward, head_backward, *last)


def _count_layer(
    layer: nn.Module, architecture: Architecture, hidden: int, below: bool
) -> tuple[list[float], bool]:
    """Return ``[forward, backward, attention forward, attention backward]`` and whether gradients pass."""
    qkv = (architecture.fused_projections, architecture.query, architecture.key, architecture.value)
    stages = [tuple(name for name in qkv if name), (architecture.attention_output,)]
    stages += [(name,) for name in architecture.mlp]
    forward = backward = attention_backward = 0.0
    for i, names in enumerate(stages):
        trained = False
        for name in names:
            cost, grads, trains = _count_linear(layer.get_submodule(name), below)
            forward += cost
            backward += grads
            trained |= trains
        below |= trained
        if i == 0 and below:
            attention_backward = 8.0 * hidden
    below |= any(p.requires_grad for p in layer.parameters())
    return [forward, backward, 4.0 * hidden, attention_backward], below


def _count_linear(module: Any, below: bool) -> tuple[float, float, bool]:
    """Return forward and backward operations a token, and whether anything in it is trained."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight = base.weight
    forward = 2.0 * weight.numel()
    backward = forward * (below + weight.requires_grad)
    trained = any(p.requires_grad for p in module.parameters())
    for name, parameter in module.named_parameters():
        if parameter is not weight and parameter.ndim == 2:
            extra = 2.0 * parameter.numel()
            forward += extra
            # The gradient of a low-rank factor's input is needed below the upper factor always.
            backward += extra * (parameter.requires_grad + (below or "lora_B" in name))
    return forward, backward, trained


def _key_value(layer: nn.Module, architecture: Architecture, factor: float) -> float:
    names = [name for name in (architecture.key, architecture.value) if name]
    modules: list[Any] = [layer.get_submodule(name) for name in names]
    return factor * sum(2.0 * getattr(m, "base_layer", m).weight.numel() for m in modules)
