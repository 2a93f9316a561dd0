"""What a study may declare about when it is read."""

from __future__ import annotations

from collections.abc import Sequence

#: Looks of a study without a fixed end: after every seed from this one on. Before it nothing can be shown at 5 %.
FIRST_ANYTIME = 4


def check_looks(looks: Sequence[int] | None, *, seeds: int, anytime: bool, spends: bool) -> None:
    """Refuse looks that contradict the seeds or each other.

    Args:
        looks: Numbers of seeds; None without any.
        seeds: How many seeds the study lists.
        anytime: Whether it may be read at any time.
        spends: Whether it sets how its looks share the level.

    Raises:
        ValueError: They do.
    """
    if looks is None:
        if spends:
            raise ValueError("spending has no effect without looks; remove it, or declare looks: [5, 10]")
        return
    if anytime:
        raise ValueError("design: anytime reads the study after every seed, so it has no looks; remove one of them")
    if list(looks) != sorted(set(looks)) or len(looks) < 2:
        raise ValueError(
            f"looks are numbers of seeds, at least two of them, ascending: [5, 10]; got {list(looks)}. A study "
            "that is read once needs none"
        )
    if looks[-1] != seeds:
        raise ValueError(
            f"looks ends with {looks[-1]} seeds, but seeds lists {seeds}; the last look is at all seeds"
        )
