"""What the estimators take for texts, labels and numbers, as scikit-learn has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from tunebench.data.columns import is_encodable
from tunebench.data.numbers import LARGEST, as_number
from tunebench.data.text import Text, as_text, by_side, together
from tunebench.errors import TunebenchError
from tunebench.tasks.base import Task


def refuse_unloadable(name: str, task: Task, *, pairs: bool) -> None:
    """Refuse, before training, a strategy that cannot learn the task, read such texts, or be loaded afterwards."""
    from tunebench.strategies import STRATEGIES

    strategy = STRATEGIES.get(name)
    if strategy is not None and not strategy.exportable:
        able = ", ".join(sorted(name for name, known in STRATEGIES.items() if known.exportable))
        raise ValueError(f"strategy={name!r} cannot be loaded for predictions; allowed: {able}")
    if strategy is not None and pairs and not strategy.reads_pairs:
        raise ValueError(
            f"strategy={name!r} reads single texts, and X holds pairs; put the two texts into one string"
        )
    if strategy is not None and not strategy.learns(task):
        able = ", ".join(sorted(name for name, known in STRATEGIES.items() if known.learns(task)))
        raise ValueError(f"strategy={name!r} cannot learn {task.label}: {strategy.tasks_reason}; allowed: {able}")


def texts_of(X: Any) -> list[Text]:
    """Return X as texts, all strings or all pairs of strings."""
    if isinstance(X, (str, bytes)):
        raise ValueError("X is a single text; a sequence of texts is needed")
    if not isinstance(X, Iterable) or isinstance(X, (Mapping, Set)):
        raise ValueError(f"X is of type {type(X).__name__}; a sequence of texts is needed")
    shape: tuple[int, ...] = getattr(X, "shape", None) or (0,)
    if len(shape) == 2 and shape[1] == 2:
        X = np.asarray(X, dtype=object).tolist()
    elif len(shape) != 1:
        raise ValueError(f"Expected a 1D sequence of texts, or two columns of pairs; got the shape {shape}")
    texts: list[Text] = []
    for position, value in enumerate(X):
        text = as_text(value)
        if text is None:
            kind = "neither a string nor a pair of strings" if isinstance(value, (list, tuple)) else "not a string"
            raise ValueError(f"X[{position}] is {kind}: {value!r}")
        if texts and isinstance(text, str) != isinstance(texts[0], str):
            raise ValueError(f"X[{position}] is {'a string' if isinstance(text, str) else 'a pair'}, unlike X[0]")
        texts.append(text)
    return texts


def checked_texts(X: Any) -> list[Text]:
    """Return X as texts that can be trained on.

    Raises:
        ValueError: There are none, or some are blank or not valid Unicode.
    """
    from tunebench.data.columns import check_texts

    texts = texts_of(X)
    if not texts:
        raise ValueError("Found 0 sample(s) while a minimum of 2 is required: X is empty")
    try:
        return together([check_texts(side, where="X") for side in by_side(texts)])
    except TunebenchError as error:
        raise ValueError(str(error)) from None


def class_labels(y: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as indices, and the sorted classes."""
    check_classification_targets(y)
    classes, labels = np.unique(_of_length(y, count), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds a single class ({classes.tolist()[0]!r}); two or more classes are needed")
    return labels.astype(np.int64), classes


def label_matrix(y: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return several labels a text as a 0/1 matrix, and the names of its columns, or their numbers."""
    columns = getattr(y, "columns", None)
    values = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    _check_length(values, count)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("y is a matrix whose values are not all 0 or 1")
    classes = np.arange(values.shape[1]) if columns is None else np.asarray(columns)
    return values.astype(np.int8), classes


def target_numbers(y: Any, count: int) -> np.ndarray:
    """Return numbers as doubles."""
    check_missing(y)
    values = _of_length(y, count)
    found = [as_number(value) for value in values.tolist()]
    odd = [place for place, number in enumerate(found) if number is None or isinstance(values[place], str)]
    if odd:
        raise ValueError(f"y[{odd[0]}] is not a number: {values.tolist()[odd[0]]!r}")
    numbers = np.array(found, dtype=np.float64)
    large = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
    if len(large):
        raise ValueError(f"y[{large[0]}] is infinite or too large (above {LARGEST:g}): {numbers[large[0]]}")
    return numbers


def class_names(classes: np.ndarray) -> tuple[str, ...]:
    """Return the classes as the strings that a model stores.

    Raises:
        ValueError: Some cannot be stored, or cannot be told apart.
    """
    names = tuple(map(str, classes))
    broken = [name for name in names if not is_encodable(name)]
    if broken:
        raise ValueError(f"y holds the label {broken[0]!r}, which is not valid Unicode (half of a surrogate pair)")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"y has several columns called {twice[0]!r}; give each label a name of its own")
    return names


def _of_length(y: Any, count: int) -> np.ndarray:
    """Return y as an array with one value a text."""
    values = np.asarray(y)
    if values.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {values.shape}")
    _check_length(values, count)
    return values


def _check_length(values: np.ndarray, count: int) -> None:
    if len(values) != count:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {count} and {len(values)}")


def check_types(y: Any) -> None:
    """Refuse labels of several types, which have no order: 1 beside "1" in an array of objects."""
    values = np.asarray(y) if np.ndim(y) == 1 else np.empty(0)
    if values.dtype != object:
        return
    types = sorted({"str" if isinstance(value, str) else type(value).__name__ for value in values})
    if len(types) > 1:
        raise ValueError(
            f"y holds labels of several types ({', '.join(types)}); make them one, as with map(str, y)"
        )


def check_missing(y: Any) -> None:
    """Refuse a missing y, and values that are None, NaN or another one that pandas takes for missing."""
    import pandas as pd

    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    if np.ndim(y) != 1:
        return
    missing = np.flatnonzero(pd.isna(np.asarray(y, dtype=object)))
    if len(missing):
        raise ValueError(
            f"y[{missing[0]}] is missing (None or NaN), and {len(missing)} of {len(y)} labels are; "
            "remove these texts and labels"
        )
