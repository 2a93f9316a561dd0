"""Post-norm encoder layers (BERT, RoBERTa, ELECTRA, DistilBERT) rebuilt from the fast operations.

A :class:`FastLayer` holds references to the modules of the layer it stands in for and owns no
parameters. Where the head reads the first token only, the last layer computes that token only: the
same logits and gradients at a sixth less work on six layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tunebench.engine.fast.linears import OwnForwards, StackedLinear, linears_for
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.ops import BLOCK_ELEMENTS, AttentionFunction, DropoutFunction, attend
from tunebench.engine.fast.packing import Layout, Packing, Rectangle, TakeRows, pack


@dataclass(frozen=True)
class LayerNames:
    """Where a family keeps the modules of a layer, relative to it; None where it has no such module."""

    attention: str
    query: str
    key: str
    value: str
    heads: str
    attention_output: str
    attention_output_dropout: str | None
    attention_norm: str
    up: str
    activation: str
    down: str
    output_dropout: str
    output_norm: str


_BERT = LayerNames(
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    heads="num_attention_heads",
    attention_output="attention.output.dense",
    attention_output_dropout="attention.output.dropout",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    activation="intermediate.intermediate_act_fn",
    down="output.dense",
    output_dropout="output.dropout",
    output_norm="output.LayerNorm",
)
_DISTILBERT = LayerNames(
    attention="attention",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    heads="n_heads",
    attention_output="attention.out_lin",
    attention_output_dropout=None,
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    activation="ffn.activation",
    down="ffn.lin2",
    output_dropout="ffn.dropout",
    output_norm="output_layer_norm",
)
#: Families with fast layers, by ``model_type``; their heads all read the first token.
LAYER_NAMES = {
    "distilbert": _DISTILBERT,
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
}


class FastLayer:
    """Stands in for one encoder layer.

    Args:
        layer: The layer.
        names: Where its modules are.
        masks: The stream all dropout draws from.
        dtype: Compute type.
        index: Which of the encoder's layers it is, from 0.
        first_token_only: Compute the first token's output only; the result is ``(B, 1, D)`` in fp32.
        library_attention: Where no gradient is wanted, use PyTorch's own attention.
        packing: What the encoder's layers know together of the batch.
    """

    def __init__(
        self,
        layer: nn.Module,
        names: LayerNames,
        masks: MaskStream,
        dtype: torch.dtype,
        *,
        index: int,
        first_token_only: bool,
        library_attention: bool,
        packing: Packing,
    ) -> None:
        get = layer.get_submodule
        self.layer, self.masks, self.dtype, self.index = layer, masks, dtype, index
        self.packing = packing
        self.first_token_only, self.library_attention = first_token_only, library_attention
        attention = get(names.attention)
        self.heads = int(getattr(attention, names.heads))
        self.scaling = float(attention.scaling)  # type: ignore[arg-type]
        self.attention_dropout = float(attention.dropout.p)  # type: ignore[union-attr, arg-type]
        query, key, value = get(names.query), get(names.key), get(names.value)
        self.projections = (
            [linears_for([query], dtype), linears_for([key, value], dtype)]
            if first_token_only
            else [linears_for([query, key, value], dtype)]
        )
        self.output = linears_for([get(names.attention_output)], dtype)
        self.up = linears_for([get(names.up)], dtype)
        self.down = linears_for([get(names.down)], dtype)
        self.activation = get(names.activation)
        self.attention_norm, self.output_norm = get(names.attention_norm), get(names.output_norm)
        self.attention_output_p = _dropout_p(layer, names.attention_output_dropout)
        self.output_p = _dropout_p(layer, names.output_dropout)

    @property
    def linears(self) -> list[StackedLinear | OwnForwards]:
        """All linear layers of the layer."""
        return [*self.projections, self.output, self.up, self.down]

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *_: Any,
        past_key_values: Any = None,
        **__: Any,
    ) -> Tensor:
        """Run the layer.

        Args:
            hidden_states: ``(B, S, D)``; ``(1, rows, D)`` where the layer below has packed the batch.
            attention_mask: None, or a mask of shape ``(B, 1, any, S)``: bool (True = attend) or
                additive. With a prefix it covers that too: ``P + S`` in place of ``S``.
            past_key_values: None, or a Transformers cache with the keys and values of a prefix of ``P`` tokens.

        Returns:
            ``(B, S, D)``, or ``(1, rows, D)`` of a packed batch, in the compute type; or ``(B, 1, D)`` in fp32.
        """
        training, masks = self.layer.training, self.masks
        batch, tokens, dim = hidden_states.shape
        x = hidden_states.to(self.dtype).reshape(batch * tokens, dim)
        layout = self._layout(attention_mask, packed=past_key_values is None)
        if layout is not None and self.index == self.packing.first:
            x = TakeRows.apply(x, layout.rows)
        if self.first_token_only:
            rows = x.view(batch, tokens, dim)[:, 0] if layout is None else TakeRows.apply(x, layout.firsts)
            query = self.projections[0](rows, masks, training=training)
            others = self.projections[1](x, masks, training=training)
        else:
            rows = x
            query, others = self.projections[0](x, masks, training=training), None
        if past_key_values is not None:
            if others is None:
                query, others = query[:, :dim], query[:, dim:]
            prefix = self._prefix(past_key_values)
            others = torch.cat([prefix, others.reshape(batch, tokens, -1)], dim=1)
            tokens = others.shape[1]
            others = others.view(batch * tokens, -1)
        if layout is None:
            bias = _key_bias(attention_mask, self.heads, self.dtype)
            rectangles: Sequence[Rectangle] = [Rectangle(batch, tokens, len(query) // batch, bias)]
        else:
            rectangles = layout.rectangles
            if self.first_token_only:
                rectangles = [replace(rectangle, queries=1) for rectangle in rectangles]
        dropout = self.attention_dropout if training else 0.0
        if self.library_attention and not dropout and not torch.is_grad_enabled():
            context = attend(query, others, rectangles[0], self.heads, self.scaling)
        else:
            context = AttentionFunction.apply(query, others, rectangles, self.heads, self.scaling, masks, dropout)

        attended = self.output(context, masks, training=training)
        attended = self._add_and_norm(attended, rows, self.attention_output_p, self.attention_norm)
        inner = self.activation(self.up(attended, masks, training=training))
        out = self.down(inner, masks, training=training)
        out = self._add_and_norm(out, attended, self.output_p, self.output_norm)
        if not self.first_token_only:
            return out.view(batch if layout is None else 1, -1, dim)
        if layout is not None:
            out = TakeRows.apply(out, layout.back)
        return out.view(len(out), 1, dim).float()

    def _layout(self, mask: Tensor | None, *, packed: bool) -> Layout | None:
        """Return how the batch is packed where this layer sees it; None where it is padded."""
        packing = self.packing
        if self.index < packing.first:
            return None
        if self.index == packing.first:
            # Without gradients batches come sorted by length, and have little padding.
            worth = packed and packing.allowed and mask is not None and torch.is_grad_enabled()
            packing.layout = None
            if worth:
                assert mask is not None
                bias = _key_bias(mask, self.heads, self.dtype)
                assert bias is not None
                keys = bias.view(len(mask), self.heads, -1)[:, 0] > torch.finfo(self.dtype).min / 2
                packing.layout = pack(keys, bias, at_once=BLOCK_ELEMENTS)
        return packing.layout

    def _prefix(self, cache: Any) -> Tensor:
        """Return this layer's prefix, ``(B, P, 2 D)``: keys and values side by side, as projections give them."""
        stored = getattr(cache, "self_attention_cache", cache).layers[self.index]
        parts = [part.to(self.dtype).transpose(1, 2).flatten(2) for part in (stored.keys, stored.values)]
        return torch.cat(parts, dim=-1)

    def _add_and_norm(self, x: Tensor, residual: Tensor, p: float, norm: nn.Module) -> Tensor:
        keep, scale = self.masks.keep(tuple(x.shape), p if self.layer.training else 0.0)
        total = x + residual if keep is None else DropoutFunction.apply(x, residual, keep, scale)
        # fp32 weights over bf16 input: PyTorch accumulates in fp32 and returns the input's type.
        assert isinstance(norm, nn.LayerNorm)
        return functional.layer_norm(total, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class Recomputed:
    """A layer that keeps only its input for the backward pass, and then computes the rest again.

    Transformers' layers checkpoint inside the ``forward`` that a fast layer stands in for.

    Args:
        fast: The layer.
    """

    def __init__(self, fast: FastLayer) -> None:
        self.fast = fast

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the layer; see :meth:`FastLayer.forward`."""
        fast = self.fast
        if not (fast.layer.training and torch.is_grad_enabled()):
            return fast.forward(hidden_states, *args, **kwargs)
        state, first = fast.masks.state, True

        def run(*given: Any, **named: Any) -> Tensor:
            nonlocal first
            if first:
                first = False
                return fast.forward(*given, **named)
            # PyTorch restores its own generator; the masks come from ours.
            with fast.masks.replayed(state):
                return fast.forward(*given, **named)

        found: Tensor = checkpoint(run, hidden_states, *args, use_reentrant=False, **kwargs)
        return found


def _dropout_p(layer: nn.Module, name: str | None) -> float:
    return 0.0 if name is None else float(layer.get_submodule(name).p)  # type: ignore[arg-type]


def _key_bias(mask: Tensor | None, heads: int, dtype: torch.dtype) -> Tensor | None:
    """Turn a broadcast attention mask into an additive bias of shape ``(B * H, 1, S)``.

    Every query of an encoder may see the same keys, so the first row of the mask says it all.
    """
    if mask is None:
        return None
    keys = mask[:, :, :1, :]
    if keys.dtype == torch.bool:
        keys = torch.zeros(keys.shape, dtype=dtype).masked_fill_(~keys, torch.finfo(dtype).min)
    return keys.to(dtype).expand(-1, heads, -1, -1).reshape(-1, 1, keys.shape[-1])
