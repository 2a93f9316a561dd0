"""Adapters that add a low-rank update to a linear layer: ``y += s * drop(x) A.T B.T``, whatever A and B are.

The next kind of adapter is a row of :data:`_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn


class LowRank(NamedTuple):
    """The update of one layer, as far as a step needs it.

    Attributes:
        down: A, ``(rank, in)``, fp32; autograd leads from here to what is trained.
        up: B, ``(out, rank)``, fp32, likewise.
        scaling: s.
        dropout: Module that drops elements of ``x``.
    """

    down: Tensor
    up: Tensor
    scaling: float
    dropout: nn.Module


def low_rank(module: Any) -> LowRank:
    """Return the update of an adapter's layer as it is now; ``module`` is one that :func:`refusal` lets pass."""
    kind = _kind_of(module)
    assert kind is not None
    return _KINDS[kind](module, module.active_adapters[0])


def refusal(module: Any) -> str | None:
    """Say why a layer of PEFT is no plain low-rank update of a linear layer; None where it is."""
    kind = _kind_of(module)
    if kind is None or type(module.base_layer) is not nn.Linear:
        return f"{type(module).__name__} layers run through their own forward"
    variant = getattr(module, "lora_variant", None) or any(getattr(module, "lora_bias", {}).values())
    if variant or len(module.active_adapters) != 1 or module.merged or getattr(module, "fan_in_fan_out", False):
        return "this LoRA variant runs through its own forward"
    return None


def _lora(module: Any, name: str) -> LowRank:
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return LowRank(down, up, module.scaling[name], module.lora_dropout[name])


def _adalora(module: Any, name: str) -> LowRank:
    # PEFT divides by the rank that is left, and adds as much so that it is never zero.
    scaling = module.scaling[name] / (float(module.ranknum[name]) + 1e-5)
    down = module.lora_A[name] * module.lora_E[name]
    return LowRank(down, module.lora_B[name], scaling, module.lora_dropout[name])


def _vera(module: Any, name: str) -> LowRank:
    # The frozen A and B are those of all layers, of the largest size.
    down = module.vera_lambda_d[name].unsqueeze(1) * module.vera_A[name][:, : module.in_features]
    up = module.vera_lambda_b[name].unsqueeze(1) * module.vera_B[name][: module.out_features]
    return LowRank(down, up, 1.0, module.vera_dropout[name])


#: By module and name of the layer's class.
_KINDS: dict[tuple[str, str], Callable[[Any, str], LowRank]] = {
    ("peft.tuners.lora.layer", "Linear"): _lora,
    ("peft.tuners.adalora.layer", "SVDLinear"): _adalora,
    ("peft.tuners.vera.layer", "Linear"): _vera,
}


def _kind_of(module: Any) -> tuple[str, str] | None:
    kind = type(module).__module__, type(module).__name__
    return kind if kind in _KINDS else None
