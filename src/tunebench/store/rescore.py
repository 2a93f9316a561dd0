"""Scores of a record, recomputed from the stored predictions: an edited score is not believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.store.imported import is_imported
from tunebench.store.record import RunRecord
from tunebench.tasks.metrics import METRICS, checked

#: Metrics that are recomputed at every reading, as the study's own is. The others take long; the hash stands for
#: them.
_QUICK = ("macro_f1", "accuracy", "log_loss")
#: Relative and absolute difference that another version of NumPy or scikit-learn may make.
_TOLERANCE = 1e-9


def check_scores(record: RunRecord, predictions: Mapping[str, np.ndarray], *, path: Path) -> None:
    """Check the scores of one of our own runs against its predictions.

    Those of an imported run are what its folder tells, perhaps rounded, and are left alone.

    Args:
        record: The run's record.
        predictions: ``logits`` and ``labels`` of the test part.
        path: The record's file, for the message.

    Raises:
        StoreError: A score differs, or the predictions give none.
    """
    if record.scores is None or is_imported(record.spec):
        return
    stored = record.scores.model_dump(mode="json")
    values = stored["values"]
    names = [
        name for name in dict.fromkeys((*_QUICK, record.spec.selects_by)) if name in values and name in METRICS
    ]
    try:
        labels, logits = checked(predictions["labels"], predictions["logits"])
        found: dict[str, Any] = {name: METRICS[name](labels, logits) for name in names}
    except ValueError as error:
        raise StoreError(f"The predictions give no scores: {error}", value=str(path)) from None
    said = {name: values[name] for name in found}
    confusion = _confusion(labels, logits)
    said |= {"confusion": stored["confusion"], "per_class": [_numbers(each) for each in stored["per_class"]]}
    found |= {"confusion": confusion.tolist(), "per_class": _per_class(confusion)}
    for name, value in found.items():
        if not _same(said[name], value):
            shown = f": {name} is {said[name]}, they give {value}" if name in names else f": {name}"
            raise StoreError(
                "A score in the record is not the one that the stored predictions give.", value=f"{path}{shown}"
            )


def _confusion(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return how many examples of each class (row) were given each class (column)."""
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _per_class(confusion: np.ndarray) -> list[list[float]]:
    """Return precision, recall, F1 and support of each class; 0 where nothing divides."""
    hits, support, given = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    parts = (hits / np.maximum(given, 1), hits / np.maximum(support, 1), 2 * hits / np.maximum(support + given, 1))
    return [list(row) for row in zip(*(part.tolist() for part in (*parts, support)), strict=True)]


def _numbers(score: Mapping[str, Any]) -> list[Any]:
    return [score[name] for name in ("precision", "recall", "f1", "support")]


def _same(said: Any, found: Any) -> bool:
    if isinstance(found, list):
        return isinstance(said, list) and len(said) == len(found) and all(map(_same, said, found))
    if said is None:
        return not math.isfinite(found)
    return math.isclose(said, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
