"""The names of a run's classes, from the configuration of its model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tunebench.errors import ConfigError
from tunebench.importing.family import head_of, labels_of
from tunebench.importing.folder import Contents
from tunebench.importing.values import Values
from tunebench.tasks.base import Task

#: The name of predicted numbers that nothing names.
NUMBER = "number"


def label_names(contents: Contents, values: Values, task: Task) -> tuple[tuple[str, ...], bool]:
    """Return the names of the classes, or their numbers; and whether they are names.

    A number to predict has one name.

    Args:
        contents: The folder.
        values: Holds what is stated, and records what is found.
        task: What was learned.

    Raises:
        ConfigError: A statement contradicts the folder.
    """
    found = _configured(contents)
    plain = found is not None and all(
        name in (str(i), f"LABEL_{i}") or re.fullmatch(r"LABEL_\d+", name) for i, name in enumerate(found)
    )
    if found is not None and not plain:
        return tuple(values.settle("label_names", (list(found), contents.config_path.name))), True
    stated = values.settle("label_names")
    if stated is not None:
        _check_number(stated, task)
        if found is not None and len(found) != len(stated):
            raise ConfigError(
                "The number of stated class names is not the model's number of classes.",
                value=f"{contents.config_path}: {len(found)} classes; stated: {', '.join(stated)}",
            )
        return tuple(stated), True
    if not task.labelled:
        return (NUMBER,), False
    return (tuple(str(i) for i in range(len(found))), False) if found is not None else ((), False)


def _check_number(stated: Sequence[str], task: Task) -> None:
    """Refuse more than one name of a number, and less than two of labels."""
    if task.labelled == (len(stated) == 1):
        raise ConfigError(
            "label_names does not fit what is predicted.",
            value=f"{', '.join(stated)}; {task.label}",
            allowed="one name" if not task.labelled else "at least two names",
        )


def _configured(contents: Contents) -> tuple[str, ...] | None:
    """Return the names that ``id2label`` gives, or the numbers of the head's outputs; None without a classifier."""
    raw = contents.config.get("id2label")
    if isinstance(raw, list):
        raw = {str(i): name for i, name in enumerate(raw)}
    if not isinstance(raw, dict) or not raw:
        told = head_of(contents) or labels_of(contents)
        return None if told is None else tuple(f"LABEL_{i}" for i in range(told[0]))
    names = _in_order(raw)
    if names is not None:
        return names
    contents.notes.unusable(contents.config_path, "id2label", raw, "one name for each of the classes 0, 1, ...")
    return tuple(str(i) for i in range(len(raw)))


def _in_order(raw: dict[str, Any]) -> tuple[str, ...] | None:
    """Return names by the numbers of their classes; None where they are no names, or not of 0, 1, ..."""
    # Class names of a data set whose labels are numbers or booleans were numbers or booleans too.
    if set(raw) != {str(i) for i in range(len(raw))} or not all(isinstance(v, (str, int)) for v in raw.values()):
        return None
    names = tuple(str(raw[str(i)]) for i in range(len(raw)))
    return names if all(names) and len(set(names)) == len(names) else None
