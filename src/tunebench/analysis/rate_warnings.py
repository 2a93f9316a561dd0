"""Warnings about learning rates: how they were chosen, and how many were tried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunebench.analysis.tuning import chose_each, close_choices, holds_choice
from tunebench.formatting import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison
    from tunebench.analysis.group import Group

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
    lines += _chosen_by_seed(comparison, [group for group in several if chose_each(group)], len(several))
    # Where a choice stands that validation would not make any more, another warning says so.
    if any(group.selected is not None and not chose_each(group) and not group.overtaken for group in several):
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


def _chosen_by_seed(comparison: Comparison, groups: Sequence[Group], several: int) -> list[str]:
    """Say that each seed chose its own setting, and whether intervals hold the choice."""
    if not groups:
        return []
    what, where = comparison.searched.removesuffix("s"), comparison.evaluated
    of = "" if len(groups) == several else f" of {in_words(dict.fromkeys(g.label for g in groups))}"
    holds = (
        "the choice" if all(map(holds_choice, groups)) else f"only a part of the choice: all shared {where} texts"
    )
    lines = [
        f"Each seed{of} chose its own {what} by {comparison.selecting.label} on {where}, so the spread over seeds "
        f"holds {holds}."
    ]
    return [*lines, *(line for group in groups for line in _failed_choices(group, comparison.searched))]


def _failed_choices(group: Group, searched: str) -> list[str]:
    """Say which seeds chose among fewer settings, or among none, because runs failed."""
    states = {"failed", "out_of_memory"}
    lost = {cell.draw for cell in group.cells if cell.status in states}
    chose = set() if group.selected is None else {cell.draw for cell in group.selected.cells}
    # A seed that still has runs to come may choose later.
    to_come = {cell.draw for cell in group.cells if cell.draw not in chose and cell.status not in states}
    fewer, none = (sorted({seed or 0 for _, seed in found}) for found in (lost & chose, lost - chose - to_come))
    parts = []
    if fewer:
        parts.append(f"{_seeds(fewer)} chose among fewer {searched}")
    if none:
        parts.append(f"{_seeds(none)} had {'none to choose from' if fewer else f'no {searched} left'}")
    return [f"{group.label} at {group.train_size:,}: runs failed, so {', and '.join(parts)}."] if parts else []


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {in_words(seeds)}"


def _close(comparison: Comparison) -> list[str]:
    """Name the choices of a rate that the selection split does not settle."""
    near = [one for one in close_choices(comparison) if math.isfinite(one.error)]
    found = [f"{one.group.label} at {one.group.train_size:,} ({one.runner_up.setting})" for one in near]
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    what = comparison.searched.removesuffix("s")
    line = (
        f"Another {what} is within two standard errors of the best one on {comparison.evaluated}: "
        f"{', '.join(found[:_NAMED])}{more}."
    )
    if any(chose_each(one.group) for one in near):
        return [line]
    return [f"{line} No interval here holds the choice of the {'setting' if what == 'setting' else 'rate'}."]


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
