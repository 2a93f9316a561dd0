"""How sure the choice of a learning rate is: the runner-up on the selection split, and what it might be worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, Draw
from tunebench.analysis.group import Group
from tunebench.analysis.selecting import select_configuration
from tunebench.store.imported import is_imported
from tunebench.tasks.metric import Metric

#: Standard errors on the selection split within which two rates count as not told apart.
NEAR = 2.0
#: Correlation of what two rates of one strategy get right, for the standard error of their difference. Runs of the
#: committed studies correlate by 0.7 to 0.9; a lower value errs on the safe side.
ALIKE = 0.5


@dataclass(frozen=True)
class CloseChoice:
    """A chosen learning rate whose runner-up is not told apart from it.

    Attributes:
        group: The strategy at a size.
        runner_up: The next rate.
        gap: How far it is behind on the selection split.
        error: Standard error of the gap; infinite where nothing tells it.
    """

    group: Group
    runner_up: Configuration
    gap: float
    error: float

    @property
    def gain(self) -> float:
        """How much better than the chosen rate it may be: two standard errors less the gap."""
        return NEAR * self.error - self.gap


def chose_each(group: Group) -> bool:
    """Whether two seeds or more chose among several settings, each its own."""
    return group.by_seed and len(group.configs) > 1 and group.selected is not None and len(group.selected.cells) > 1


def holds_choice(group: Group) -> bool:
    """Whether the spread over seeds holds the choice: each chose its own, on validation texts of its own."""
    if not chose_each(group) or group.selected is None:
        return False
    cells = group.selected.cells
    shared = any(cell.spec.own_validation for cell in cells)
    return not shared and len({cell.spec.subset_seed for cell in cells}) == len(cells)


def close_choices(comparison: Comparison, size: int | None = None) -> list[CloseChoice]:
    """Return the choices that another draw of the selection split might have made otherwise.

    Where each seed chooses its own setting on texts of its own, the spread over seeds holds the choice.

    Args:
        comparison: The study.
        size: Training size; all by default.
    """
    groups = [group for group in comparison.groups() if size in (None, group.train_size)]
    found = [_close(group, comparison.selecting) for group in groups if not is_imported(group.cells[0].spec)]
    return [one for one in found if one is not None]


def _close(group: Group, metric: Metric) -> CloseChoice | None:
    if holds_choice(group):
        return None
    chosen = select_configuration(group.configs, anew=True) if group.by_seed else group.selected
    if chosen is None or chosen.cells[0].spec.selection != "validation":
        return None
    mine = chosen.selection_scores()
    rivals = []
    for config in group.configs:
        theirs = config.selection_scores()
        shared = sorted(set(mine) & set(theirs), key=str) if config is not chosen else []
        if shared:
            gaps = np.array([metric.merit(mine[draw]) - metric.merit(theirs[draw]) for draw in shared])
            rivals.append((float(gaps.mean()), config, gaps, {draw: mine[draw] for draw in shared}))
    if not rivals:
        return None
    gap, runner_up, gaps, scores = min(rivals, key=lambda rival: rival[0])
    error = _error(chosen, metric, gaps, scores)
    return None if gap >= NEAR * error else CloseChoice(group, runner_up, gap, error)


def _error(chosen: Configuration, metric: Metric, gaps: np.ndarray, scores: Mapping[Draw, float]) -> float:
    """Return the standard error of a mean gap, of texts and seeds; infinite where neither is known."""
    seeds = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else None
    # The folds of a cross-validation judge all texts together.
    held_out: dict[Draw, int] = {}
    for cell in chosen.cells:
        if cell.record and cell.record.examples and cell.record.examples.validation:
            held_out[cell.draw] = held_out.get(cell.draw, 0) + cell.record.examples.validation
    counts = list(held_out.values())
    score = float(np.mean(list(scores.values())))
    if metric.bounds == (0.0, 1.0):
        variance = max(score * (1 - score), 0.0)
    elif metric.bounds == (-1.0, 1.0):  # a correlation
        variance = (1 - score**2) ** 2
    else:
        variance = None
    if variance is None or not counts:
        return math.inf if seeds is None else seeds
    draws = len({subset for subset, _ in scores})
    texts = math.sqrt(2 * (1 - ALIKE) * variance / (min(counts) * draws))
    return math.hypot(texts, seeds or 0.0)
