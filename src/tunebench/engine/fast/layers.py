"""Encoder layers rebuilt from the fast operations, as :mod:`~tunebench.engine.fast.families` describes them.

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

from tunebench.engine.fast.attention import Attention, AttentionFunction, attend
from tunebench.engine.fast.families import LAYER_FAMILIES, dropout_of, window_of
from tunebench.engine.fast.keys import attended_keys, key_bias, lengths_of, texts_of
from tunebench.engine.fast.linears import OwnForwards, StackedLinear, linears_for
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.ops import DropoutFunction
from tunebench.engine.fast.packing import Layout, Packing, PutRows, Rectangle, TakeRows, pack, pack_closely
from tunebench.engine.fast.relative import by_distance
from tunebench.engine.fast.tiles import BLOCK_ELEMENTS
from tunebench.engine.native.functions import AttentionKernel, GeluKernel, NormKernel
from tunebench.engine.native.library import Heads, Library, Texts
from tunebench.engine.native.masks import Dropout
from tunebench.models.architectures import Architecture


@dataclass(frozen=True)
class Shared:
    """What all layers of an encoder have in common.

    Attributes:
        architecture: Names of the linear layers.
        config: The model's configuration.
        masks: The stream all dropout draws from.
        dtype: Compute type.
        library_attention: Where no gradient is wanted, use PyTorch's own attention.
        packing: What the layers know together of the batch.
        kernels: Native kernels for what is no product with a weight; None leaves it to PyTorch's operators.
    """

    architecture: Architecture
    config: Any
    masks: MaskStream
    dtype: torch.dtype
    library_attention: bool
    packing: Packing
    kernels: Library | None = None


class FastLayer:
    """Stands in for one encoder layer.

    Args:
        layer: The layer.
        shared: What it has in common with the others.
        index: Which of the encoder's layers it is, from 0.
        last: Whether it is the last one, which undoes the packing.
        first_token_only: Compute the first token's output only; the result is ``(B, 1, D)`` in fp32.
    """

    def __init__(self, layer: nn.Module, shared: Shared, *, index: int, last: bool, first_token_only: bool) -> None:
        get, dtype, architecture = layer.get_submodule, shared.dtype, shared.architecture
        self.layer, self.index, self.dtype = layer, index, dtype
        self.masks, self.packing, self.library_attention = shared.masks, shared.packing, shared.library_attention
        self.kernels = shared.kernels
        self.last, self.first_token_only = last, first_token_only
        self.family = family = LAYER_FAMILIES[architecture.model_type]
        #: Type of the hidden states between layers. Pre-norm layers pass on a sum over all layers below, which
        #: stays in full precision.
        self.stream = torch.float32 if family.pre_norm else dtype
        self.heads = int(shared.config.num_attention_heads)
        # The sum of three products has three times the variance of one.
        terms = 3 if family.relative else 1
        self.scaling = float(shared.config.hidden_size // self.heads * terms) ** -0.5
        self.window = window_of(shared.config, index)
        self.attention_dropout = dropout_of(layer, family.attention_dropout)
        groups = [architecture.reading]
        if first_token_only and len(architecture.reading) == 3:
            groups = [architecture.reading[:1], architecture.reading[1:]]

        def linears(*names: str) -> StackedLinear | OwnForwards:
            return linears_for([get(name) for name in names], dtype, shared.kernels)

        self.projections = [linears(*names) for names in groups]
        own = () if getattr(shared.config, "share_att_key", False) else family.position_projections
        self.of_positions = linears(*own) if own else None
        self.position_p = dropout_of(layer, family.position_dropout)
        self.output = linears(architecture.attention_output)
        self.up, self.down = (linears(name) for name in architecture.mlp)
        self.activation = get(family.activation)
        self.attention_norm, self.output_norm = get(family.attention_norm), get(family.output_norm)
        self.attention_output_p = dropout_of(layer, family.attention_output_dropout)
        self.inner_p = dropout_of(layer, family.inner_dropout)
        self.output_p = dropout_of(layer, family.output_dropout)

    @property
    def linears(self) -> list[StackedLinear | OwnForwards]:
        """All linear layers of the layer."""
        positions = [] if self.of_positions is None else [self.of_positions]
        return [*self.projections, *positions, self.output, self.up, self.down]

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *_: Any,
        past_key_values: Any = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
        **__: Any,
    ) -> Any:
        """Run the layer.

        Args:
            hidden_states: ``(B, S, D)``; ``(1, rows, D)`` where a layer below has packed the batch.
            attention_mask: None, or a mask of shape ``(B, 1, any, S)``: bool (True = attend) or additive; ones and
                zeros where the family has relative positions. With a prefix it covers that too: ``P + S`` in place
                of ``S``.
            past_key_values: None, or a Transformers cache with the keys and values of a prefix of ``P`` tokens.
            position_embeddings: Cosines and sines ``(1, S, E)``, where the family rotates queries and keys.
            relative_pos: Buckets of distances ``(1, S, S)``, where the family has relative positions.
            rel_embeddings: Their embeddings, two for each bucket.

        Returns:
            ``(B, S, D)``, or ``(1, rows, D)`` of a packed batch, in the type of :attr:`stream`; of the last layer
            ``(B, S, D)`` or ``(B, 1, D)``, the latter in fp32. A tuple where the family's layers return one.
        """
        family = self.family
        batch, tokens, dim = hidden_states.shape
        states = hidden_states.to(self.stream).reshape(batch * tokens, dim)
        layout = self._layout(attention_mask, packed=past_key_values is None)
        if layout is not None and self.index == self.packing.first:
            states = TakeRows.apply(states, layout.rows)
        x = self._norm(self.attention_norm, states) if family.pre_norm else states
        query, others, positions = self._projected(x, batch, layout, rel_embeddings)
        if positions is not None:
            assert relative_pos is not None
            positions = positions.index_select(0, by_distance(relative_pos, len(positions) // 2))
        if self.first_token_only:
            states = _firsts(states, batch, layout)
        texts = None
        if past_key_values is None:
            texts = self._texts(attention_mask, batch, tokens, layout)
        else:
            query, others = self._with_prefix(past_key_values, query, others, batch)
        if self.kernels is not None and texts is not None:
            heads = Heads(self.heads, dim // self.heads, self.scaling)
            dropout = self._kernel_dropout(self.attention_dropout)
            context = AttentionKernel.apply(query, others, self.kernels, texts, heads, dropout)
        else:
            rows = len(query if others is None else others)
            rectangles = self._rectangles(attention_mask, batch, rows // batch, len(query) // batch, layout)
            context = self._attend(query, others, positions, rectangles, position_embeddings)
        out = self._given_out(self._after_attention(context, states), batch, layout)
        return (out, None) if family.tuple_output else out

    def _projected(
        self, x: Tensor, batch: int, layout: Layout | None, embeddings: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return queries, keys and values side by side; or queries, and the others beside them.

        Third come queries and keys of relative positions, ``(positions, 2 D)``, where the family has those.
        """
        masks, training, dim = self.masks, self.layer.training, x.shape[1]
        positions = None
        if embeddings is not None:
            embeddings = self._dropped(embeddings.to(self.dtype), self.position_p)
            if self.of_positions is not None:
                positions, embeddings = self.of_positions(embeddings, masks, training=training), None

        def project(group: int, rows: Tensor) -> tuple[Tensor, Tensor | None]:
            """Run a product; for positions too, where they have no projections of their own."""
            if embeddings is None:
                return self.projections[group](rows, masks, training=training), None
            both = self.projections[group](torch.cat([rows, embeddings]), masks, training=training)
            tokens, beside = both.split([len(rows), len(embeddings)])
            return tokens, beside

        if len(self.projections) == 2:
            query, of_query = project(0, _firsts(x, batch, layout))
            others, of_others = project(1, x)
            if of_query is not None and of_others is not None:
                positions = torch.cat([of_query, of_others[:, :dim]], dim=1)
            return query, others, positions
        every, beside = project(0, x)
        if beside is not None:
            positions = beside[:, : 2 * dim]
        if self.first_token_only:  # one weight gives all three
            return _firsts(every[:, :dim], batch, layout), every[:, dim:], positions
        return every, None, positions

    def _with_prefix(self, cache: Any, query: Tensor, others: Tensor | None, batch: int) -> tuple[Tensor, Tensor]:
        """Return the queries, and keys and values side by side, in each text those of the prefix first."""
        if others is None:
            dim = query.shape[1] // 3
            query, others = query[:, :dim], query[:, dim:]
        stored = getattr(cache, "self_attention_cache", cache).layers[self.index]
        parts = [part.to(self.dtype).transpose(1, 2).flatten(2) for part in (stored.keys, stored.values)]
        own = others.reshape(batch, len(others) // batch, -1)
        return query, torch.cat([torch.cat(parts, dim=-1), own], dim=1).flatten(0, 1)

    def _texts(self, mask: Tensor | None, batch: int, tokens: int, layout: Layout | None) -> Texts | None:
        """Return where the kernels attend; None where they do not."""
        if self.kernels is None:
            return None
        texts = texts_of(self._keys(mask), batch, tokens) if layout is None else layout.texts
        return texts.first_tokens() if texts is not None and self.first_token_only else texts

    def _rectangles(
        self, mask: Tensor | None, batch: int, width: int, queries: int, layout: Layout | None
    ) -> Sequence[Rectangle]:
        """Return where PyTorch's operators attend."""
        if layout is None:
            return [Rectangle(batch, width, queries, key_bias(self._keys(mask), self.heads, self.dtype))]
        if self.first_token_only:
            return [replace(rectangle, queries=1) for rectangle in layout.rectangles]
        return layout.rectangles

    def _attend(
        self,
        query: Tensor,
        others: Tensor | None,
        positions: Tensor | None,
        rectangles: Sequence[Rectangle],
        position_embeddings: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        rotary = None
        if self.family.rotary:
            assert position_embeddings is not None
            # The second half repeats the first.
            cos, sin = (part.squeeze(0).float().chunk(2, dim=-1)[0] for part in position_embeddings)
            rotary = cos, sin
        dropout = self.attention_dropout if self.layer.training else 0.0
        attention = Attention(rectangles, self.heads, self.scaling, self.masks, dropout, self.window, rotary)
        if self.library_attention and positions is None and not dropout and not torch.is_grad_enabled():
            return attend(query, others, attention)
        context: Tensor = AttentionFunction.apply(query, others, positions, attention)
        return context

    def _after_attention(self, context: Tensor, states: Tensor) -> Tensor:
        """Return the layer's output, from what attention gives and from the hidden states that it is added to."""
        masks, training, pre_norm = self.masks, self.layer.training, self.family.pre_norm
        if self.kernels is not None:
            attended = self._added(self.output, context, states, self.attention_norm, self.attention_output_p)
            inner, bias = self.up.without_bias(attended, masks, training=training)
            inner = GeluKernel.apply(inner, bias, self.kernels)
            return self._added(self.down, inner, attended, self.output_norm, self.output_p)
        attended = self._dropped(self.output(context, masks, training=training), self.attention_output_p, states)
        if not pre_norm:
            attended = self._norm(self.attention_norm, attended)
        x = self._norm(self.output_norm, attended) if pre_norm else attended
        inner = self._activated(self.up(x, masks, training=training))
        out = self._dropped(self.down(inner, masks, training=training), self.output_p, attended)
        return out if pre_norm else self._norm(self.output_norm, out)

    def _added(
        self, linear: StackedLinear | OwnForwards, x: Tensor, residual: Tensor, norm: nn.Module, p: float
    ) -> Tensor:
        """Return the norm of ``residual + dropout(linear(x))``, by the kernels."""
        y, bias = linear.without_bias(x, self.masks, training=self.layer.training)
        given = norm.weight, norm.bias, norm.eps, self.kernels, self._kernel_dropout(p)
        result: Tensor = NormKernel.apply(y, bias, residual.contiguous(), *given)
        return result

    def _kernel_dropout(self, p: float) -> Dropout:
        """Return a dropout for the kernels, with keys of its own."""
        drops = self.layer.training and self.masks.drops(p)
        return Dropout.of(p, self.masks.keys()) if drops else Dropout.of(0.0, (0, 0))

    def _given_out(self, out: Tensor, batch: int, layout: Layout | None) -> Tensor:
        """Return rows as what comes behind the layer takes them."""
        dim = out.shape[1]
        if self.first_token_only:
            if layout is not None:
                out = TakeRows.apply(out, layout.back)
            return out.view(len(out), 1, dim).float()
        if layout is None:
            return out.view(batch, -1, dim)
        if self.last:
            texts = len(layout.back)
            used = len(out) if layout.texts is None else layout.texts.used[0]
            out = PutRows.apply(out[:used], layout.rows[:used], texts * layout.tokens)
            return out.view(texts, layout.tokens, dim)
        return out.view(1, -1, dim)

    def _layout(self, mask: Tensor | None, *, packed: bool) -> Layout | None:
        """Return how the batch is packed where this layer sees it; None where it is padded."""
        packing = self.packing
        if self.index < packing.first:
            return None
        if self.index == packing.first:
            packing.layout = None
            keys = self._keys(mask)
            # Without gradients batches come sorted by length, and have little padding.
            if packed and keys is not None and torch.is_grad_enabled():
                lengths = None if self.kernels is None else lengths_of(keys)
                if lengths is not None:
                    packing.layout = pack_closely(lengths, keys.shape[1])
                    return packing.layout
                bias = key_bias(keys, self.heads, self.dtype)
                assert bias is not None
                packing.layout = pack(keys, bias, at_once=BLOCK_ELEMENTS)
        return packing.layout

    def _keys(self, mask: Tensor | None) -> Tensor | None:
        return attended_keys(mask, windowed=self.window is not None, relative=self.family.relative)

    def _activated(self, inner: Tensor) -> Tensor:
        """Return what the feed-forward network computes between its two projections."""
        if self.family.gated:
            activated, gate = inner.chunk(2, dim=-1)
            inner = self.activation(activated) * gate
        else:
            inner = self.activation(inner)
        return self._dropped(inner, self.inner_p)

    def _dropped(self, x: Tensor, p: float, residual: Tensor | None = None) -> Tensor:
        """Return ``dropout(x)``, or ``residual + dropout(x)``."""
        keep, scale = self.masks.keep(tuple(x.shape), p if self.layer.training else 0.0)
        if keep is None:
            return x if residual is None else x + residual
        result: Tensor = DropoutFunction.apply(x, residual, keep, scale)
        return result

    def _norm(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Return the norm of the hidden states in the compute type; of ModernBERT's first layer they are normed."""
        if isinstance(norm, nn.LayerNorm):
            # fp32 weights over bf16 input: PyTorch accumulates in fp32 and returns the input's type.
            x = functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        return x.to(self.dtype)


def _firsts(x: Tensor, batch: int, layout: Layout | None) -> Tensor:
    """Return the rows of the first tokens."""
    if layout is None:
        return x.view(batch, -1, x.shape[1])[:, 0]
    firsts: Tensor = TakeRows.apply(x, layout.firsts)
    return firsts
