"""What an audit of a data set found, as values; reading it needs none of what made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunebench.formatting import listed

#: What the audit says of data without a test split.
NO_TEST_SPLIT = "There is no test split; a part of train will be held out for testing."

#: More labels than this are not counted one by one on a line.
_MOST_LABELS = 30


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of the texts of one split; percentiles are interpolated linearly.

    Attributes:
        truncated: Share of texts longer than the maximum; ``None`` where no maximum applies.
        truncated_count: How many these are.
        mean_kept: Mean after truncation.
    """

    minimum: int
    median: float
    mean: float
    p95: float
    maximum: int
    truncated: float | None = None
    truncated_count: int | None = None
    mean_kept: float | None = None


@dataclass(frozen=True)
class SplitAudit:
    """What one split holds. Texts are equal when they are the same string.

    Attributes:
        per_class: Examples by label name, in label order: Table I.
        share: The same as shares of the split, from 0 to 1.
        characters: Lengths in Unicode code points; of pairs, of both texts together.
        tokens: Lengths in tokens, special ones included; ``None`` without a tokenizer.
        duplicates: Texts that stood in the split before: copies beyond the first.
        conflicting: Distinct texts with more than one label.
        empty: Texts without a visible character; pairs where one of the two is.
        sides: By column, the characters of the texts of pairs; nothing where texts are no pairs.
        labels_per_text: How many texts have how many labels; ``None`` where each has one.
        numbers: Mean, standard deviation (``sd``), minimum, median and maximum of the numbers to predict; nothing
            where texts have labels.
    """

    examples: int
    per_class: dict[str, int]
    share: dict[str, float]
    characters: LengthSummary
    tokens: LengthSummary | None
    duplicates: int
    conflicting: int
    empty: int
    sides: dict[str, LengthSummary] = field(default_factory=dict)
    labels_per_text: dict[int, int] | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """An audit of a data set.

    Attributes:
        splits: By name, ``train`` first.
        test_in_train: Test examples whose text is also in train; ``None`` without a test split, as
            are the next three.
        train_in_test: Training examples whose text is also in test.
        shared_texts: Distinct texts that are in both.
        shared_conflicting: Of these, the ones whose labels differ between the splits.
        max_length: Tokens that truncation figures are for; ``None`` without token lengths.
        held_out: Texts of the test part that is held out of train; ``None`` with a test split, as are the next two.
        held_out_in_train: Of these, those whose text would stand in the rest of train too if the draw did not
            look at copies.
        copies_left_out: Rows that share a text or a group with the test part and are used nowhere, if copies are
            kept together.
        validation_in_train: Validation examples whose text stands in train too; ``None`` without a validation
            split, as is the next one.
        test_in_validation: Test examples whose text stands in validation too.
        shared_groups: Groups of one split that stand in another one too, as in ``test in train``.
        warnings: Plain sentences on what deserves attention.
        reading: What was read of the source and what was passed over, a line each.
    """

    source: str
    revision: str | None
    fingerprint: str
    splits: dict[str, SplitAudit]
    test_in_train: int | None
    train_in_test: int | None
    shared_texts: int | None
    shared_conflicting: int | None
    max_length: int | None
    warnings: list[str]
    reading: list[str] = field(default_factory=list)
    held_out: int | None = None
    held_out_in_train: int | None = None
    copies_left_out: int | None = None
    validation_in_train: int | None = None
    test_in_validation: int | None = None
    shared_groups: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def describe_labels(split: SplitAudit) -> str:
    """Write how many texts have each label, on a line; of many labels the least and the most."""
    said = {label: f"{label} {n:,} ({split.share[label]:.1%})" for label, n in split.per_class.items()}
    if len(said) <= _MOST_LABELS:
        return ", ".join(said.values())
    by_count = sorted(split.per_class, key=lambda label: split.per_class[label])
    least, most = (", ".join(said[label] for label in part) for part in (by_count[:3], by_count[:-4:-1]))
    return f"{len(said)} labels; most texts: {most}; fewest: {least}; all of them: --json"


def describe_numbers(numbers: Mapping[str, float]) -> str:
    """Write the numbers of a part as :attr:`SplitAudit.numbers` has them, on a line."""
    mean, sd, low, middle, high = (f"{numbers[key]:.4g}" for key in ("mean", "sd", "minimum", "median", "maximum"))
    return f"mean {mean}, standard deviation {sd}, median {middle}, from {low} to {high}"


def absent_classes(per_class: Mapping[str, int]) -> str | None:
    """Say which classes a test part lacks, and what macro F1 can reach then; ``None`` where it has all."""
    absent = [label for label, count in per_class.items() if not count]
    if not absent:
        return None
    present, total = len(per_class) - len(absent), len(per_class)
    return (
        f"there is no example of {listed(absent)}. Macro F1 counts the F1 of an absent class as 0, so it can reach "
        f"{present}/{total} = {present / total:.4f} at most."
    )
