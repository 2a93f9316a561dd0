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
    task = record.task
    # The other metrics take long; the hash stands for them.
    quick = dict.fromkeys((*task.quick, record.spec.selects_by))
    names = [name for name in quick if name in values and name in task.metrics]
    try:
        labels, logits = task.outputs.checked(predictions["labels"], predictions["logits"])
        found: dict[str, Any] = {name: task.metric(name)(labels, logits) for name in names}
    except ValueError as error:
        raise StoreError(f"The predictions give no scores: {error}", value=str(path)) from None
    said = {name: values[name] for name in found}
    said |= {"confusion": stored["confusion"], "per_class": [_numbers(each) for each in stored["per_class"]]}
    found |= {"confusion": task.confusion(labels, logits).tolist(), "per_class": task.by_label(labels, logits)}
    for name, value in found.items():
        if not _same(said[name], value):
            shown = f": {name} is {said[name]}, they give {value}" if name in names else f": {name}"
            raise StoreError(
                "A score in the record is not the one that the stored predictions give.", value=f"{path}{shown}"
            )


def _numbers(score: Mapping[str, Any]) -> list[Any]:
    return [score[name] for name in ("precision", "recall", "f1", "support")]


def _same(said: Any, found: Any) -> bool:
    if isinstance(found, list):
        return isinstance(said, list) and len(said) == len(found) and all(map(_same, said, found))
    if said is None:
        return not math.isfinite(found)
    return math.isclose(said, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
