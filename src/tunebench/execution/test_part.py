"""The test part is locked until a learning rate is chosen; this opens it once, for the chosen runs."""

from __future__ import annotations

from collections.abc import Callable

from tunebench.analysis.comparison import Comparison, Group
from tunebench.data import TextDataset
from tunebench.errors import PlanError
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec
from tunebench.training.scoring import score_run


def locked_runs(specs: list[RunSpec]) -> frozenset[str]:
    """Return the runs whose test part stays locked until validation has chosen among learning rates."""
    rates: dict[tuple[str, int], set[float]] = {}
    for spec in specs:
        rates.setdefault((spec.label, spec.train_size), set()).add(spec.learning_rate)
    several = {key for key, found in rates.items() if len(found) > 1}
    chosen = [s for s in specs if s.selection == "validation" and (s.label, s.train_size) in several]
    return frozenset(spec.run_id for spec in chosen)


def score_selected(
    comparison: Comparison,
    *,
    store: StudyStore,
    dataset: TextDataset,
    execution: Execution,
    unlock: bool,
    tell: Callable[[str], None],
) -> list[str]:
    """Score the chosen learning rate of every strategy and size whose runs have all ended.

    Args:
        comparison: The study so far.
        store: Its folder.
        dataset: Its texts.
        execution: Device and threads.
        unlock: Score a newly chosen rate although another one was scored before.
        tell: Called with a line for each step.

    Returns:
        Ids of the runs that were scored.

    Raises:
        PlanError: The test part was opened before for another rate, and ``unlock`` is false. What could
            be scored has been.
    """
    done, refused = [], []
    for group in comparison.groups():
        if group.selected is None or not _settled(group):
            continue
        cells = [cell for cell in group.selected.cells if cell.trained and not cell.scored]
        opened = [arm for arm in group.arms if arm is not group.selected and arm.scored]
        if cells and opened and not unlock:
            refused.append(f"{group.label} at {group.train_size:,}")
            continue
        why = "another rate was chosen after the test part had been opened" if opened else "chosen on validation"
        for cell in cells:
            with store.locked(cell.spec.run_id) as mine:
                if mine:
                    tell(f"scoring {cell.spec.run_id.rsplit('-', 1)[0]} on test")
                    folder = store.run_folder(cell.spec.run_id)
                    score_run(cell.spec, dataset=dataset, folder=folder, execution=execution, why=why)
                    done.append(cell.spec.run_id)
    if refused:
        raise PlanError(
            "The test part was already scored for another learning rate. A second look would bias the result.",
            value="; ".join(refused),
            fix="keep the earlier choice, or run with --unlock-test; every table then says so",
        )
    return done


def _settled(group: Group) -> bool:
    """Whether no run of the group is still to come, so that the choice will not change."""
    selected = group.selected
    open_ = [cell for cell in group.cells if cell.status in ("pending", "running")]
    return selected is not None and not open_
