"""Flash attention on a GPU, which leaves padding out of the attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunebench.errors import first_line
from tunebench.models.architectures import unwrap

#: The oldest GPUs that FlashAttention 2 supports are Ampere's.
_LEAST_CAPABILITY = (8, 0)


def use_flash_attention(model: nn.Module, dtype: torch.dtype | None) -> str:
    """Give a model Transformers' FlashAttention 2 where package, GPU and family allow it.

    Transformers takes it from the package ``flash-attn``, or from the Hub where ``kernels`` is installed.

    Args:
        model: A classifier that will be trained on a GPU, wrapped by PEFT or not.
        dtype: Type of the autocast that it always runs in; None for none.

    Returns:
        What the record says: that it is used, or why it is not.
    """
    reason = _refusal(model, dtype) or _switch(unwrap(model))
    return "FlashAttention 2, without padding" if reason is None else f"no flash attention: {reason}"


def leave_flash_attention(model: nn.Module) -> None:
    """Give a model that has it PyTorch's attention again: flash attention computes in 16 bits only."""
    inner: Any = unwrap(model)
    if "flash" in inner.config._attn_implementation:
        inner.set_attn_implementation("sdpa")


def _switch(model: Any) -> str | None:
    """Switch to flash attention, and say why that was refused; None where it was not."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("flash_attention_2")
    except (ImportError, ValueError, OSError) as error:
        return first_line(error)
    if model.config._attn_implementation == before:
        return f"{model.config.model_type} has an attention of its own"
    return None


def _refusal(model: nn.Module, dtype: torch.dtype | None) -> str | None:
    if dtype is None:
        return "it is for bf16 and fp16"
    if torch.cuda.get_device_capability() < _LEAST_CAPABILITY:
        return "it is for GPUs from Ampere on"
    if getattr(model, "peft_type", None) == "PREFIX_TUNING":
        return "the prefix's keys and values are in fp32"
    return None
