"""The test part is locked until a learning rate is chosen; this opens it once, for the chosen runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.group import Group
from tunebench.analysis.load import load_comparison
from tunebench.analysis.warnings import overtaken
from tunebench.data import TextDataset
from tunebench.errors import PlanError
from tunebench.machine.settings import Execution
from tunebench.store.cell import Cell
from tunebench.store.imported import trained_here
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec, Setting
from tunebench.training.scoring import score_run


def locked_runs(specs: list[RunSpec]) -> frozenset[str]:
    """Return the runs whose test part stays locked until validation has chosen, and those of folds, for good."""
    settings: dict[tuple[str, int], set[Setting]] = {}
    for spec in specs:
        settings.setdefault((spec.label, spec.train_size), set()).add(spec.setting)
    several = {key for key, found in settings.items() if len(found) > 1}
    chosen = [s for s in specs if s.selection == "validation" and (s.label, s.train_size) in several]
    return frozenset(spec.run_id for spec in [*chosen, *(spec for spec in specs if spec.fold)])


def score_selected(
    store: StudyStore,
    *,
    dataset: TextDataset,
    execution: Execution,
    unlock: bool,
    tell: Callable[[str], None],
) -> list[str]:
    """Score the chosen learning rate of every strategy and size whose runs have all ended.

    A choice stands once the test part was opened for it (:mod:`tunebench.analysis.selecting`). Where validation now
    prefers another rate, that is said.

    What is chosen, and whether the test part was opened before, is read under a lock: of several processes that
    come to this point at the same time, one opens it, and the others find it opened.

    Args:
        store: Where the study lies.
        dataset: Its texts.
        execution: Device and threads.
        unlock: Score the rate that validation prefers now, although another one was scored before.
        tell: Called with a line for each step.

    Returns:
        Ids of the runs that were scored.

    Raises:
        PlanError: The test part was opened for several rates, further runs at the chosen one would be another
            look, and ``unlock`` is false. What could be scored has been.
    """
    with store.test_part_locked(waits=lambda: tell("waiting for another process that scores on test")):
        return _score_selected(store, dataset=dataset, execution=execution, unlock=unlock, tell=tell)


def _score_selected(
    store: StudyStore, *, dataset: TextDataset, execution: Execution, unlock: bool, tell: Callable[[str], None]
) -> list[str]:
    done, refused = [], []
    comparison = load_comparison(store.folder)
    if not unlock:
        _tell_overtaken(comparison, tell)
    for group, cells in _to_score(comparison, anew=unlock):
        opened = _opened_for_another(group, cells)
        if opened and not unlock:
            of = f", seed {cells[0].spec.seed}" if group.by_seed else ""
            refused.append(f"{group.label} at {group.train_size:,}{of}")
            continue
        why = "another rate was chosen after the test part had been opened" if opened else "chosen on validation"
        for cell in cells:
            with store.locked(cell.spec.run_id) as mine:
                name = cell.spec.run_id.rsplit("-", 1)[0]
                if not mine:
                    tell(f"{name} is in use by another process and was not scored; run the same command again")
                else:
                    tell(f"scoring {name} on test")
                    folder = store.run_folder(cell.spec.run_id)
                    score_run(trained_here(cell.spec), dataset=dataset, folder=folder, execution=execution, why=why)
                    done.append(cell.spec.run_id)
    if refused:
        raise PlanError(
            "The test part was already scored for another learning rate. A second look would bias the result.",
            value="; ".join(refused),
            fix="run with --unlock-test; every table then says so",
        )
    return done


def _tell_overtaken(comparison: Comparison, tell: Callable[[str], None]) -> None:
    """Say where a choice stands that validation would not make any more."""
    lines = overtaken(comparison)
    for line in lines:
        tell(line)
    if lines:
        tell("--unlock-test scores what validation prefers now; every table then says so")


def _to_score(comparison: Comparison, *, anew: bool) -> Iterator[tuple[Group, list[Cell]]]:
    """Yield the runs of each choice that will not change any more: of a strategy, or of one draw of it."""
    for group in comparison.groups():
        chosen = group.preferred if anew else group.selected
        if chosen is None:
            continue
        cells = [cell for cell in chosen.cells if cell.trained and not cell.scored and not cell.is_fold]
        if group.by_seed:  # a draw chooses when its runs have ended
            yield from ((group, [cell]) for cell in cells)
        elif cells and not any(cell.to_come for cell in group.cells):
            yield group, cells


def _opened_for_another(group: Group, cells: Sequence[Cell]) -> bool:
    """Whether the test part was opened for another setting; of the same draw, where each chose its own."""
    settings, draws = {cell.spec.setting for cell in cells}, {cell.draw for cell in cells}
    others = [cell for cell in group.cells if cell.opened and cell.spec.setting not in settings]
    return any(not group.by_seed or cell.draw in draws for cell in others)
