"""When a study was read: at which look of its design, and what reading it otherwise does to its tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunebench.formatting import in_words
from tunebench.stats import Anytime, Looks
from tunebench.store.imported import is_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tunebench.analysis.comparison import Comparison
    from tunebench.analysis.evidence import Entry
    from tunebench.store.looks import LookEntry

#: False differences, in percent, where seeds are added whenever a comparison is open, up to 10 of them: the least
#: and the most of docs/results/coverage.json. A single test is meant to have 5.
PEEKING_COST = (6, 20)
#: What stands in every warning of a look that was not declared.
PEEKING_EFFECT = (
    "Testing again after more seeds whenever nothing was found makes false differences more frequent: "
    f"{PEEKING_COST[0]} to {PEEKING_COST[1]} % instead of 5 % in simulated studies."
)
_NAMES = {"obrien-fleming": "O'Brien-Fleming", "pocock": "Pocock"}


def seeds_seen(comparison: Comparison) -> int:
    """Return how many seeds every compared strategy has scores of: the smallest number of them.

    Answers of other models have no seeds, and do not count.
    """
    counts = [count for found in _seeds(comparison).values() for count in found if count < math.inf]
    return int(min(counts, default=0))


def seeds_compared(comparison: Comparison) -> dict[int, int]:
    """Return at each size how many seeds a test rests on: the largest number that two strategies both have.

    Against answers, which have no seeds, it is the number of the other strategy. Where no size has two
    strategies, these are the seeds of the one that is there: another study may be compared with it.
    """
    sizes = {size: sorted(found) for size, found in _seeds(comparison).items()}
    counts = {size: found[-2] for size, found in sizes.items() if len(found) > 1}
    counts = counts or {size: found[-1] for size, found in sizes.items()}
    return {size: int(count) for size, count in counts.items() if count < math.inf}


def _seeds(comparison: Comparison) -> dict[int, list[float]]:
    """Return at each size how many seeds of each strategy have scores; of answers, infinitely many."""
    found: dict[int, list[float]] = {}
    for group in comparison.groups():
        if group.selected is not None and group.selected.scored:
            answers = is_answers(group.cells[0].spec)
            found.setdefault(group.train_size, []).append(math.inf if answers else group.selected.seeds_scored)
    return found


def look_notes(comparison: Comparison) -> list[str]:
    """Say by which design a study is read, where it stands in it, and what its intervals are."""
    design, seeds = comparison.design, seeds_seen(comparison)
    if isinstance(design, Looks):
        return [f"{_place(design, seeds)} {_boundary(design, seeds, comparison.alpha)} {_repeated('all looks')}"]
    if isinstance(design, Anytime):
        return [
            f"The study may be read after any number of seeds (design: anytime); now there are {seeds}. "
            f"{_repeated('all numbers of seeds')} They are confidence sequences of a mixture e-process; with 2 or "
            "3 seeds they show next to nothing."
        ]
    return []


def _place(design: Looks, seeds: int) -> str:
    looks = in_words(design.seeds)
    last = design.seeds[-1]
    if seeds in design.seeds:
        number = design.seeds.index(seeds) + 1
        return f"Look {number} of {len(design.seeds)}, after {seeds} of at most {last} seeds (declared: {looks})."
    if seeds < design.seeds[0]:
        return (
            f"Looks were declared after {looks} seeds. There are {seeds}, and nothing is decided before the first."
        )
    return (
        f"Looks were declared after {looks} seeds. There are {seeds}: nothing is decided before the next look, and "
        f"tests are those of the look after {design.at(seeds).seeds}."
    )


def _boundary(design: Looks, seeds: int, alpha: float) -> str:
    look = design.at(seeds)
    z, nominal = design.boundary(look.number, alpha), 2 * look.nominal(alpha / 2)
    return (
        f"A single difference counts here if its p, by itself, is below {nominal:.2g}, which is |z| above {z:.2f} "
        f"({_NAMES[design.spending]} spending of {100 * alpha:g} %)."
    )


def _repeated(over: str) -> str:
    return (
        "p values are of the whole design, and intervals are repeated confidence intervals: they hold at "
        f"{over} together."
    )


def between_looks(comparison: Comparison) -> list[str]:
    """Say that a study has not reached the look that would decide it; a doubt of its recommendation."""
    design, seeds = comparison.design, seeds_seen(comparison)
    if not isinstance(design, Looks) or seeds in design.seeds:
        return []
    return [_place(design, seeds)]


def next_look(entry: Entry) -> str | None:
    """Say what may still decide an open comparison of a study that is read more than once; None if nothing may."""
    if isinstance(entry.design, Anytime):
        return "More seeds may decide what is open; this study may be given more at any time."
    ahead = [] if entry.design is None else [seeds for seeds in entry.design.seeds if seeds > entry.reached]
    return f"The next look, after {ahead[0]} seeds, may decide what is open." if ahead else None


def added_seeds(comparison: Comparison) -> list[str]:
    """Warn of seeds that were added to a study whose results were there, where it had not declared looks."""
    after = _earlier(comparison, "added")
    if not after:
        return []
    return [
        f"Seeds were added after results were there ({_after(after)}; now {_now(comparison)}), and the "
        f"study had not declared looks. {PEEKING_EFFECT}"
    ]


def read_early(comparison: Comparison) -> list[str]:
    """Warn of results that were read before a study had its seeds."""
    after = [seeds for seeds in _earlier(comparison, "read") if seeds not in _earlier(comparison, "added")]
    if not after:
        return []
    return [
        f"Results were read before all seeds were there ({_after(after)}; now {_now(comparison)}), and no "
        "look was declared. The tests hold if the study would have gone on whatever was seen. Otherwise: "
        f"{PEEKING_EFFECT[0].lower()}{PEEKING_EFFECT[1:]}"
    ]


def _earlier(comparison: Comparison, kind: str) -> list[int]:
    """Return the numbers of seeds at which a study without a design was read before it had those of today.

    One seed is no reading that counts: nothing is claimed of strategies then, so what follows is the first test.
    """
    if comparison.design is not None:
        return []
    now = seeds_compared(comparison)
    looks = [look for look in comparison.looks if look.kind == kind]
    return sorted({seeds for look in looks for seeds in _outgrown(look, now) if seeds > 1})


def _outgrown(look: LookEntry, now: Mapping[int, int]) -> list[int]:
    """Return the seeds at a reading of the sizes that have more today; of old files, where one size has more."""
    if look.sizes:
        return [seeds for size, seeds in look.sizes.items() if seeds < now.get(size, 0)]
    return [look.seeds] if look.seeds < max(now.values(), default=0) else []


def _now(comparison: Comparison) -> int:
    """Return the most seeds that a test rests on today."""
    return max(seeds_compared(comparison).values(), default=0)


def _after(seeds: Sequence[int]) -> str:
    return f"after {in_words(seeds)} {'seed' if list(seeds) == [1] else 'seeds'}"
