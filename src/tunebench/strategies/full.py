"""Full fine-tuning: every parameter is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunebench.schema import ADDED_LATER
from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


class FullParams(StrategyParams):
    """Options of full fine-tuning; the defaults are plain full fine-tuning."""

    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        json_schema_extra=ADDED_LATER,
        description="each layer's learning rate, relative to that of the layer above; 1 is one rate for all",
    )
    unfreeze: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        json_schema_extra=ADDED_LATER,
        description="share of training over which layers are unfrozen one by one, from the top; 0: all train "
        "from the start",
    )


@register
class FullFineTuning(Strategy):
    """Update all weights of encoder and head."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "every parameter of encoder and head is trained"
    source: ClassVar[str] = (
        "Devlin et al. 2019 (arXiv:1810.04805); layer decay and gradual unfreezing: Howard and Ruder 2018 "
        "(arXiv:1801.06146)"
    )
    params: ClassVar[type[StrategyParams]] = FullParams
    default_learning_rate: ClassVar[float] = 5e-5
    shares_dropout: ClassVar[bool] = True

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Make every parameter trainable; see :meth:`Strategy.prepare`."""
        return model.requires_grad_(True)

    def multiplier(self, parameter: str, params: Any, architecture: Architecture) -> tuple[float, float]:
        """Slow lower layers down, and let them begin later; see :meth:`Strategy.multiplier`."""
        depth = architecture.depth(parameter)
        below_top = architecture.num_layers + 1 - depth  # 0 for the head
        return params.layer_decay**below_top, params.unfreeze * below_top / (architecture.num_layers + 1)
