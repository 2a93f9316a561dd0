"""Strategies that train parameters the model has already, and leave the rest frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunebench.schema import ADDED_LATER
from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


class NoParams(StrategyParams):
    """No parameters."""


class HeadOnlyParams(StrategyParams):
    """What the head reads of the frozen encoder."""

    pooling: Literal["cls", "mean"] = Field(
        default="cls",
        json_schema_extra=ADDED_LATER,
        description="what the head reads: the first token, for which it is made, or the mean over all tokens",
    )


class LastKParams(StrategyParams):
    """How many layers are trained."""

    layers: int = Field(default=2, ge=1, description="trained layers, from the top; the head is trained, too")


@register
class HeadOnly(Strategy):
    """A linear probe: the encoder stays as it was pretrained."""

    name: ClassVar[str] = "head_only"
    summary: ClassVar[str] = "the classification head alone, on the frozen encoder's first token or its mean"
    source: ClassVar[str] = "Alain and Bengio 2016, linear probes (arXiv:1610.01644)"
    params: ClassVar[type[StrategyParams]] = HeadOnlyParams
    default_learning_rate: ClassVar[float] = 1e-3
    shares_dropout: ClassVar[bool] = True
    sets_pooling: ClassVar[bool] = True

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Freeze everything but the head, and set the pooling; see :meth:`Strategy.prepare`."""
        from tunebench.models.pooling import pool_mean

        if params.pooling == "mean":
            pool_mean(model, architecture)
        return train_only(model, lambda name: architecture.is_head(name))


@register
class LastK(Strategy):
    """Full fine-tuning of the top layers."""

    name: ClassVar[str] = "last_k"
    summary: ClassVar[str] = "every parameter of the top layers and the head"
    source: ClassVar[str] = "Lee, Tang and Lin 2019, partial freezing (arXiv:1911.03090)"
    params: ClassVar[type[StrategyParams]] = LastKParams
    default_learning_rate: ClassVar[float] = 1e-4
    shares_dropout: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse more layers than there are; see :meth:`Strategy.refusal`."""
        if params.layers > architecture.num_layers:
            return f"layers is {params.layers}, but the model has {architecture.num_layers}"
        return None

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Freeze embeddings and lower layers; see :meth:`Strategy.prepare`."""
        lowest = architecture.num_layers - params.layers + 1
        return train_only(model, lambda name: architecture.depth(name) >= lowest)


@register
class BitFit(Strategy):
    """Train biases and norms."""

    name: ClassVar[str] = "bitfit"
    summary: ClassVar[str] = "biases and norms of the encoder, and the head"
    source: ClassVar[str] = "Ben Zaken, Ravfogel and Goldberg 2022, BitFit (arXiv:2106.10199)"
    params: ClassVar[type[StrategyParams]] = NoParams
    default_learning_rate: ClassVar[float] = 1e-3
    shares_dropout: ClassVar[bool] = True

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Freeze all matrices of the encoder; see :meth:`Strategy.prepare`."""
        from torch import nn

        norms = {name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}

        def wanted(name: str) -> bool:
            return architecture.is_head(name) or name.endswith(".bias") or name.rpartition(".")[0] in norms

        return train_only(model, wanted)


def train_only(model: nn.Module, wanted: Any) -> nn.Module:
    """Make exactly the parameters trainable whose full names are wanted."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(wanted(name))
    return model
