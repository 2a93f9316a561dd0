"""Mean pooling for heads that read the first token."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tunebench.models.architectures import load_configuration, unwrap

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from tunebench.models.architectures import Architecture

#: Set on models whose pooling lives in hooks: saved weights and configurations know nothing of it.
_MARK = "pooled_by_hooks"


def pool_mean(model: Any, architecture: Architecture) -> None:
    """Give a classifier's head the mean over the attended tokens of the last hidden state, in fp32.

    ModernBERT's configuration has a place for this. The heads of the other families read the first token:
    in front of them the hidden states ``(B, S, H)`` are replaced by their means ``(B, 1, H)``.

    Args:
        model: A sequence classifier, not wrapped; changed in place.
        architecture: Its module names.
    """
    if hasattr(model.config, "classifier_pooling"):
        model.config.classifier_pooling = "mean"
        return
    setattr(model, _MARK, True)
    # A predictor's methods are called from several threads.
    seen = threading.local()

    def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        seen.mask = kwargs.get("attention_mask")

    def mean(hidden: Tensor) -> Tensor:
        mask: Tensor | None = seen.mask
        if mask is None:
            return hidden.float().mean(dim=1, keepdim=True)
        # Keys of a prefix stand in the mask before the texts.
        weights = mask[:, -hidden.shape[1] :].to(hidden.device).float().unsqueeze(-1)
        pooled: Tensor = (hidden.float() * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
        return pooled

    encoder, first = architecture.encoder, architecture.head[0]
    # Not on the classifier: PEFT calls its forward by itself.
    model.get_submodule(encoder).register_forward_pre_hook(look, with_kwargs=True)
    if first.startswith(f"{encoder}."):
        # BERT's pooler is the head's first layer, and lies inside the encoder.
        model.get_submodule(first).register_forward_pre_hook(lambda module, args: (mean(args[0]), *args[1:]))
        return

    def replace(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (mean(output[0]), *output[1:])
        output.last_hidden_state = mean(output.last_hidden_state)
        return output

    model.get_submodule(encoder).register_forward_hook(replace)


def pools_by_config(folder: Path) -> bool:
    """Tell whether a model's configuration has a setting for what the head reads, so that files can say it."""
    return hasattr(load_configuration(folder), "classifier_pooling")


def pools_by_hooks(model: nn.Module) -> bool:
    """Tell whether :func:`pool_mean` put hooks into a model, so that its head reads every token."""
    return bool(getattr(unwrap(model), _MARK, False))


def reads_first_token(model: Any) -> bool:
    """Tell whether a classifier's head reads the first token only, and not the mean over all."""
    return not pools_by_hooks(model) and getattr(unwrap(model).config, "classifier_pooling", "cls") == "cls"
