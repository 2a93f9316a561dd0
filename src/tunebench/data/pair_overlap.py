"""What deserves attention in pairs of texts: sides that are equal, swapped, or known from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench.data.text import Pair, by_side, sides_of
from tunebench.data.types import Split


def pair_warnings(splits: Mapping[str, Split], columns: Sequence[str]) -> list[str]:
    """Return plain sentences on the pairs of a data set; none where its texts are no pairs.

    Args:
        splits: The parts that the data brings, ``train`` among them.
        columns: Names of the two columns.
    """
    lines = []
    for name, split in splits.items():
        sides = by_side(split.texts)
        if len(sides) < 2:
            return []
        equal = sum(first == second for first, second in zip(*sides, strict=True))
        if equal:
            lines.append(f"{name}: pairs with the same text twice: {equal:,} of {len(split):,}.")
    train = splits["train"].texts
    pairs, texts = set(train), {side for text in train for side in sides_of(text)}
    for name, split in splits.items():
        other_way = [(text, Pair(*reversed(sides_of(text)))) for text in split.texts]
        swapped = sum(text != turned and turned in pairs for text, turned in other_way)
        if swapped:
            lines.append(f"{name}: pairs also in train with their texts swapped: {swapped:,} of {len(split):,}.")
        new = [] if name == "train" else [text for text in split.texts if text not in pairs]
        if new:
            known = [sum(side in texts for side in some) for some in by_side(new)]
            lines += [
                f"{name}: pairs that are not in train, but whose {column!r} is: {count:,} of {len(new):,}."
                for count, column in zip(known, columns, strict=True)
                if count
            ]
    return lines
