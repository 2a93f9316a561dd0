"""Copies of a text on both sides of a held-out test part: how many there are, and what is done about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunebench.data.reference import Copies
from tunebench.data.splits import held_out_count, hold_out
from tunebench.data.types import TextDataset
from tunebench.errors import DataError


@dataclass(frozen=True)
class HeldOutCopies:
    """What the draw of a held-out test part does to copies.

    Attributes:
        test: Rows held out.
        apart: Of them, those whose text would train or select too, if the draw did not look at copies.
        left_out: Copies of held-out texts for which the test part has no room, if copies are kept together.
    """

    test: int
    apart: int
    left_out: int

    def remark(self, copies: Copies) -> str | None:
        """Say it in a sentence or two; ``None`` where there is nothing to say."""
        if copies == "anywhere":
            if not self.apart:
                return None
            return (
                f"{self.apart} of {self.test} texts held out for testing are also in train; scores on them "
                "measure memory, not learning. copies: together keeps all copies of a text in one part."
            )
        if not self.apart and not self.left_out:
            return None
        line = (
            "All copies of a text are kept in one part (copies: together). A draw that ignores copies would "
            f"put {self.apart} of {self.test} test texts into train, too."
        )
        if self.left_out:
            line += f" {self.left_out} copies of test texts do not fit into the test part and are left out."
        return line


def held_out_copies(dataset: TextDataset, seed: int, test_size: int | None) -> HeldOutCopies | None:
    """Count copies on both sides of the test part that a study would hold out.

    Args:
        dataset: The data.
        seed: Draws the test part.
        test_size: Rows of the test part; ``None`` for the usual share.

    Returns:
        The counts; ``None`` where there is a test split, or no such part can be drawn.
    """
    if dataset.test is not None:
        return None
    count, copies_of = held_out_count(len(dataset.train), test_size), dataset.copies_of
    try:
        apart, _ = hold_out(dataset.train.labels, seed=seed, count=count)
        _, left_out = hold_out(dataset.train.labels, seed=seed, count=count, copies_of=copies_of)
    except DataError:
        return None
    rest = np.delete(copies_of, apart)
    return HeldOutCopies(count, int(np.isin(copies_of[apart], rest).sum()), len(left_out))
