"""What stands in two parts that the data brings: texts, groups, and times out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.data.text import Text
from tunebench.data.times import shown_time
from tunebench.data.types import Split
from tunebench.formatting import counted

#: Pairs of parts that share nothing where the data is sound, the worst first, and what it means if they do.
_PAIRS = {
    ("test", "train"): "scores on them measure memory, not learning.",
    ("test", "validation"): "what is chosen on them is scored on them.",
    ("validation", "train"): "what is chosen by them is chosen by memory.",
}


@dataclass(frozen=True)
class Overlap:
    """Texts that stand in two splits, counted from either side.

    Attributes:
        texts: Distinct texts.
        first: Rows of the first split.
        second: Rows of the second one.
        conflicting: Distinct texts whose labels differ between the splits.
    """

    texts: int
    first: int
    second: int
    conflicting: int


def overlaps(splits: Mapping[str, Split]) -> dict[tuple[str, str], Overlap]:
    """Count the texts that two splits share, for each pair that is there."""
    return {
        (first, second): _overlap(splits[first], splits[second])
        for first, second in _PAIRS
        if first in splits and second in splits
    }


def shared_groups(splits: Mapping[str, Split]) -> dict[tuple[str, str], tuple[int, int]]:
    """Count the groups that two splits share, and their rows in the first one, for each pair that shares any."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for first, second in _PAIRS:
        groups = [splits[part].groups for part in (first, second) if part in splits]
        if len(groups) == 2 and groups[0] is not None and groups[1] is not None:
            shared = set(groups[0]) & set(groups[1])
            if shared:
                found[first, second] = len(shared), sum(group in shared for group in groups[0])
    return found


def overlap_warnings(splits: Mapping[str, Split]) -> list[str]:
    """Say what stands in two splits, a sentence each."""
    lines = []
    for (first, second), found in overlaps(splits).items():
        if found.texts:
            meaning = _PAIRS[first, second]
            some = f"{found.first:,} of {len(splits[first]):,} {first} texts"
            lines.append(f"{some} {'is' if found.first == 1 else 'are'} also in {second}; {meaning}")
        if found.conflicting:
            what = "number" if np.issubdtype(splits[first].labels.dtype, np.floating) else "label"
            texts = counted(found.conflicting, "text has", "texts have")
            lines.append(f"{texts} another {what} in {first} than in {second}.")
    for (first, second), (groups, rows) in shared_groups(splits).items():
        every = len(set(splits[first].groups or ()))
        lines.append(
            f"Groups of {first} that are also in {second}: {groups:,} of {every:,}, with {rows:,} of "
            f"{len(splits[first]):,} {first} texts; they do not show how new groups are classified."
        )
    return [*lines, *_times(splits)]


def labels_by_text(split: Split) -> dict[Text, frozenset[bytes]]:
    """Return the labels under which each text stands, as the bytes of their rows.

    Equal labels share one set: a set for each text would take more room than a short text.
    """
    alone: dict[bytes, frozenset[bytes]] = {}
    found: dict[Text, frozenset[bytes]] = {}
    for text, label in zip(split.texts, split.labels, strict=True):
        row = label.tobytes()
        own = alone.setdefault(row, frozenset((row,)))
        known = found.setdefault(text, own)
        if not own <= known:
            found[text] = known | own
    return found


def _times(splits: Mapping[str, Split]) -> list[str]:
    """Say how many test texts are not later than all of train."""
    # Numbers or dates in one split; Python says where they cannot be compared.
    train: Sequence[Any] | None = splits["train"].times
    test: Sequence[Any] | None = splits["test"].times if "test" in splits else None
    if train is None or test is None:
        return []
    try:
        latest = max(train)
        early = sum(not time > latest for time in test)
    except TypeError:
        return ["The times of test and train are of different kinds, and cannot be compared."]
    if not early:
        return []
    return [f"{early} of {len(test)} test texts are no later than the latest text of train ({shown_time(latest)})."]


def _overlap(first: Split, second: Split) -> Overlap:
    ours, theirs = labels_by_text(first), labels_by_text(second)
    shared = ours.keys() & theirs.keys()
    in_first, in_second = Counter(first.texts), Counter(second.texts)
    return Overlap(
        texts=len(shared),
        first=sum(in_first[text] for text in shared),
        second=sum(in_second[text] for text in shared),
        conflicting=sum(ours[text] != theirs[text] for text in shared),
    )
