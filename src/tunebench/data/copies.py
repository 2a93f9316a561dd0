"""What the draw of a held-out test part does to copies of a text, to groups and in time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tunebench.data.held_out import hold_out
from tunebench.data.reference import Copies, SplitRef
from tunebench.data.rules import split_rules
from tunebench.data.times import shown_time
from tunebench.data.types import TextDataset
from tunebench.errors import DataError
from tunebench.formatting import counted


@dataclass(frozen=True)
class HeldOutCopies:
    """What the draw of a held-out test part does.

    Attributes:
        test: Rows held out.
        apart: Of them, those whose text would train or select too, if the draw did not look at copies.
        left_out: Rows that neither train nor test if copies are kept together: copies of test texts for which the
            test part has no room, and rows of its groups outside it.
        left_out_anyway: Of these, the rows that are left out though copies may go anywhere: those of its groups.
        groups: Groups in the test part, and in all; ``None`` without groups.
        since: The earliest time in the test part; ``None`` without times.
        ties: Rows outside the test part with that same time.
    """

    test: int
    apart: int
    left_out: int
    groups: tuple[int, int] | None = None
    since: str | None = None
    ties: int = 0
    left_out_anyway: int = 0

    def remark(self, copies: Copies) -> str | None:
        """Say it in a few sentences; ``None`` where there is nothing to say."""
        lines = [self._drawn()] if self.groups is not None or self.since is not None else []
        if copies == "anywhere":
            if self.apart:
                lines.append(
                    f"Texts held out for testing that are also in train: {self.apart:,} of {self.test:,}; scores "
                    "on them measure memory, not learning. copies: together keeps all copies of a text in one part."
                )
            if self.left_out_anyway:
                rows = counted(self.left_out_anyway, "row is of a group", "rows are of groups")
                lines.append(f"Left out: {rows} of the test part.")
            return " ".join(lines) or None
        if self.apart or (self.left_out and not lines):
            lines.append(
                "All copies of a text are kept in one part (copies: together). A draw "
                f"that does not look at copies would put {self.apart:,} of {self.test:,} test texts into train too."
            )
        if self.left_out and self.groups is None and self.since is None:
            rows = counted(self.left_out, "copy", "copies")
            lines.append(f"Left out: {rows} of test texts, for want of room in the test part.")
        elif self.left_out:
            rows = counted(self.left_out, "row shares", "rows share")
            lines.append(f"Left out: {rows} a text or a group with the test part.")
        return " ".join(lines) or None

    def _drawn(self) -> str:
        """Say which texts are held out."""
        which = f"{self.test} texts"
        if self.since is not None:
            which = f"the latest {self.test} texts, from {self.since} on"
        if self.groups is not None:
            which += f", of {self.groups[0]} of {self.groups[1]} groups"
        line = f"Held out for testing: {which}."
        if self.ties:
            line += f" Texts outside it with that same time: {self.ties}; the seed drew which of them test."
        return line


def held_out_copies(
    dataset: TextDataset, seed: int, count: int, *, splits: SplitRef | None = None
) -> HeldOutCopies | None:
    """Describe the test part that a study would hold out.

    Args:
        dataset: The data.
        seed: Draws the test part.
        count: Rows of the test part.
        splits: What the draw rests on besides texts and labels.

    Returns:
        The counts; ``None`` where there is a test split, or no such part can be drawn.
    """
    if dataset.test is not None:
        return None
    labels, rules = dataset.strata["train"], split_rules(dataset, splits, "together")
    try:
        apart, anyway = hold_out(labels, seed=seed, count=count, rules=replace(rules, copies_of=None))
        test, left_out = hold_out(labels, seed=seed, count=count, rules=rules)
    except DataError:
        return None
    rest = np.delete(dataset.copies_of, np.concatenate([apart, anyway]))
    found = HeldOutCopies(
        count,
        int(np.isin(dataset.copies_of[apart], rest).sum()),
        len(left_out),
        left_out_anyway=len(anyway),
    )
    if rules.group_of is not None:
        found = replace(found, groups=(len(np.unique(rules.group_of[test])), len(np.unique(rules.group_of))))
    if rules.times is not None and dataset.train.times is not None:
        earliest = rules.times[test].min()
        since = dataset.train.times[int(np.flatnonzero(rules.times == earliest)[0])]
        ties = int((rules.times == earliest).sum() - (rules.times[test] == earliest).sum())
        found = replace(found, since=shown_time(since), ties=ties)
    return found
