"""Train the layer norms of an encoder, and nothing else but the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunebench.strategies import Strategy, StrategyParams

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


class Norms(Strategy):
    """Scale and shift of every layer norm, and the head."""

    name = "norms"
    summary = "scale and shift of every layer norm, and the head"
    source = "Qi et al. 2022, LN-tuning (arXiv:2211.08682)"
    params = StrategyParams  # it has none
    default_learning_rate = 1e-3

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Freeze all but layer norms and head."""
        from torch import nn

        norms = {name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(architecture.is_head(name) or name.rpartition(".")[0] in norms)
        return model
