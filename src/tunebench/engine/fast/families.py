"""How the layers of each family with fast layers are built: one entry of a table a family.

:mod:`tunebench.models.architectures` names the linear layers; here is the rest. A new family that is built of the
same parts needs an entry here and its name in the tests' list of families.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from torch import nn

from tunebench.engine.native.masks import MOST_KEYS


@dataclass(frozen=True)
class LayerFamily:
    """What a layer consists of; names are relative to it, and None stands for what the family does not have.

    Every layer is attention and a feed-forward network, each with a residual connection and a norm. Whether a layer
    attends within a window is read from ``layer_types`` and ``sliding_window`` of the model's configuration.

    Attributes:
        attention: The attention, without its output projection.
        attention_dropout: Dropout of the attention probabilities.
        attention_norm: Norm of the attention.
        output_norm: Norm of the feed-forward network.
        activation: Its activation function.
        attention_output_dropout: Dropout of what the attention adds.
        inner_dropout: Dropout between the two projections of the feed-forward network.
        output_dropout: Dropout of what the feed-forward network adds.
        pre_norm: Norms stand before attention and feed-forward network, and not behind the residual connections.
        gated: The first projection gives two halves; the activated first multiplies the second (GeGLU).
        rotary: Queries and keys are rotated by their positions.
        relative: Scores have terms of relative positions, whose queries and keys are projections of embeddings that
            all layers share (disentangled attention).
        position_projections: The projections that give these queries and keys. With ``share_att_key`` in the
            configuration, those of the tokens do.
        position_dropout: Dropout of the shared embeddings.
        tuple_output: The layer returns a tuple, of its output and None.
    """

    attention: str
    attention_dropout: str
    attention_norm: str
    output_norm: str
    activation: str
    attention_output_dropout: str | None = None
    inner_dropout: str | None = None
    output_dropout: str | None = None
    pre_norm: bool = False
    gated: bool = False
    rotary: bool = False
    relative: bool = False
    position_projections: tuple[str, ...] = ()
    position_dropout: str | None = None
    tuple_output: bool = False


_BERT = LayerFamily(
    attention="attention.self",
    attention_dropout="attention.self.dropout",
    attention_output_dropout="attention.output.dropout",
    attention_norm="attention.output.LayerNorm",
    activation="intermediate.intermediate_act_fn",
    output_dropout="output.dropout",
    output_norm="output.LayerNorm",
)
#: Families with fast layers, by ``model_type``.
LAYER_FAMILIES = {
    "distilbert": LayerFamily(
        attention="attention",
        attention_dropout="attention.dropout",
        attention_norm="sa_layer_norm",
        activation="ffn.activation",
        output_dropout="ffn.dropout",
        output_norm="output_layer_norm",
    ),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "modernbert": LayerFamily(
        attention="attn",
        attention_dropout="attn.attention_dropout",
        attention_output_dropout="attn.out_drop",
        attention_norm="attn_norm",
        activation="mlp.act",
        inner_dropout="mlp.drop",
        output_norm="mlp_norm",
        pre_norm=True,
        gated=True,
        rotary=True,
    ),
    "deberta-v2": replace(
        _BERT,
        relative=True,
        position_projections=("attention.self.pos_query_proj", "attention.self.pos_key_proj"),
        position_dropout="attention.self.pos_dropout",
        tuple_output=True,
    ),
}


def refusal(config: Any) -> str | None:
    """Say why the fast layers cannot stand in for those of a model with this configuration; None when they can."""
    family = LAYER_FAMILIES.get(config.model_type)
    if family is None:
        return f"{config.model_type} has no fast layers yet"
    if getattr(config, "is_decoder", False):
        return "the fast layers attend to all tokens, and this model (is_decoder) to earlier ones alone"
    if not family.relative:
        return None
    if getattr(config, "conv_kernel_size", 0) > 0:
        return "the fast layers have no convolution, and this model has one behind its first layer"
    terms = set(config.pos_att_type or ()) if getattr(config, "relative_attention", False) else set()
    if terms != {"c2p", "p2c"}:
        return "the fast layers compute both terms of relative positions (c2p, p2c), and this model has not both"
    if getattr(config, "attention_head_size", None) not in (None, config.hidden_size // config.num_attention_heads):
        return "the fast layers have heads that share the hidden size, and this model states another size"
    return None


def kernels_refusal(config: Any) -> str | None:
    """Say why the native kernels do not compute the layers of a model; None when they do.

    What they are not written for stays with PyTorch's operators: also a batch with a prefix, or with attention to
    other tokens of a text than its first ones, but that only while such a batch is computed.
    """
    family = LAYER_FAMILIES[config.model_type]
    if family.pre_norm or family.relative:
        return f"{config.model_type} is not built of the parts that the kernels have"
    if config.hidden_size % (config.num_attention_heads * 32):
        return "the heads do not have a multiple of 32 elements"
    inner = getattr(config, "intermediate_size", None) or config.hidden_dim
    activation = getattr(config, "hidden_act", None) or config.activation
    if inner % 32 or activation != "gelu":
        return "the feed-forward network has an odd size, or another activation than GELU"
    if config.max_position_embeddings > MOST_KEYS:
        return f"texts may have more than {MOST_KEYS:,} tokens"
    return None


def dropout_of(layer: nn.Module, name: str | None) -> float:
    """Return the probability that a layer names: of a dropout module, or a plain number; 0 where there is none."""
    found: Any = None if name is None else attrgetter(name)(layer)
    if isinstance(found, nn.Module):
        return float(found.p) if isinstance(found, nn.Dropout) else 0.0
    return 0.0 if found is None else float(found)


def window_of(config: Any, index: int) -> int | None:
    """Return how many tokens to each side a layer attends to; None where it attends to all."""
    kinds = getattr(config, "layer_types", None)
    return int(config.sliding_window) if kinds and kinds[index] == "sliding_attention" else None
