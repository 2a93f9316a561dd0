"""Linear classifiers as folders of their own: safetensors and JSON, whatever their features are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tunebench.errors import ModelError, StoreError
from tunebench.files import read_json, write_json
from tunebench.store.live import is_finite
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.registry import TASKS
from tunebench.training.backend import TextModel

LINEAR_FILE, LINEAR_WEIGHTS = "linear.json", "linear.safetensors"
#: Raised when the meaning of the file changes.
_VERSION = 1
#: Where the classes are that read a folder, by what their features are made of.
_READERS = {
    "tfidf": ("tunebench.training.linear.model", "LinearText"),
    "embeddings": ("tunebench.training.embeddings.model", "EmbeddedText"),
    "static": ("tunebench.training.static.model", "StaticText"),
}


@dataclass(frozen=True)
class LinearFacts:
    """What ``linear.json`` says.

    Attributes:
        features: What the features are made of, a key of :data:`_READERS`.
        label_names: One name a class, in the order of the logits.
        settings: What else it takes to read the folder.
        task: What was learned.
        temperature: What the logits are divided by; None for nothing.
    """

    features: str
    label_names: tuple[str, ...]
    settings: Mapping[str, Any]
    task: Task = CLASSIFICATION
    temperature: float | None = None


def write_linear(
    model: TextModel,
    folder: Path,
    label_names: tuple[str, ...],
    task: Task = CLASSIFICATION,
    temperature: float | None = None,
) -> None:
    """Write a classifier into an empty folder.

    Args:
        model: A linear classifier.
        folder: The folder.
        label_names: One name a class, in the order of the logits.
        task: What was learned.
        temperature: What the logits are divided by; None for nothing.
    """
    facts = model.export(folder, LINEAR_WEIGHTS)
    if task.name != CLASSIFICATION.name:
        facts |= {"task": task.name, "thresholds": getattr(task.outputs, "thresholds", None)}
    elif (thresholds := getattr(task.outputs, "thresholds", None)) is not None:
        facts |= {"thresholds": thresholds}
    if temperature is not None:
        facts |= {"temperature": temperature}
    whole = {"version": _VERSION, "features": model.features_name, "label_names": list(label_names)} | facts
    write_json(folder / LINEAR_FILE, whole)


def linear_facts(folder: Path) -> LinearFacts:
    """Read ``linear.json``.

    Raises:
        ModelError: It is damaged, or of another version.
    """
    path = folder / LINEAR_FILE
    try:
        whole = dict(read_json(path))
        version, features, names = (whole.pop(key) for key in ("version", "features", "label_names"))
        task = TASKS[whole.pop("task", CLASSIFICATION.name)].at(whole.pop("thresholds", None))
        if not isinstance(names, list) or len(names) < (2 if task.labelled else 1):
            raise TypeError("label_names are two or more")
        temperature = whole.pop("temperature", None)
        if temperature is not None and not (is_finite(temperature) and temperature > 0):
            raise TypeError("temperature is a number above 0")
    except (StoreError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The linear classifier's {LINEAR_FILE} is damaged: {error}", value=str(path)) from None
    if version != _VERSION or not isinstance(features, str) or features not in _READERS:
        raise ModelError(
            "The folder holds a linear classifier of another version.",
            value=f"{path}: version {version}, features {features}",
            allowed=f"version {_VERSION}, features {', '.join(_READERS)}",
            fix="use the version of tunebench that wrote it",
        )
    return LinearFacts(features, tuple(map(str, names)), whole, task, temperature)


def read_linear(folder: Path, *, device: str) -> TextModel:
    """Read what :func:`write_linear` wrote.

    Raises:
        ModelError: A part is missing or damaged.
    """
    facts = linear_facts(folder)
    module, name = _READERS[facts.features]
    try:
        found: TextModel = getattr(import_module(module), name).read_export(
            folder, LINEAR_WEIGHTS, facts.settings, task=facts.task, device=device
        )
    except StoreError as error:
        raise ModelError(error.what, value=str(folder)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The linear classifier's {LINEAR_FILE} does not fit its other files: {error}", value=str(folder)
        ) from None
    rows, names = len(found.head.intercepts), len(facts.label_names)
    if (not facts.task.labelled and names > 1) or facts.task.linear_rows(names) != rows:
        raise ModelError(
            f"{LINEAR_FILE} names {names} classes, and the weights have {max(2, rows)}.",
            value=str(folder),
        )
    return found
