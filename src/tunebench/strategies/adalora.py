"""AdaLoRA: low-rank updates whose ranks are moved, while training, to the matrices that need them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from tunebench.strategies.base import Strategy, StrategyParams, register
from tunebench.strategies.lora import Placement, refuse_targets, wrap

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture

#: PEFT wants the number of steps with the adapter; a strategy learns it later, see :meth:`AdaLoRA.after_step`.
_NOT_KNOWN_YET = 2**31
#: Names under which what the allocation remembers of a parameter stands beside the optimiser's own moments.
_SENSITIVITY, _UNCERTAINTY, _KEPT = "adalora_sensitivity", "adalora_uncertainty", "adalora_kept"


class AdaLoraParams(StrategyParams):
    """Parameters of AdaLoRA; PEFT's ``target_r``, ``init_r``, ``tinit`` and ``tfinal``, the last two as shares."""

    rank: int = Field(default=8, ge=1, le=1024, description="on average, when ranks have been moved")
    initial_rank: int = Field(default=12, ge=2, le=1024, description="of every matrix, before")
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    placement: Placement = Field(default="all_linear", description="or a list of module names within a layer")
    initial_share: float = Field(default=0.1, ge=0, lt=1, description="of training, before ranks are moved")
    final_share: float = Field(default=0.35, ge=0, lt=1, description="of training, after ranks were moved")
    orthogonality: float = Field(default=0.5, ge=0, description="weight of the penalty on dependent factors")

    @model_validator(mode="after")
    def _something_to_move(self) -> AdaLoraParams:
        if self.initial_rank <= self.rank:
            raise ValueError("initial_rank must be larger than rank: ranks can only be taken away")
        if self.initial_share + self.final_share >= 1:
            raise ValueError("initial_share and final_share leave no time to move ranks in")
        return self


@register
class AdaLoRA(Strategy):
    """Train low-rank updates in the form of a singular value decomposition, dropping the least important values."""

    name: ClassVar[str] = "adalora"
    summary: ClassVar[str] = "low-rank updates whose ranks move to where they matter; the head is trained in full"
    source: ClassVar[str] = "Zhang et al. 2023, AdaLoRA (arXiv:2303.10512)"
    params: ClassVar[type[StrategyParams]] = AdaLoraParams
    default_learning_rate: ClassVar[float] = 1e-3
    adds_to_loss: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse placements the family does not have; see :meth:`Strategy.refusal`."""
        return refuse_targets(params.placement, None, architecture)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT AdaLoRA adapter; see :meth:`Strategy.prepare`."""
        from peft import AdaLoraConfig

        return wrap(
            model,
            AdaLoraConfig,
            architecture,
            placement=params.placement,
            target_r=params.rank,
            init_r=params.initial_rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            orth_reg_weight=params.orthogonality,
            total_step=_NOT_KNOWN_YET,
        )

    def after_step(self, model: Any, params: Any, *, total_steps: int) -> Callable[[int, Any], None]:
        """Move ranks after every step; see :meth:`Strategy.after_step`.

        Raises:
            ModelError: Training is too short for the three phases.
        """
        from tunebench.errors import ModelError

        tuner = model.base_model
        config = tuner.peft_config[tuner.trainable_adapter_name]
        config.total_step = total_steps
        config.tinit = math.floor(params.initial_share * total_steps)
        config.tfinal = math.floor(params.final_share * total_steps)
        if config.tinit >= total_steps - config.tfinal:
            raise ModelError("Training is too short to move ranks in.", value=f"{total_steps} steps")
        return _Allocation(tuner, config)


class _Allocation:
    """PEFT's allocation of ranks, with what it remembers where checkpoints hold it."""

    def __init__(self, tuner: Any, config: Any) -> None:
        self.tuner, self.config = tuner, config
        self.parameters = {
            name: p for name, p in tuner.model.named_parameters() if "lora_" in name and p.requires_grad
        }
        self._begun = False

    def __call__(self, step: int, optimizer: Any) -> None:
        if not self._begun:
            self._restore(optimizer)
            self._begun = True
        self.tuner.update_and_allocate(step)
        allocator = self.tuner.rankallocator
        for name, value in allocator.exp_avg_ipt.items():
            state = optimizer.state[self.parameters[name]]
            state[_SENSITIVITY], state[_UNCERTAINTY] = value, allocator.exp_avg_unc[name]
        if step == self.config.total_step - self.config.tfinal:
            for name, kept in self.config.rank_pattern.items():
                parameter = self.parameters[name]
                optimizer.state[parameter][_KEPT] = parameter.new_tensor(kept)

    def _restore(self, optimizer: Any) -> None:
        """Take up what a checkpoint brought back; nothing in a run that begins."""
        allocator, pattern = self.tuner.rankallocator, {}
        for name, parameter in self.parameters.items():
            state = optimizer.state[parameter]
            if _SENSITIVITY in state:
                # The first is replaced in every step before it is used; that it is there tells PEFT to go on.
                allocator.ipt[name] = allocator.exp_avg_ipt[name] = state[_SENSITIVITY]
                allocator.exp_avg_unc[name] = state[_UNCERTAINTY]
            if _KEPT in state:
                pattern[name] = state[_KEPT].bool().tolist()
        self.config.rank_pattern = pattern or None
