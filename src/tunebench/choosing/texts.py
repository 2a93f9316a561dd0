"""Texts and labels in memory, written to a file that a study can be run on and resumed with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Integral, Number
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import DataError, StoreError
from tunebench.files import write_text
from tunebench.store.study_folder import StudyStore

#: What holds several labels of one text.
_LISTS = (list, tuple, set, frozenset)


def write_texts(texts: Sequence[str], labels: Sequence[Any], folder: Path) -> str:
    """Write texts and labels beside a study's folder, and return the file's path.

    Args:
        texts: The texts.
        labels: A label, a number or a list of labels for each.
        folder: The study's folder, which need not be there yet.

    Raises:
        DataError: Texts and labels are not equally many, or a label is missing.
        StoreError: The folder cannot be used, or its study is of other texts. Nothing is written then.
    """
    if isinstance(texts, (str, Path)) or len(texts) != len(labels):
        raise DataError(
            "Each text needs one label.",
            value="one text" if isinstance(texts, (str, Path)) else f"{len(texts)} texts, {len(labels)} labels",
            allowed="two lists of the same length",
        )
    several = any(isinstance(label, _LISTS) for label in labels[:1])
    written = [_written(label, number, several) for number, label in enumerate(labels, start=1)]
    rows = (json.dumps({"text": text, "label": label}) for text, label in zip(texts, written, strict=True))
    content = "\n".join(rows) + "\n"
    path = folder.with_name(f"{folder.name}-data") / "train.jsonl"
    begun = StudyStore.check(folder, []).plan_file.exists()
    if begun and path.exists() and path.read_text(encoding="utf-8") != content:
        raise StoreError(
            "The folder holds a study of other texts or labels.",
            value=str(folder),
            fix="give the same texts and labels as before, or choose another folder (out)",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, content)
    return str(path)


def _written(label: Any, number: int, several: bool) -> str | int | bool | list[str]:
    """Return a label as it is written into a file, or several labels of one text."""
    if several and isinstance(label, _LISTS) and all(isinstance(each, str) for each in label):
        return sorted(label)
    # NaN is a number that does not equal itself.
    if several or not isinstance(label, (str, Number, np.bool_)) or label != label:
        allowed = "a list of strings, as the first" if several else "a string or a number"
        raise DataError(f"Label {number} is no label.", value=label, allowed=allowed)
    # These stay what they are: where 1 stands beside "1", reading says that they are one label.
    if isinstance(label, (bool, np.bool_)):
        return bool(label)
    return int(label) if isinstance(label, Integral) else str(label)
