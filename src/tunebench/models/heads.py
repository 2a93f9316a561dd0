"""The last layer of a classifier, where its outputs get their unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture
    from tunebench.tasks.scale import Scale


class ExactLinear(nn.Linear):
    """A linear layer that computes in fp32 under autocast too.

    In bf16 an output has three digits, which are too few for a number such as a year.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return the outputs in fp32."""
        kind = values.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(values)
        with torch.autocast(kind, enabled=False):
            return super().forward(values.float())


def output_layer(model: nn.Module, architecture: Architecture) -> nn.Linear:
    """Return the last layer of the head; of PEFT's two copies of a head the one that is trained.

    Raises:
        ValueError: There is none.
    """
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and architecture.is_head(name) and "original_module" not in name.split(".")
    ]
    if not layers or layers[-1].bias is None:
        raise ValueError("the head has no last linear layer with a bias")
    return layers[-1]


def compute_exactly(model: nn.Module, architecture: Architecture) -> None:
    """Make the last layer of the head an :class:`ExactLinear`, in place; its parameters stay what they are."""
    output_layer(model, architecture).__class__ = ExactLinear


@torch.no_grad()
def restore_unit(model: nn.Module, architecture: Architecture, scale: Scale) -> None:
    """Fold the scale that a head was trained on into its last layer, so that the model predicts in the data's unit.

    Args:
        model: The trained model, changed in place.
        architecture: Its family.
        scale: The scale.
    """
    if scale.unchanged:
        return
    layer = output_layer(model, architecture)
    weight, bias = (parameter.cpu().double() * scale.size for parameter in (layer.weight, layer.bias))
    layer.weight.copy_(weight)
    layer.bias.copy_(bias + scale.shift)
