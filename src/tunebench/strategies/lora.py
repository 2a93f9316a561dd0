"""Low-rank adaptation (LoRA) through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture


class LoraParams(StrategyParams):
    """Parameters of LoRA, under PEFT's names; the defaults are the report's."""

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    placement: Literal["query_value", "attention", "mlp", "all_linear"] = "query_value"


@register
class LoRA(Strategy):
    """Train low-rank updates of chosen linear layers, and the head in full."""

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank updates of frozen linear layers; the head is trained in full"
    source: ClassVar[str] = "Hu et al. 2021, LoRA (arXiv:2106.09685)"
    params: ClassVar[type[StrategyParams]] = LoraParams
    default_learning_rate: ClassVar[float] = 5e-4

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT LoRA adapter; see :meth:`Strategy.prepare`."""
        from peft import LoraConfig, TaskType, get_peft_model

        config = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            target_modules=list(architecture.projections(params.placement)),
            # Named one by one: PEFT would train DistilBERT's pre_classifier only because its name
            # happens to end in "classifier" (peft#3755).
            modules_to_save=list(architecture.head),
        )
        adapted: nn.Module = get_peft_model(model, config)
        return adapted
