"""The half of a test part that stays sealed until the recommended strategy is confirmed on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tunebench.data.held_out import interleaved, shuffled
from tunebench.data.splits import Parts
from tunebench.data.types import TextDataset


def seal_half(parts: Parts, dataset: TextDataset, seed: int) -> Parts:
    """Move about half of the test part to the sealed part.

    Both halves have the classes in the shares that the whole has. Copies of a text are in one half.

    Args:
        parts: With the whole test part.
        dataset: The data.
        seed: Draws which half.
    """
    split = dataset.train if parts.test_from == "train" or dataset.test is None else dataset.test
    strata = dataset.strata["train" if split is dataset.train else "test"][parts.test]
    side: dict[object, bool] = {}
    half = np.zeros(len(parts.test), dtype=bool)
    for place, row in enumerate(interleaved(strata, shuffled(len(strata), seed))):
        half[row] = side.setdefault(split.texts[parts.test[row]], place % 2 == 1)
    return replace(parts, test=parts.test[~half], sealed=parts.test[half])
