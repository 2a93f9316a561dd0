"""The families of encoders: what their modules are called, and what a model holds of each kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Positions that RoBERTa's kind leaves unused: counting starts behind the padding id.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})


@dataclass(frozen=True)
class Architecture:
    """Names of the modules of one model family, relative to its sequence classifier.

    ``query`` and its siblings are relative to a layer. ``None`` means that the family has no such
    module of its own (ModernBERT fuses the three projections).
    """

    model_type: str
    layers: str
    query: str | None
    key: str | None
    value: str | None
    attention_output: str
    mlp: tuple[str, ...]
    head: tuple[str, ...]
    #: Modules of the head that pretrained encoders of the family are saved with, before any classification.
    pretrained_head: tuple[str, ...] = ()
    fused_projections: str | None = None
    #: Where the configuration keeps the dropout of the attention probabilities.
    attention_dropout_key: str = "attention_probs_dropout_prob"
    num_layers: int = 0
    #: Positions a sequence may take; None where the configuration states no limit.
    positions: int | None = None

    @property
    def encoder(self) -> str:
        """Full name of the encoder."""
        return self.layers.split(".")[0]

    def of_encoder(self) -> Architecture:
        """Return the same with ``layers`` relative to the encoder, for a model without a head."""
        return replace(self, layers=self.layers.removeprefix(f"{self.encoder}."))

    @property
    def embeddings(self) -> str:
        """Full name of the embeddings."""
        return f"{self.encoder}.embeddings"

    @property
    def reading(self) -> tuple[str, ...]:
        """Names of the linear layers that give query, key and value: three, or the one that gives all."""
        if self.fused_projections is not None:
            return (self.fused_projections,)
        assert self.query is not None and self.key is not None and self.value is not None
        return self.query, self.key, self.value

    def depth(self, parameter: str) -> int:
        """Return the depth of a parameter: 0 for embeddings, i + 1 for layer i, the most for the head."""
        if self.is_head(parameter):
            return self.num_layers + 1
        padded = f".{parameter}"
        return next((i + 1 for i in range(self.num_layers) if f".{self.layers}.{i}." in padded), 0)

    def projections(
        self, placement: str | tuple[str, ...] | list[str], *, top_layers: int | None = None
    ) -> tuple[str, ...]:
        """Return the full names of the linear layers of a placement.

        Args:
            placement: ``query_value``, ``attention`` (all four projections), ``mlp``, ``all_linear``, or names
                of linear layers relative to an encoder layer.
            top_layers: In how many layers, from the top; None for all.

        Raises:
            ModelError: If the family cannot carry the placement.
        """
        attention = (*self.reading, self.attention_output)
        members = {
            "query_value": () if self.fused_projections else (self.query, self.value),
            "attention": attention,
            "mlp": self.mlp,
            "all_linear": (*attention, *self.mlp),
        }
        if not isinstance(placement, str):
            unknown = [name for name in placement if name not in members["all_linear"]]
            if unknown or not placement:
                raise ModelError(
                    f"{self.model_type} has no such linear layers.",
                    value=", ".join(unknown) or "an empty list",
                    allowed=", ".join(name for name in members["all_linear"] if name),
                )
            members["named"], placement = tuple(placement), "named"
        if placement not in members:
            raise ModelError("Unknown placement.", value=placement, allowed=", ".join(members))
        if not members[placement]:
            raise ModelError(
                f"{self.model_type} fuses query, key and value into one matrix ({self.fused_projections}), "
                "so query and value cannot be adapted apart.",
                value=placement,
                allowed="attention, mlp, all_linear",
                fix="set placement: attention",
            )
        first = 0 if top_layers is None else self.num_layers - top_layers
        return tuple(
            f"{self.layers}.{i}.{name}" for i in range(first, self.num_layers) for name in members[placement]
        )

    def is_head(self, parameter: str) -> bool:
        """Tell whether a parameter belongs to the classification head.

        Args:
            parameter: Its full name; the prefixes and wrappers that PEFT adds are accepted.
        """
        return _lies_in(parameter, self.head)

    def is_new_head(self, parameter: str) -> bool:
        """Tell whether a parameter belongs to what classification alone brings, unlike BERT's pooler."""
        return self.is_head(parameter) and not _lies_in(parameter, self.pretrained_head)


def _lies_in(parameter: str, modules: tuple[str, ...]) -> bool:
    padded = f".{parameter}."
    return any(f".{name}." in padded for name in modules)


