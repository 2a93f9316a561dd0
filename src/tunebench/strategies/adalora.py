"""AdaLoRA: low-rank updates whose ranks move, while training, to where they matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from tunebench.strategies.base import StepHook, Strategy, StrategyParams, register
from tunebench.strategies.lora import Placement, refuse_targets
from tunebench.strategies.wrapping import wrap_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from tunebench.models.architectures import Architecture
    from tunebench.recipe import Recipe


class AdaLoraParams(StrategyParams):
    """Parameters of AdaLoRA; steps of the schedule are shares of training, since sizes of a study differ."""

    initial_rank: int = Field(default=12, ge=2, le=1024, description="of every update, at the beginning")
    target_rank: int = Field(default=8, ge=1, le=1023, description="mean rank of the updates at the end")
    alpha: float = Field(default=24.0, gt=0, description="updates are scaled by alpha / initial_rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    placement: Placement = "all_linear"
    initial_share: float = Field(default=0.1, ge=0, lt=1, description="of training, before any rank is removed")
    final_share: float = Field(default=0.3, ge=0, lt=1, description="of training, after the last change of ranks")
    interval: int = Field(default=1, ge=1, description="optimisation steps between two allocations")
    orthogonality: float = Field(default=0.5, ge=0, description="weight of the penalty that is added to the loss")

    @model_validator(mode="after")
    def _leaves_room(self) -> AdaLoraParams:
        if self.target_rank >= self.initial_rank:
            raise ValueError("target_rank must be below initial_rank: ranks are only removed, never added")
        if self.initial_share + self.final_share >= 1:
            raise ValueError("initial_share and final_share leave no part of training to allocate ranks in")
        return self


@register
class AdaLoRA(Strategy):
    """Train updates in the form of a singular value decomposition, and prune their singular values."""

    name: ClassVar[str] = "adalora"
    summary: ClassVar[str] = "low-rank updates, pruned where they matter least, and the head"
    source: ClassVar[str] = "Zhang et al. 2023, AdaLoRA (arXiv:2303.10512)"
    params: ClassVar[type[StrategyParams]] = AdaLoraParams
    default_learning_rate: ClassVar[float] = 1e-3
    shares_dropout: ClassVar[bool] = True

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse placements the family does not have; see :meth:`Strategy.refusal`."""
        return refuse_targets(params.placement, None, architecture)

    def run_refusal(
        self,
        params: Mapping[str, Any],
        recipe: Recipe,
        architecture: Architecture,
        *,
        train_size: int,
        classes: int,
    ) -> str | None:
        """Refuse other losses, under which the Trainer drops the penalty; see :meth:`Strategy.run_refusal`."""
        other = [
            *([f"label_smoothing: {recipe.label_smoothing:g}"] if recipe.label_smoothing else []),
            *(["class_weights"] if recipe.class_weights else []),
            *([f"focal_gamma: {recipe.focal_gamma:g}"] if recipe.focal_gamma else []),
        ]
        if other:
            return f"its penalty is part of the model's own loss, which {' and '.join(other)} would replace"
        return super().run_refusal(params, recipe, architecture, train_size=train_size, classes=classes)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT AdaLoRA adapter; see :meth:`Strategy.prepare`."""
        from peft import AdaLoraConfig

        return wrap_layers(
            model,
            AdaLoraConfig,
            architecture,
            placement=params.placement,
            init_r=params.initial_rank,
            target_r=params.target_rank,
            lora_alpha=params.alpha,
            lora_dropout=params.dropout,
            deltaT=params.interval,
            orth_reg_weight=params.orthogonality,
            # PEFT wants a number here; step_hook puts the run's in its place.
            total_step=1,
        )

    def step_hook(self, model: nn.Module, params: Any, *, steps: int) -> StepHook | None:
        """Allocate ranks; a run of a single step has nothing to allocate by. See :meth:`Strategy.step_hook`."""
        if steps < 2:
            return None
        return _Allocation(model, params, steps)


class _Allocation(StepHook):
    """PEFT's rank allocator, and its state, which is not part of the model's parameters."""

    def __init__(self, model: Any, params: AdaLoraParams, steps: int) -> None:
        self._adapted = model.base_model
        self._config = self._adapted.peft_config[self._adapted.trainable_adapter_name]
        self._config.total_step = steps
        self._config.tinit = int(params.initial_share * steps)
        # At least one step is scored before the ranks are settled.
        self._config.tfinal = min(int(params.final_share * steps), steps - 2)
        self._config.tinit = min(self._config.tinit, steps - self._config.tfinal - 1)

    def after_update(self, step: int) -> None:
        """Score every rank by its gradient, and take the ones beyond the budget; see :class:`StepHook`."""
        for name, parameter in self._adapted.named_parameters():
            # A step that overflows in fp16 leaves infinite gradients, which would stay in the smoothed scores.
            if "lora_" in name and parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
        self._adapted.update_and_allocate(step)

    def state(self) -> dict[str, Tensor]:
        """Return the smoothed scores and the ranks that are left; see :class:`StepHook`."""
        import torch

        allocator = self._adapted.rankallocator
        found = {f"importance|{name}": value for name, value in allocator.exp_avg_ipt.items()}
        found |= {f"uncertainty|{name}": value for name, value in allocator.exp_avg_unc.items()}
        kept = self._config.rank_pattern or {}
        return found | {f"ranks|{name}": torch.tensor(value, dtype=torch.bool) for name, value in kept.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put them back; see :class:`StepHook`."""
        parts: dict[str, dict[str, Tensor]] = {"importance": {}, "uncertainty": {}, "ranks": {}}
        for key, value in state.items():
            part, _, name = key.partition("|")
            parts[part][name] = value
        allocator = self._adapted.rankallocator
        device = next(self._adapted.parameters()).device
        allocator.exp_avg_ipt = {name: value.to(device) for name, value in parts["importance"].items()}
        allocator.exp_avg_unc = {name: value.to(device) for name, value in parts["uncertainty"].items()}
        # Of the last step alone, and computed anew before it is read; that it is there says the others are.
        allocator.ipt = dict(allocator.exp_avg_ipt)
        self._config.rank_pattern = {name: value.tolist() for name, value in parts["ranks"].items()} or None
