"""Texts with labels, as everything downstream sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tunebench.data.reading import Reading


@dataclass(frozen=True, eq=False)
class Split:
    """Texts and their labels.

    Attributes:
        texts: The texts.
        labels: int64 of shape ``(texts,)``, indices into the data set's label names.

    Raises:
        ValueError: Texts and labels are not equally many.
    """

    texts: list[str]
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.texts),):
            raise ValueError(f"{len(self.texts)} texts, but labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TextDataset:
    """A classification data set.

    Attributes:
        source: Where it came from, as the user named it.
        revision: Commit of the Hub repository; ``None`` for anything else.
        label_names: One name per class, in label order.
        train: What may be trained on.
        test: What is scored; ``None`` when the source has no test split.
        reading: What was read of the source, and what was passed over; no part of the fingerprint.
    """

    source: str
    revision: str | None
    label_names: tuple[str, ...]
    train: Split
    test: Split | None
    reading: Reading = field(default_factory=Reading)

    @cached_property
    def copies_of(self) -> np.ndarray:
        """For each training row, the first row that holds the same text; int64 of shape ``(rows,)``."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(text, row) for row, text in enumerate(self.train.texts)], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of sha256 over label names, texts and labels of both splits.

        It is derived rather than passed, so that it can never disagree with the content.
        """
        digest = hashlib.sha256(texts_digest(self.label_names))
        for split in (self.train, self.test):
            if split is None:
                digest.update(b"\0")
                continue
            digest.update(b"\1" + texts_digest(split.texts))
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()[:32]


def texts_digest(texts: Sequence[str]) -> bytes:
    """Return sha256 over texts; their number and lengths are part of it, so that cuts cannot move."""
    digest = hashlib.sha256(len(texts).to_bytes(8, "little"))
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
