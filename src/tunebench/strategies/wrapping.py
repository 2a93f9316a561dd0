"""A PEFT adapter around a classifier, whose head is trained in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


def wrap(model: nn.Module, config: Any, architecture: Architecture, **options: Any) -> nn.Module:
    """Wrap a classifier with an adapter.

    Args:
        model: The classifier.
        config: PEFT's class of configurations.
        architecture: The family.
        options: Passed to the configuration.
    """
    from peft import TaskType, get_peft_model

    # The head is named module by module: PEFT would train DistilBERT's pre_classifier only because its name
    # happens to end in "classifier" (peft#3755).
    made = config(task_type=TaskType.SEQ_CLS, modules_to_save=list(architecture.head), **options)
    adapted: nn.Module = get_peft_model(model, made)
    return adapted


def wrap_layers(
    model: nn.Module,
    config: Any,
    architecture: Architecture,
    *,
    placement: Any,
    top_layers: int | None = None,
    **options: Any,
) -> nn.Module:
    """Wrap a classifier with an adapter on some linear layers.

    Args:
        model: The classifier.
        config: PEFT's class of configurations.
        architecture: The family.
        placement: Where the adapter goes.
        top_layers: In how many layers, from the top; None for all.
        options: Passed to the configuration.
    """
    targets = list(architecture.projections(placement, top_layers=top_layers))
    return wrap(model, config, architecture, target_modules=targets, **options)
