"""Texts with labels, as everything downstream sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property

import numpy as np

from tunebench.data.inputs import Inputs
from tunebench.data.reading import Reading
from tunebench.data.text import Text, sides_of
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION

#: Stands before the sides of a pair in a digest, where the length of a text would; none is so long.
_PAIR = (2**64 - 1).to_bytes(8, "little")
#: When a text was written: numbers, or dates with a time zone.
Time = int | float | Decimal | datetime


@dataclass(frozen=True, eq=False)
class Split:
    """Texts and their labels.

    Attributes:
        texts: The texts: all strings, or all pairs.
        labels: A row a text, in the form that the data set's task has them: for one label a text, int64 of
            shape ``(texts,)``, indices into the data set's label names; for one number a text, doubles.
        groups: The group of each text; None where no column names it.
        times: The time of each text, of a type that can be sorted; None where no column names it.

    Raises:
        ValueError: Texts, labels, groups or times are not equally many.
    """

    texts: Sequence[Text]
    labels: np.ndarray
    groups: Sequence[str] | None = None
    times: Sequence[Time] | None = None

    def __post_init__(self) -> None:
        if self.labels.shape[:1] != (len(self.texts),):
            raise ValueError(f"{len(self.texts)} texts, but labels of shape {self.labels.shape}")
        for name, values in (("groups", self.groups), ("times", self.times)):
            if values is not None and len(values) != len(self.texts):
                raise ValueError(f"{len(self.texts)} texts, but {len(values)} {name}")

    @cached_property
    def digest(self) -> str:
        """32 hex digits of sha256 over texts and labels."""
        digest = hashlib.sha256(texts_digest(self.texts))
        digest.update(label_bytes(self.labels))
        return digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TextDataset:
    """Texts, and what is to be learned of them.

    Attributes:
        source: Where it came from, as the user named it.
        revision: Commit of the Hub repository; ``None`` for anything else.
        label_names: One name per class, in label order; of numbers the name of their column.
        train: What may be trained on.
        test: What is scored; ``None`` when the source has no test split.
        reading: What was read of the source, and what was passed over; no part of the fingerprint.
        validation: What selects; ``None`` when the source has no validation split, or it is passed over. No part of
            the fingerprint: the runs that it selects have its digest.
        inputs: The columns of a text where they are several; no part of the fingerprint.
        task: What its labels are.
    """

    source: str
    revision: str | None
    label_names: tuple[str, ...]
    train: Split
    test: Split | None
    reading: Reading = field(default_factory=Reading)
    validation: Split | None = None
    inputs: Inputs | None = None
    task: Task = CLASSIFICATION

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name: ``train``, ``validation``, ``test``."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}

    @cached_property
    def copies_of(self) -> np.ndarray:
        """For each training row, the first row that holds the same text; int64 of shape ``(rows,)``."""
        return _first_of_each(self.train.texts)

    @cached_property
    def group_of(self) -> np.ndarray | None:
        """For each training row, the first row of the same group; ``None`` without groups."""
        return None if self.train.groups is None else _first_of_each(self.train.groups)

    @cached_property
    def time_ranks(self) -> np.ndarray | None:
        """For each training row, the number of earlier times; ``None`` without times."""
        if self.train.times is None:
            return None
        ranks = {time: rank for rank, time in enumerate(sorted(set(self.train.times)))}
        return np.array([ranks[time] for time in self.train.times], dtype=np.int64)

    @cached_property
    def strata(self) -> dict[str, np.ndarray]:
        """By split, what its texts are stratified by; see :meth:`~tunebench.tasks.base.Task.strata`."""
        return {name: self.task.strata(split.labels) for name, split in self.splits.items()}

    def in_validation(self, *, texts: bool, groups: bool) -> np.ndarray:
        """Mark the training rows whose text, or whose group, stands in the validation split too.

        Args:
            texts: Look at texts.
            groups: Look at groups.
        """
        mask = np.zeros(len(self.train), dtype=bool)
        both: list[tuple[Sequence[Text], Sequence[Text]]] = []
        if texts and self.validation:
            both.append((self.train.texts, self.validation.texts))
        if groups and self.validation and self.train.groups is not None and self.validation.groups is not None:
            both.append((self.train.groups, self.validation.groups))
        for own, theirs in both:
            known = set(theirs)
            mask |= np.array([value in known for value in own], dtype=bool)
        return mask

    @cached_property
    def groups_digest(self) -> str:
        """32 hex digits of sha256 over the groups of the rows of train and validation."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation):
            digest.update(texts_digest((split.groups if split is not None else None) or ()))
        return digest.hexdigest()[:32]

    @cached_property
    def times_digest(self) -> str:
        """32 hex digits of sha256 over the order of the training rows in time."""
        ranks = self.time_ranks
        return hashlib.sha256(b"" if ranks is None else ranks.astype("<i8").tobytes()).hexdigest()[:32]

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of sha256 over label names, and the texts and labels of train and test.

        It is derived rather than passed, so that it can never disagree with the content.
        """
        digest = hashlib.sha256(texts_digest(self.label_names))
        for split in (self.train, self.test):
            if split is None:
                digest.update(b"\0")
                continue
            digest.update(b"\1" + texts_digest(split.texts))
            digest.update(label_bytes(split.labels))
        return digest.hexdigest()[:32]


def label_bytes(labels: np.ndarray) -> bytes:
    """Return labels as bytes that are the same on every machine: integers, or doubles."""
    return labels.astype("<f8" if np.issubdtype(labels.dtype, np.floating) else "<i8").tobytes()


def _first_of_each(values: Sequence[Text]) -> np.ndarray:
    """Return for each value the first place where it stands; int64 of shape ``(values,)``."""
    first: dict[Text, int] = {}
    return np.array([first.setdefault(value, place) for place, value in enumerate(values)], dtype=np.int64)


def texts_digest(texts: Sequence[Text]) -> bytes:
    """Return sha256 over texts; their number and lengths are part of it, so that cuts cannot move."""
    digest = hashlib.sha256(len(texts).to_bytes(8, "little"))
    for text in texts:
        if not isinstance(text, str):
            digest.update(_PAIR)
        for side in sides_of(text):
            encoded = side.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.digest()
