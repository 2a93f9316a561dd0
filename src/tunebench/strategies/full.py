"""Full fine-tuning: every parameter is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture


class FullParams(StrategyParams):
    """Full fine-tuning has no parameters of its own."""


@register
class FullFineTuning(Strategy):
    """Update all weights of encoder and head."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "every parameter of encoder and head is trained"
    source: ClassVar[str] = "Devlin et al. 2019, BERT (arXiv:1810.04805), section 4"
    params: ClassVar[type[StrategyParams]] = FullParams
    default_learning_rate: ClassVar[float] = 5e-5

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Make every parameter trainable; see :meth:`Strategy.prepare`."""
        return model.requires_grad_(True)