def _bert_like(
    model_type: str, prefix: str, head: tuple[str, ...], pretrained_head: tuple[str, ...] = ()
) -> Architecture:
    return Architecture(
        model_type=model_type,
        layers=f"{prefix}.encoder.layer",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        mlp=("intermediate.dense", "output.dense"),
        head=head,
        pretrained_head=pretrained_head,
    )


_FAMILIES = (
    Architecture(
        model_type="distilbert",
        layers="distilbert.transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        mlp=("ffn.lin1", "ffn.lin2"),
        head=("pre_classifier", "classifier"),
        attention_dropout_key="attention_dropout",
    ),
    _bert_like("bert", "bert", ("bert.pooler", "classifier"), ("bert.pooler",)),
    _bert_like("roberta", "roberta", ("classifier",)),
    _bert_like("xlm-roberta", "roberta", ("classifier",)),
    _bert_like("camembert", "roberta", ("classifier",)),
    _bert_like("electra", "electra", ("classifier",)),
    Architecture(
        model_type="deberta-v2",
        layers="deberta.encoder.layer",
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
        attention_output="attention.output.dense",
        mlp=("intermediate.dense", "output.dense"),
        head=("pooler", "classifier"),
    ),
    Architecture(
        model_type="modernbert",
        layers="model.layers",
        query=None,
        key=None,
        value=None,
        fused_projections="attn.Wqkv",
        attention_output="attn.Wo",
        mlp=("mlp.Wi", "mlp.Wo"),
        head=("head", "classifier"),
        # That of masked language modelling, whose modules have the same names.
        pretrained_head=("head",),
        attention_dropout_key="attention_dropout",
    ),
)
#: Supported families by the ``model_type`` of their configuration.
ARCHITECTURES = {family.model_type: family for family in _FAMILIES}


def load_configuration(folder: Path, **changes: Any) -> Any:
    """Return the Transformers configuration of a folder.

    Args:
        folder: The folder.
        changes: Keys to set.

    Raises:
        ModelError: It is missing or not sound.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **changes)
    except Exception as error:
        # Its checks of values have types of their own, and values it does not check fail in any way.
        raise ModelError(f"The configuration cannot be loaded: {first_line(error)}", value=str(folder)) from None


def architecture_of(config: Any) -> Architecture:
    """Return the module names for a loaded Transformers configuration.

    Raises:
        ModelError: If the family is not supported.
    """
    family = ARCHITECTURES.get(config.model_type)
    if family is None:
        raise unknown_architecture(config.model_type)
    positions = usable_positions(vars(config) | {"model_type": config.model_type})
    return Architecture(**{**vars(family), "num_layers": config.num_hidden_layers, "positions": positions})


def usable_positions(config: Mapping[str, Any]) -> int | None:
    """Return how many positions the configuration of a model has room for; None where it states no limit."""
    positions = config.get("max_position_embeddings")
    if config.get("position_biased_input") is False:
        return None  # DeBERTa's are relative then, and counted in buckets
    if not isinstance(positions, int) or positions <= 0:
        return None
    padding = config.get("pad_token_id")
    unused = (padding if isinstance(padding, int) else 0) + 1
    return positions - (unused if str(config.get("model_type")) in _OFFSET_POSITIONS else 0)


def unknown_architecture(model_type: str) -> ModelError:
    """Return the error that names the families there are."""
    return ModelError(
        "This model's architecture is not supported.",
        value=model_type,
        allowed=", ".join(sorted(ARCHITECTURES)),
        fix="choose an encoder of one of these families, or add an entry to tunebench/models/architectures.py",
    )


def unwrap(model: Any) -> Any:
    """Return the Transformers model that PEFT wrapped, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def virtual_tokens(model: Any) -> tuple[int, int]:
    """Count what PEFT puts before every text: ``(embeddings of a prompt, keys and values of a prefix)``."""
    config = getattr(model, "active_peft_config", None)
    if config is None or not config.is_prompt_learning:
        return 0, 0
    count = int(config.num_virtual_tokens)
    return (0, count) if config.peft_type == "PREFIX_TUNING" else (count, 0)


def count_parameters(model: Any, architecture: Architecture) -> tuple[int, int, int]:
    """Count ``(total, trainable adapter, trainable head)`` parameters; tied ones once.

    Everything that is trained and not the head counts as adapter, also under full fine-tuning.
    Frozen originals that PEFT keeps beside a trained copy of the head are part of the total, as in
    PEFT's own count.
    """
    total = adapter = head = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad and architecture.is_head(name):
            head += parameter.numel()
        elif parameter.requires_grad:
            adapter += parameter.numel()
    return total, adapter, head


def quiet_transformers() -> None:
    """Silence load reports: a fresh head is what we asked for, and the progress display is ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
