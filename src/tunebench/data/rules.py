"""What a draw of parts keeps together or in order: copies of a text, groups, times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunebench.data.reference import Copies, SplitRef

if TYPE_CHECKING:
    from tunebench.data.types import TextDataset


@dataclass(frozen=True, eq=False)
class SplitRules:
    """What a draw respects besides labels and sizes. Arrays have one entry a training row; None asks for nothing.

    Attributes:
        copies_of: The first row that holds the same text. A text is then in one part only.
        group_of: The first row of the same group. A group is then in one part only.
        times: Ranks in time, whole numbers. A test part that is held out is then the latest.
        stays: Rows that are not held out for testing, since their text or group stands in the validation part that
            the data brings.
    """

    copies_of: np.ndarray | None = None
    group_of: np.ndarray | None = None
    times: np.ndarray | None = None
    stays: np.ndarray | None = None

    @property
    def unit(self) -> str:
        """What is drawn as a whole, for messages."""
        if self.group_of is not None:
            return "groups"
        return "examples" if self.copies_of is None else "different texts"


def split_ref(dataset: TextDataset, *, validates: bool) -> SplitRef | None:
    """Return what the parts of a study rest on besides the texts and labels of train and test.

    Args:
        dataset: The data.
        validates: Whether the study has a validation part.

    Returns:
        Digests of what has an effect; None where nothing has.
    """
    own = dataset.validation if validates else None
    held_out = dataset.test is None
    draws = held_out or (validates and own is None)
    found = SplitRef(
        validation=None if own is None else own.digest,
        groups=dataset.groups_digest if draws and dataset.train.groups is not None else None,
        times=dataset.times_digest if held_out and dataset.train.times is not None else None,
    )
    return None if found == SplitRef() else found


def split_rules(dataset: TextDataset, splits: SplitRef | None, copies: Copies) -> SplitRules:
    """Return what the draws of a run respect."""
    splits = splits or SplitRef()
    together = copies == "together"
    stays = None
    if splits.validation is not None and dataset.test is None:
        stays = dataset.in_validation(texts=together, groups=splits.groups is not None)
    return SplitRules(
        copies_of=dataset.copies_of if together else None,
        group_of=dataset.group_of if splits.groups is not None else None,
        times=dataset.time_ranks if splits.times is not None else None,
        stays=stays,
    )
