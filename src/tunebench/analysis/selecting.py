"""Which setting of a strategy validation chooses: one for all seeds, or each seed its own.

A choice stands once the test part was opened for it. Runs that come later (seeds that a larger budget allows, a
failed run that succeeds, a rate that is added) might make validation prefer another setting. Changing the choice
then would need a second look at the test part, and until that look nothing could be compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tunebench.analysis.configuration import Configuration, Draw
from tunebench.store.cell import Cell
from tunebench.store.imported import is_imported
from tunebench.tasks.metric import Metric
from tunebench.tasks.registry import TASKS


def select_configuration(configs: Sequence[Configuration], *, anew: bool = False) -> Configuration | None:
    """Choose a setting by the mean score on the selection split.

    A draw is a subset and a seed. Rates at which a run failed are passed over as long as another one is left:
    the mean over the draws that happened to survive would flatter them. Only draws that were planned for every
    rate count for that, since after a search only the chosen rate has the others. The remaining rates are compared
    on the draws that all of them have, so that a rate with fewer runs so far is not judged by an easier draw; where
    they share none, each is judged by its own. The smaller rate wins a tie.

    Args:
        configs: Configurations of one strategy and size.
        anew: Choose by validation alone, also where the test part was opened for another setting.

    Returns:
        The configuration; a single one needs no score. None where several have none (``selection: last``).
    """
    opened = [config for config in configs if any(map(_opened_for_choice, config.cells))]
    if opened and not anew:
        configs = opened
    if len(configs) == 1:
        return configs[0]
    scored = [config for config in configs if config.selection_scores()]
    everywhere = set.intersection(*(config.draws for config in configs))
    candidates = [config for config in scored if not config.failed(everywhere or config.draws)] or scored
    if not candidates:
        return None
    shared = set.intersection(*(set(config.selection_scores()) for config in candidates))

    def merit(config: Configuration) -> float:
        scores = config.selection_scores()
        return _metric(config).merit(statistics.fmean(scores[draw] for draw in shared or scores))

    # Several have a rate each, also where they were imported: check_coordinates sees to that.
    return max(candidates, key=lambda config: (merit(config), -(config.learning_rate or 0.0)))


def select_by_seed(configs: Sequence[Configuration], *, anew: bool = False) -> Configuration | None:
    """Let each draw choose its own setting by its score on the selection split.

    The choice differs from seed to seed as it would for whoever tunes with one of them. So the spread of scores
    over seeds holds it (Bouthillier et al. 2021, arXiv:2103.03098). A draw chooses among its own runs when they
    have ended, and not if some were left out that other draws have. A setting that failed in a draw cannot be
    chosen there. The smaller rate wins a tie.

    Args:
        configs: Configurations of one strategy and size.
        anew: Choose by validation alone, also where the test part was opened for another setting.

    Returns:
        The runs that were chosen, one of each draw that has chosen; a single configuration needs no score. None
        where no draw has chosen.
    """
    if len(configs) == 1:
        return configs[0]
    metric, draws = _metric(configs[0]), cells_by_draw(configs)
    cells = tuple(best for own in draws.values() if (best := _best_of(own, metric, anew=anew)) is not None)
    if not cells:
        return None
    rates = {cell.spec.learning_rate for cell in cells}
    rate = rates.pop() if len(rates) == 1 else None
    return Configuration(configs[0].label, configs[0].train_size, rate, cells, configs[0].tuned)


def cells_by_draw(configs: Sequence[Configuration]) -> dict[Draw, list[Cell]]:
    """Return what each draw chooses among: its runs of the settings that were not left out of all draws."""
    draws: dict[Draw, list[Cell]] = {}
    for config in configs:
        for cell in config.cells if any(one.status != "left_out" for one in config.cells) else ():
            draws.setdefault(cell.draw, []).append(cell)
    return draws


def _best_of(own: Sequence[Cell], metric: Metric, *, anew: bool) -> Cell | None:
    """Return the run of a draw with the best score on the selection split; None while it lacks a run."""
    opened = [cell for cell in own if _opened_for_choice(cell)]
    if opened and not anew:
        own = opened
    if not all(cell.ended for cell in own):
        return None
    known = [cell for cell in own if cell.trained and cell.row["selection_score"] is not None]

    def merit(cell: Cell) -> tuple[float, float]:
        return metric.merit(cell.row["selection_score"]), -(cell.spec.learning_rate or 0.0)

    return max(known, key=merit, default=None)


def _opened_for_choice(cell: Cell) -> bool:
    """Whether the test part was opened for a run because validation had chosen it."""
    return cell.opened and cell.spec.selection == "validation" and not is_imported(cell.spec)


def _metric(config: Configuration) -> Metric:
    spec = config.cells[0].spec
    return TASKS[spec.task].metrics[spec.selects_by]
