"""Other adapters of PEFT that go with sequence classification on encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunebench.strategies.base import Strategy, StrategyParams, register
from tunebench.strategies.frozen import NoParams
from tunebench.strategies.lora import Placement, refuse_targets
from tunebench.strategies.wrapping import wrap_layers

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


class VeraParams(StrategyParams):
    """Parameters of VeRA, under PEFT's names."""

    rank: int = Field(default=256, ge=1, le=4096)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    d_initial: float = Field(default=0.1, gt=0, description="first value of the lower factor's scaling")
    placement: Literal["query_value"] = Field(
        default="query_value", description="its shared projections need layers of one shape"
    )


class OftParams(StrategyParams):
    """Parameters of OFT, under PEFT's names."""

    block_size: int = Field(default=32, ge=2, description="of the rotations; it must divide the layers' width")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    placement: Placement = "query_value"


@register
class IA3(Strategy):
    """Learned rescaling of keys, values and the inner activations of the feed-forward part."""

    name: ClassVar[str] = "ia3"
    summary: ClassVar[str] = (
        "one learned factor for each unit of keys, values and feed-forward activations, and the head"
    )
    source: ClassVar[str] = "Liu et al. 2022, IA3 (arXiv:2205.05638)"
    params: ClassVar[type[StrategyParams]] = NoParams
    default_learning_rate: ClassVar[float] = 3e-3
    shares_dropout: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse families that fuse keys and values; see :meth:`Strategy.refusal`."""
        if architecture.key is None or architecture.value is None:
            return f"{architecture.model_type} has no key and value layers of their own to rescale"
        return None

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT IA3 adapter; see :meth:`Strategy.prepare`."""
        from peft import IA3Config

        down = architecture.mlp[-1]
        names = (architecture.key or "", architecture.value or "", down)
        return wrap_layers(
            model,
            IA3Config,
            architecture,
            placement=names,
            feedforward_modules=list(architecture.projections((down,))),
        )


@register
class VeRA(Strategy):
    """Learned scalings of random low-rank factors that all layers share."""

    name: ClassVar[str] = "vera"
    summary: ClassVar[str] = "learned scalings of shared random low-rank factors on query and value, and the head"
    source: ClassVar[str] = "Kopiczko, Blankevoort and Asano 2024, VeRA (arXiv:2310.11454)"
    params: ClassVar[type[StrategyParams]] = VeraParams
    default_learning_rate: ClassVar[float] = 5e-3
    shares_dropout: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse families without query and value layers; see :meth:`Strategy.refusal`."""
        return refuse_targets(params.placement, None, architecture)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT VeRA adapter; see :meth:`Strategy.prepare`."""
        from peft import VeraConfig

        return wrap_layers(
            model,
            VeraConfig,
            architecture,
            placement=params.placement,
            r=params.rank,
            vera_dropout=params.dropout,
            d_initial=params.d_initial,
        )


@register
class OFT(Strategy):
    """Learned rotations of frozen weights."""

    name: ClassVar[str] = "oft"
    summary: ClassVar[str] = "learned block rotations of frozen linear layers, and the head"
    source: ClassVar[str] = "Qiu et al. 2023, OFT (arXiv:2306.07280)"
    params: ClassVar[type[StrategyParams]] = OftParams
    default_learning_rate: ClassVar[float] = 1e-3

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse placements the family does not have; see :meth:`Strategy.refusal`."""
        return refuse_targets(params.placement, None, architecture)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT OFT adapter; see :meth:`Strategy.prepare`."""
        from peft import OFTConfig

        return wrap_layers(
            model,
            OFTConfig,
            architecture,
            placement=params.placement,
            r=0,
            oft_block_size=params.block_size,
            module_dropout=params.dropout,
        )
