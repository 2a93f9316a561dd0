"""What a record says of the engine and the base model that its run trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunebench.engine.fast.attach import FastEncoder, kernels_for
from tunebench.machine import devices
from tunebench.study.spec import RunSpec
from tunebench.training.encoder.prepare import Prepared

if TYPE_CHECKING:
    from torch import nn

    from tunebench.engine.trained_rows import TrainedRows


def recorded_settings(
    spec: RunSpec,
    prepared: Prepared,
    prefix: dict[str, Any] | None,
    rows: TrainedRows | None,
    *,
    kept_memory: bool,
) -> dict[str, Any]:
    """Return what the record says of engine and base model, beside the machine.

    Args:
        spec: The run.
        prepared: Its model.
        prefix: What is said of the kept outputs of frozen layers; None where there are none.
        rows: The rows of the word embeddings that trained; None where all did.
        kept_memory: Whether the allocator kept freed memory.
    """
    settings: dict[str, Any] = {
        "kept_memory": kept_memory,
        "fast_layers": prepared.fast is not None,
        "autocast": prepared.autocast is not None,
    }
    if prepared.fast is not None:
        settings["kernels"] = _kernels(spec, prepared.model, prepared.fast)
    if prepared.attention is not None:
        settings["attention"] = prepared.attention
    if spec.gradient_checkpointing:
        settings["gradient_checkpointing"] = "Transformers' layers" if prepared.fast is None else "fast layers"
    if prefix is not None:
        settings["frozen_prefix"] = prefix
    if rows is not None:
        settings["trained_embedding_rows"], settings["embedding_rows"] = rows.counts
    if prepared.weights_prefix:
        settings["prefix_taken_off_weights"] = prepared.weights_prefix
    if prepared.lacking:
        settings["drawn_with_the_head"] = list(prepared.lacking)
    return settings


def _kernels(spec: RunSpec, model: nn.Module, fast: FastEncoder) -> str:
    """Return what the record says of the native kernels: their instructions, or why there are none."""
    if fast.kernels is not None:
        return f"native, {fast.kernels.body}"
    found = kernels_for(model, devices.compute_type(spec.precision, "cpu"))
    return f"PyTorch's operators: {found.reason or 'the run was planned without native kernels'}"
