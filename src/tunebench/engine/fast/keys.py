"""Which tokens of a batch are attended to: read from the mask that the encoder gives its layers."""

from __future__ import annotations

import torch
from torch import Tensor

from tunebench.engine.native.library import Texts


def attended_keys(mask: Tensor | None, *, windowed: bool, relative: bool) -> Tensor | None:
    """Return which tokens are attended to, ``(B, S)``; None where all are.

    Args:
        mask: What a layer is given; see :meth:`~tunebench.engine.fast.layers.FastLayer.forward`.
        windowed: Whether each query sees the keys of a window alone.
        relative: Whether the family has relative positions.
    """
    if mask is None:
        return None
    # All queries see the same keys, but for a window. Every token lies in its own.
    keys = mask[:, 0].diagonal(dim1=1, dim2=2) if windowed else mask[:, 0, 0]
    # DeBERTa's encoder gives ones and zeros, of floating point too where a prompt stands before the texts.
    additive = keys.is_floating_point() and not relative
    keys = keys > torch.finfo(keys.dtype).min / 2 if additive else keys.bool()
    return None if keys.all() else keys


def lengths_of(keys: Tensor) -> Tensor | None:
    """Return how many tokens of each text are attended to, ``(B,)``; None where they are not its first ones."""
    lengths = keys.sum(1)
    first = torch.arange(keys.shape[1]) < lengths[:, None]
    return lengths if bool((first == keys).all()) and bool(lengths.all()) else None


def texts_of(keys: Tensor | None, batch: int, tokens: int) -> Texts | None:
    """Return a padded batch for the kernels; None where they cannot attend to it."""
    lengths = torch.full((batch,), tokens) if keys is None else lengths_of(keys)
    return None if lengths is None else Texts.of_lengths(lengths, width=tokens)


def key_bias(keys: Tensor | None, heads: int, dtype: torch.dtype) -> Tensor | None:
    """Return what is added to the scores of attended keys ``(B, S)`` and of padding: ``(B * H, 1, S)``."""
    if keys is None:
        return None
    bias = torch.zeros(keys.shape, dtype=dtype).masked_fill_(~keys, torch.finfo(dtype).min)
    return bias.repeat_interleave(heads, dim=0)[:, None]
