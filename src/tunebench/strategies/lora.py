"""Low-rank adaptation (LoRA) and its variants through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunebench.schema import ADDED_LATER
from tunebench.strategies.base import Strategy, StrategyParams, register
from tunebench.strategies.wrapping import wrap_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from tunebench.models.architectures import Architecture

Placement = Literal["query_value", "attention", "mlp", "all_linear"] | tuple[str, ...]
#: Study files' names of PEFT's initialisations.
Init = Literal["default", "gaussian", "pissa", "olora", "orthogonal", "eva"]


class LoraParams(StrategyParams):
    """Parameters of LoRA, under PEFT's names where it has them; the defaults are the paper's."""

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    placement: Placement = Field(
        default="query_value", description="or a list of module names within a layer, such as attention.q_lin"
    )
    rslora: bool = Field(default=False, json_schema_extra=ADDED_LATER, description="scale by alpha / sqrt(rank)")
    dora: bool = Field(
        default=False, json_schema_extra=ADDED_LATER, description="learn magnitude and direction separately"
    )
    init: Init = Field(default="default", json_schema_extra=ADDED_LATER, description="of the two factors")
    top_layers: int | None = Field(
        default=None, ge=1, json_schema_extra=ADDED_LATER, description="adapt only this many layers, from the top"
    )


@register
class LoRA(Strategy):
    """Train low-rank updates of chosen linear layers, and the head in full."""

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank updates of frozen linear layers; the head is trained in full"
    source: ClassVar[str] = (
        "Hu et al. 2021 (arXiv:2106.09685); rsLoRA: Kalajdzievski 2023 (arXiv:2312.03732); DoRA: Liu et al. 2024 "
        "(arXiv:2402.09353); PiSSA: Meng et al. 2024 (arXiv:2404.02948); "
        "EVA: Paischer et al. 2024 (arXiv:2410.07170)"
    )
    params: ClassVar[type[StrategyParams]] = LoraParams
    default_learning_rate: ClassVar[float] = 5e-4
    shares_dropout: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse placements the family does not have; see :meth:`Strategy.refusal`."""
        return refuse_targets(params.placement, params.top_layers, architecture)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT LoRA adapter; see :meth:`Strategy.prepare`."""
        from peft import LoraConfig

        variants: dict[str, Any] = {"use_rslora": params.rslora, "use_dora": params.dora}
        if params.init not in ("default", "eva"):
            variants["init_lora_weights"] = params.init
        return wrap_layers(
            model,
            LoraConfig,
            architecture,
            placement=params.placement,
            top_layers=params.top_layers,
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            **variants,
        )

    def initialise(self, model: Any, params: Any, batches: Iterable[dict[str, Any]]) -> None:
        """Under ``init: eva``, begin with what the layers' inputs vary in most; see :meth:`Strategy.initialise`."""
        if params.init != "eva":
            return
        from peft import EvaConfig, initialize_lora_eva_weights

        config: Any = model.peft_config["default"]
        config.init_lora_weights = "eva"
        # Ranks stay where the study put them: what is trained is known before the data is read.
        config.eva_config = EvaConfig(rho=1.0, use_label_mask=False)
        # Processes that train together each see all batches, and arrive at the same.
        initialize_lora_eva_weights(model.eval(), batches, show_progress_bar=False, gather_distributed_inputs=False)


def refuse_targets(placement: Any, top_layers: int | None, architecture: Architecture) -> str | None:
    """Say why the family does not support a placement; None where it does."""
    from tunebench.errors import ModelError, first_line

    if top_layers is not None and top_layers > architecture.num_layers:
        return f"top_layers is {top_layers}, but the model has {architecture.num_layers} layers"
    try:
        architecture.projections(placement)
    except ModelError as error:
        return first_line(error)
    return None
