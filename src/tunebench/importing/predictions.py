"""The arrays of a run, read as its task has it: labels, predictions, logits or probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.folder import Contents
from tunebench.tasks.base import Task

#: Largest difference of a sum from 1 at which numbers between 0 and 1 are the probabilities of classes.
_ROUNDING = 1e-3


def settle_arrays(contents: Contents, task: Task) -> None:
    """Check the arrays of a folder and keep them as labels, predictions, logits and probabilities.

    Args:
        contents: The folder; without labels, or with labels alone, nothing is kept.
        task: What was learned.

    Raises:
        StoreError: An array is not what the task wants, or arrays contradict each other; both are named.
    """
    if not contents.has_predictions:
        return
    values, where = contents.arrays["labels"]
    contents.arrays_from = where.removeprefix(f"{contents.path}/")
    if not task.labelled:
        _numbers(contents)
        return
    contents.labels = _classes(values, where) if task.exclusive else _rows(values, where)
    _name_logits(contents, task)
    for kind in ("logits", "probabilities"):
        if kind in contents.arrays:
            _set_scores(contents, task, kind)
    if "predictions" in contents.arrays:
        values, where = contents.arrays["predictions"]
        contents.predictions = _classes(values, where) if task.exclusive else _rows(values, where)
        _same_length(contents.predictions, contents.labels, where)
    _check_against_logits(contents, task)


def _name_logits(contents: Contents, task: Task) -> None:
    """Call logits what they are: the Trainer's own name for them is predictions."""
    values, where = contents.arrays.get("predictions", (np.zeros(0), ""))
    given = not task.exclusive and np.isin(values, (0, 1)).all()
    if values.ndim == 2 and "logits" not in contents.arrays and not given:
        contents.arrays["logits"] = values, where
        del contents.arrays["predictions"]


def _classes(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim != 1 or not len(values) or not np.issubdtype(values.dtype, np.integer):
        raise StoreError(
            "Labels and predicted classes must be whole numbers, one per example.",
            value=f"{where}: {values.dtype} of shape {values.shape}",
            fix="if several labels or a number are predicted for each text, state it: --set task=multi_label or "
            "--set task=regression",
        )
    if values.min() < 0 or values.max() >= 100_000:
        raise StoreError("A class is out of range.", value=f"{where}: {values.min()} to {values.max()}")
    return values.astype(np.int64)


def _rows(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim != 2 or not values.size or not np.isin(values, (0, 1)).all():
        raise StoreError(
            "Several labels a text must be rows of 0 and 1, one column a label.",
            value=f"{where}: {values.dtype} of shape {values.shape}",
        )
    return values.astype(np.int64)


def _numbers(contents: Contents) -> None:
    """Keep true and predicted numbers; the predicted ones are the logits of a model with one output."""
    labels = _column(*contents.arrays["labels"])
    told = [contents.arrays[kind] for kind in ("logits", "predictions") if kind in contents.arrays]
    if not np.isfinite(labels).all():
        raise StoreError("A true number is NaN or infinite.", value=contents.arrays["labels"][1])
    for values, where in told:
        numbers = _column(values, where)
        _same_length(numbers, labels, where)
        if not np.isfinite(numbers).all():
            _pass_over(contents, numbers[:, None], where)
            continue
        logits = numbers[:, None].astype(np.float32)
        if contents.logits is not None and not np.allclose(contents.logits, logits):
            raise StoreError(
                "Two arrays of predicted numbers differ.",
                value=" and ".join(place for _, place in told),
                fix="keep only those that belong to the scored weights",
            )
        contents.labels, contents.logits, contents.predictions = labels, logits, numbers


def _column(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    number = np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)
    if values.ndim != 1 or not len(values) or not number:
        raise StoreError(
            "True and predicted numbers must be one per example.",
            value=f"{where}: {values.dtype} of shape {values.shape}",
        )
    return values.astype(np.float64)


def _same_length(values: np.ndarray, labels: np.ndarray, where: str) -> None:
    if len(values) != len(labels):
        raise StoreError(
            "Labels and predictions differ in length.", value=f"{where}: {len(values)}, labels: {len(labels)}"
        )
    if values.shape != labels.shape:
        raise StoreError(
            "Labels and predictions differ in their number of labels.",
            value=f"{where}: {values.shape[1]}, labels: {labels.shape[1]}",
        )


def _set_scores(contents: Contents, task: Task, kind: str) -> None:
    values, where = contents.arrays[kind]
    labels = contents.labels
    assert labels is not None
    if values.ndim != 2 or values.shape[1] < 2 or not np.issubdtype(values.dtype, np.floating):
        raise StoreError(
            f"Logits must be floats of the shape (examples, {'classes' if task.exclusive else 'labels'}).",
            value=f"{where}: {values.dtype} of shape {values.shape}",
        )
    _same_length(values[:, 0] if task.exclusive else values, labels, where)
    if not np.isfinite(values).all():
        _pass_over(contents, values, where)
        return
    # Some scripts save probabilities under the name of logits; a log loss of them would be another number.
    shares = values.min() >= 0 and values.max() <= 1
    if task.exclusive:
        shares = shares and np.allclose(values.astype(np.float64).sum(1), 1, atol=_ROUNDING)
    if kind == "probabilities" or shares:
        contents.probabilities = values.astype(np.float32)
    else:
        contents.logits = values.astype(np.float32)


def _pass_over(contents: Contents, values: np.ndarray, where: str) -> None:
    rows = int((~np.isfinite(values)).any(1).sum())
    contents.notes.add(f"{Path(where).name} was passed over: {rows} of {len(values)} rows hold NaN or infinity.")


def _check_against_logits(contents: Contents, task: Task) -> None:
    """Check predictions against logits and probabilities, and keep those that follow from them."""
    labels, place = contents.labels, f"{contents.path / contents.arrays_from}"
    assert labels is not None
    for values, middle in ((contents.logits, 0.0), (contents.probabilities, 0.5)):
        if values is None:
            continue
        if not task.exclusive:
            _settle_decisions(contents, values > middle)
            continue
        highest = max(labels.max(), -1 if contents.predictions is None else contents.predictions.max())
        if highest >= values.shape[1]:
            raise StoreError(
                "A label or prediction is not one of the classes.",
                value=f"{place}: {highest}",
                allowed=f"0 to {values.shape[1] - 1}, as many as the logits have columns",
            )
        said = values.argmax(1)
        if contents.predictions is not None and (said != contents.predictions).any():
            raise StoreError(
                "The predicted classes differ from those of the logits.",
                value=f"{place}: {int((said != contents.predictions).sum())} differ",
                fix="keep only those that belong to the scored weights",
            )
        contents.predictions = said


def _settle_decisions(contents: Contents, given: np.ndarray) -> None:
    """Take the labels with a probability above 0.5; a script may have given others, by thresholds of its own."""
    own = contents.predictions
    if own is not None and (own != given).any():
        contents.notes.add(
            f"{int((own != given).sum()):,} of {given.size:,} predicted decisions are not those of a threshold of "
            "0.5. Scores are of that threshold; the script may have had others."
        )
    contents.predictions = given.astype(np.int64)
