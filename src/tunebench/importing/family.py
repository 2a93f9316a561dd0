"""Which family of encoder the model of a run is, and what head it has: from its configuration and its weights."""

from __future__ import annotations

import re
from typing import Any

from tunebench.errors import StoreError
from tunebench.importing.folder import Contents
from tunebench.importing.values import Values
from tunebench.models.architectures import ARCHITECTURES

#: The last matrix of a classification head, as Transformers' families and PEFT name it.
_LAST = re.compile(r"(?:.*\.)?(?:classifier|score)(?:\.out_proj)?(?:\.modules_to_save(?:\.\w+)?)?\.weight")
#: What families call their number of layers, and their width.
_LAYERS, _WIDTH = ("num_hidden_layers", "n_layers", "num_layers"), ("hidden_size", "dim", "d_model")
#: What classifiers are called in a configuration.
CLASSIFIER = "ForSequenceClassification"


def head_of(contents: Contents) -> tuple[int, str] | None:
    """Return how many outputs the head has by the shape of its last matrix, and where that stands."""
    found = {name: shape for name, shape in contents.shapes.items() if _LAST.fullmatch(name) and len(shape) == 2}
    if len(found) != 1:
        return None
    ((name, shape),) = found.items()
    return shape[0], f"{contents.weights_from}: {name} is {shape[0]} x {shape[1]}"


def labels_of(contents: Contents) -> tuple[int, str] | None:
    """Return how many labels the configuration gives a classifier, and the key that says so."""
    config, where = contents.config, contents.config_path.name
    names = config.get("id2label")
    if isinstance(names, (dict, list)) and names:
        return len(names), f"{where}: id2label"
    if isinstance(count := config.get("num_labels"), int) and count > 0:
        return count, f"{where}: num_labels"
    # Transformers leaves out what is its default.
    return (2, f"{where}: a classifier without id2label") if architecture_name(contents, CLASSIFIER) else None


def architecture_name(contents: Contents, part: str = "") -> str | None:
    """Return the first class in the configuration whose name holds a part."""
    names = contents.config.get("architectures")
    return next((str(name) for name in names if part in str(name)), None) if isinstance(names, list) else None


def head_parameters(contents: Contents) -> int | None:
    """Return how many parameters the weights hold in the head; None where the family is not known."""
    family = ARCHITECTURES.get(str(contents.config.get("model_type")))
    if family is None or contents.adapter or not contents.counts:
        return None
    return sum(count for name, count in contents.counts.items() if family.is_head(name)) or None


def settle_family(contents: Contents, values: Values) -> None:
    """Note the family of the model and its head, as far as files tell.

    Raises:
        StoreError: Configuration and weights have different numbers of labels.
    """
    head, labels = head_of(contents), labels_of(contents)
    if head is not None and labels is not None and head[0] != labels[0]:
        raise StoreError(
            "Two files contradict each other about the number of labels.",
            value=f"{contents.path}: {head[1]}; {labels[1]}: {labels[0]}",
            fix="remove the one that does not belong to this run",
        )
    said = [*_family(contents)]
    # A number of names alone says nothing new.
    if told := head or (labels if said else None):
        outputs = "1 output" if told[0] == 1 else f"{told[0]} outputs"
        said.append(f"its head has {outputs} ({told[1]})")
        values.found.setdefault("head", told[1])
    if said:
        contents.notes.add(f"{'; '.join(said)}.")


def _family(contents: Contents) -> list[str]:
    config, where = contents.config, contents.config_path.name
    family = config.get("model_type")
    if not isinstance(family, str) or not family:
        return []
    layers, width = _first(config, _LAYERS), _first(config, _WIDTH)
    size = "" if layers is None or width is None else f", {layers} layers of width {width}"
    name = architecture_name(contents)
    return [f"the model is of the family {family}{size} ({where}{f': {name}' if name else ''})"]


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((value for key in keys if isinstance(value := config.get(key), int)), None)
