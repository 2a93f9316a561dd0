"""Loading pretrained encoders as classifiers: from a folder, from safetensors only and without remote code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError, first_line
from tunebench.models.architectures import Architecture, architecture_of, load_configuration, quiet_transformers
from tunebench.models.base import Base
from tunebench.models.checks import PICKLED_HEAD
from tunebench.models.weights import SINGLE_LABEL, StoredWeights, refuse_unfit, stored_weights
from tunebench.tasks.registry import task_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from tunebench.models.reference import BaseHead


@dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """A classifier in memory, and what its files were like.

    Attributes:
        model: The classifier, in evaluation mode.
        drawn: Names of parameters that were drawn: missing, or of another shape, as a head for another number of
            classes. All of them belong to the head.
        lacking: Those of :attr:`drawn` that pretrained encoders of the family are saved with: BERT's pooler.
        prefix: A wrapper's prefix that was taken off the names of the weights.
    """

    model: PreTrainedModel
    drawn: tuple[str, ...]
    lacking: tuple[str, ...]
    prefix: str


def load_architecture(folder: Path) -> Architecture:
    """Return the module names of the model in a folder, without loading its weights.

    Raises:
        ModelError: If there is no configuration, or the family is not supported.
    """
    return architecture_of(load_configuration(folder))


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
    ).model


def load_stored(
    folder: Path,
    *,
    label_names: Sequence[str],
    problem_type: str = SINGLE_LABEL,
    attention_dropout: float | None = None,
    base_head: BaseHead | None = None,
) -> LoadedClassifier:
    """Do what :func:`load_classifier` does, and say what the files were like.

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
    return LoadedClassifier(model, tuple(drawn), _lacking(drawn, architecture), stored.prefix)


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
        lacking=_lacking(drawn, architecture),
        label_names=names if head else (),
        problem=problem,
        pickled_head=(folder / PICKLED_HEAD).exists(),
        source=str(folder),
    )


def _lacking(drawn: Sequence[str], architecture: Architecture) -> tuple[str, ...]:
    """Return what of a head that was drawn pretrained encoders of the family are saved with."""
    return tuple(name for name in drawn if not architecture.is_new_head(name))


def _classifier_config(
    folder: Path, label_names: Sequence[str] | None = None, problem_type: str = SINGLE_LABEL
) -> Any:
    """Return the configuration of a folder, for classes of these names; None for its own."""
    quiet_transformers()
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
