"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tunebench.data.tokens import TokenizedTexts
from tunebench.data.types import Split, TextDataset


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of one split, in tokens (special ones included) or characters.

    Attributes:
        truncated: Share of texts longer than the maximum; None for characters.
        mean_kept: Mean after truncation; None for characters.
    """

    minimum: int
    median: float
    mean: float
    p95: float
    maximum: int
    truncated: float | None = None
    mean_kept: float | None = None


@dataclass(frozen=True)
class SplitAudit:
    """What one split holds.

    Attributes:
        duplicates: Texts that stood in the split before (copies beyond the first).
        conflicting: Distinct texts that stand there with different labels.
    """

    examples: int
    per_class: dict[str, int]
    share: dict[str, float]
    characters: LengthSummary
    tokens: LengthSummary | None
    duplicates: int
    conflicting: int


@dataclass(frozen=True)
class Audit:
    """An audit of a data set.

    Attributes:
        splits: By name.
        test_in_train: Test examples whose exact text stands in train too; None without test split.
        train_in_test: Training examples whose exact text stands in test too.
        max_length: Length the truncation figures are for; None without tokenizer.
        warnings: Plain sentences on what deserves attention.
    """

    source: str
    fingerprint: str
    splits: dict[str, SplitAudit]
    test_in_train: int | None
    train_in_test: int | None
    max_length: int | None
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def audit(
    dataset: TextDataset,
    *,
    tokens: dict[str, TokenizedTexts] | None = None,
    max_length: int | None = None,
) -> Audit:
    """Audit a data set.

    Args:
        dataset: The data.
        tokens: Untruncated tokens by split (``train``, ``test``), or None.
        max_length: Where training will cut; only used with ``tokens``.

    Returns:
        Exact counts: texts are equal when they are the same string.
    """
    parts = {"train": dataset.train} | ({} if dataset.test is None else {"test": dataset.test})
    splits = {
        name: _audit_split(split, dataset.label_names, (tokens or {}).get(name), max_length)
        for name, split in parts.items()
    }
    test_in_train = train_in_test = None
    if dataset.test is not None:
        train_texts, test_texts = set(dataset.train.texts), set(dataset.test.texts)
        test_in_train = sum(text in train_texts for text in dataset.test.texts)
        train_in_test = sum(text in test_texts for text in dataset.train.texts)
    found = Audit(
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        splits=splits,
        test_in_train=test_in_train,
        train_in_test=train_in_test,
        max_length=max_length if tokens else None,
        warnings=[],
    )
    found.warnings.extend(_warnings(found))
    return found


def _audit_split(
    split: Split, names: tuple[str, ...], tokens: TokenizedTexts | None, max_length: int | None
) -> SplitAudit:
    counts = np.bincount(split.labels, minlength=len(names))
    labels = defaultdict(set)
    for text, label in zip(split.texts, split.labels, strict=True):
        labels[text].add(int(label))
    copies = Counter(split.texts)
    return SplitAudit(
        examples=len(split),
        per_class={name: int(n) for name, n in zip(names, counts, strict=True)},
        share={name: float(n) / len(split) for name, n in zip(names, counts, strict=True)},
        characters=_summary(np.array([len(text) for text in split.texts]), None),
        tokens=None if tokens is None else _summary(tokens.lengths, max_length),
        duplicates=sum(n - 1 for n in copies.values()),
        conflicting=sum(len(found) > 1 for found in labels.values()),
    )


def _summary(lengths: np.ndarray, limit: int | None) -> LengthSummary:
    return LengthSummary(
        minimum=int(lengths.min()),
        median=float(np.median(lengths)),
        mean=float(lengths.mean()),
        p95=float(np.percentile(lengths, 95)),
        maximum=int(lengths.max()),
        truncated=None if limit is None else float((lengths > limit).mean()),
        mean_kept=None if limit is None else float(np.minimum(lengths, limit).mean()),
    )


def _warnings(found: Audit) -> list[str]:
    lines = []
    if found.test_in_train:
        lines.append(
            f"{found.test_in_train} test texts stand in train too; scores on them measure memory, not learning."
        )
    for name, split in found.splits.items():
        if split.duplicates:
            lines.append(f"{name}: {split.duplicates} texts are copies of earlier ones.")
        if split.conflicting:
            lines.append(f"{name}: {split.conflicting} texts stand there with different labels.")
        top = max(split.share, key=lambda label: split.share[label])
        if split.share[top] > 0.95:
            lines.append(
                f"{name}: {split.share[top]:.1%} of the labels are {top!r}; "
                "accuracy will look high whatever is learned."
            )
        rare = [label for label, n in split.per_class.items() if n < 10]
        if rare:
            lines.append(f"{name}: fewer than 10 examples of {', '.join(rare[:10])}.")
        if split.tokens is not None and (split.tokens.truncated or 0) > 0.1:
            lines.append(
                f"{name}: {split.tokens.truncated:.0%} of the texts are longer than {found.max_length} tokens "
                "and lose their end."
            )
    if found.test_in_train is None:
        lines.append("There is no test split; a part of train will be held out.")
    return lines
