"""Warnings about learning rates: how they were chosen, and how many were tried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunebench.analysis.tuning import close_choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison
    from tunebench.analysis.configuration import Group

#: Strategies that a sentence names.
_NAMED = 5
#: LoRA's learning rate over that of full fine-tuning that needs no remark.
_NEAR_TEN = (4, 25)


def rate_warnings(comparison: Comparison) -> list[str]:
    """Warn of single rates, of choices that are not settled, and of unequal numbers of rates."""
    groups = [group for group in comparison.groups() if group.configs[0].shown_learning_rate is not None]
    labels = list(dict.fromkeys(group.label for group in groups))
    lines = []
    single = [
        name
        for name in labels
        if all((len(set(g.tried)) or len(g.configs)) == 1 for g in groups if g.label == name)
    ]
    if single:
        whose = "per strategy" if len(single) == len(labels) else f"for {', '.join(single)}"
        lines.append(
            f"One learning rate {whose}: what looks like a difference of strategies may be one of learning rates."
        )
    several = [group for group in groups if len(group.configs) > 1]
    if any(group.by_seed for group in several):
        lines.append(
            f"Each seed chose its own {comparison.searched.removesuffix('s')} by {comparison.selecting.label} on "
            f"{comparison.evaluated}, so the spread over seeds holds the choice."
        )
    if any(group.selected is not None and not group.by_seed for group in several):
        lines.append(
            f"Where several {comparison.searched} were run, the one with the best mean "
            f"{comparison.selecting.label} on {comparison.evaluated} is shown; the others are in the table of runs."
        )
    if any(group.selected is None and any(config.scored for config in group.configs) for group in several):
        lines.append(f"Several {comparison.searched} and no selection score: all are shown, none was chosen.")
    edge = [f"{g.label} at {g.train_size:,}" for g in several if g.at_edge]
    if edge:
        lines.append(
            f"Best learning rate at the edge of those tried, so a better one may lie outside: {', '.join(edge)}."
        )
    return lines + _close(comparison) + unequal_rates(groups)


def _close(comparison: Comparison) -> list[str]:
    """Name the choices of a rate that the selection split does not settle."""
    found = [
        f"{one.group.label} at {one.group.train_size:,} ({one.runner_up.setting})"
        for one in close_choices(comparison)
        if math.isfinite(one.error)
    ]
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    what = comparison.searched.removesuffix("s")
    return [
        f"Another {what} is within two standard errors of the chosen one on {comparison.evaluated}: "
        f"{', '.join(found[:_NAMED])}{more}. No interval here holds the choice of the "
        f"{'setting' if what == 'setting' else 'rate'}."
    ]


def unequal_rates(groups: Sequence[Group]) -> list[str]:
    """Say where strategies that have a learning rate were tuned with unequal numbers of them."""
    tried = {g.label: len(g.tried) for g in groups if g.tried and g.configs[0].shown_learning_rate is not None}
    if len(set(tried.values())) < 2:
        return []
    counts = ", ".join(f"{label} {number}" for label, number in tried.items())
    what = "settings" if any(group.searched == "settings" for group in groups) else "learning rates"
    return [f"Strategies were tuned with unequal numbers of {what}: {counts}."]


def lora_ratio(comparison: Comparison) -> list[str]:
    """Warn where LoRA's learning rate is far from ten times that of full fine-tuning."""
    lines = []
    for size in comparison.sizes:
        chosen = {
            group.label: (group.cells[0].spec.kind, rate)
            for group in comparison.groups()
            if group.train_size == size and group.selected and (rate := group.selected.learning_rate) is not None
        }
        full = [rate for kind, rate in chosen.values() if kind == "full"]
        if not full:
            continue
        for label, (kind, rate) in chosen.items():
            ratio = rate / min(full)
            if kind == "lora" and not _NEAR_TEN[0] <= ratio <= _NEAR_TEN[1]:
                lines.append(
                    f"{label} ran at {ratio:.3g} times the learning rate of full fine-tuning; where both were "
                    "tuned, about ten times was best (LoRA Without Regret, 2025)."
                )
    return list(dict.fromkeys(lines))
