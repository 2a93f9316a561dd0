"""Texts with labels, as everything downstream sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Split:
    """Texts and their labels.

    Attributes:
        texts: The texts.
        labels: int64 of shape ``(texts,)``, indices into the data set's label names.
    """

    texts: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TextDataset:
    """A classification data set.

    Attributes:
        source: Where it came from, as the user named it.
        revision: Commit of the Hub repository; ``None`` for anything else.
        label_names: One name a class, in label order.
        train: What may be trained on.
        test: What is scored; ``None`` when the source has no test split.
    """

    source: str
    revision: str | None
    label_names: tuple[str, ...]
    train: Split
    test: Split | None

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over label names, texts and labels: equal exactly for equal content."""
        digest = hashlib.sha256(repr(self.label_names).encode())
        for split in (self.train, self.test):
            if split is None:
                digest.update(b"none")
                continue
            digest.update(len(split).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").tobytes())
            digest.update(texts_digest(split.texts))
        return digest.hexdigest()[:32]


def texts_digest(texts: list[str]) -> bytes:
    """Return sha256 over texts; lengths are part of it, so that cuts cannot be moved."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
