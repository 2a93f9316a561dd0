"""A study that is read more than once: it ends at the first look that decides it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.analysis.looks import seeds_compared
from tunebench.analysis.outcome import outcome_of
from tunebench.errors import StoreError
from tunebench.formatting import command
from tunebench.store.imported import ImportedStudy
from tunebench.store.looks import LookLog
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.looks import declared, design_of
from tunebench.study.spec import RunSpec


def stages_left(study: StudyConfig, begun: Sequence[RunSpec]) -> tuple[int, ...]:
    """Return the numbers of seeds at which a study is looked at, from the one that its folder has reached on."""
    known = {spec.seed for spec in begun}
    stages = study.stages
    reached = [seeds for seeds in stages if known.intersection(study.seeds) <= set(study.seeds[:seeds])]
    return tuple(reached) or stages[-1:]


def check_declared(study: StudyConfig, folder: Path) -> None:
    """Refuse a study whose design differs from the one that its results were read by.

    Raises:
        StoreError: It does.
    """
    stored = _stored(folder)
    if stored is None or declared(stored) == declared(study) or not _has_results(folder):
        return
    before, after = declared(stored), declared(study)
    changes = [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in before | after
        if before.get(key) != after.get(key)
    ]
    raise StoreError(
        "The study has results, so what it declared of its looks and its level can no longer change.",
        value="; ".join(changes),
        allowed="what it was begun with; strategies, sizes and rates may be added",
        fix="keep what it was begun with, or choose another --out for a new study",
    )


def note_added_seeds(study: StudyConfig, folder: Path) -> None:
    """Write down that seeds are added to a study whose results are there, where no design allows for it."""
    stored = _stored(folder)
    if stored is None or design_of(study) is not None or set(study.seeds) <= set(stored.seeds):
        return
    if _has_results(folder) and (seeds := seeds_compared(load_comparison(folder))):
        LookLog(folder).add("added", seeds=min(seeds.values()), planned=len(stored.seeds), sizes=seeds)


def read_results(folder: Path, *, metric: str | None = None) -> Comparison:
    """Load a study's cells for somebody who reads them, which is written down; see :func:`note_reading`."""
    comparison = load_comparison(folder, metric=metric)
    note_reading(comparison, folder)
    return comparison


def note_reading(comparison: Comparison, folder: Path) -> None:
    """Write down that results were read while seeds were still to come, where that can be written.

    Reading a study by its design, or when all of its runs have ended, needs no note.
    """
    scored = {cell.spec.seed for cell in comparison.scored}
    labels = {cell.spec.label for cell in comparison.scored}
    missing = {cell.spec.seed for cell in comparison.cells if not cell.ended}
    if comparison.design is not None or len(labels) < 2 or not missing - scored:
        return
    planned, seeds = len({cell.spec.seed for cell in comparison.cells}), seeds_compared(comparison)
    try:
        LookLog(folder).add("read", seeds=min(seeds.values(), default=0), planned=planned, sizes=seeds)
    except (OSError, StoreError):
        pass  # A folder that cannot be written can still be read.


def decided_at(
    comparison: Comparison,
    seeds: int,
    stages: Sequence[int],
    folder: Path,
    tell: Callable[[str], None],
    *,
    planned: Collection[RunSpec],
) -> bool:
    """Look at a study, write down what the look found, and return whether it ends here.

    Args:
        comparison: Its cells.
        seeds: Of each strategy that the look needs.
        stages: Seeds at all looks.
        folder: Where the look is written down.
        tell: Told what was found.
        planned: Runs of the study as its file is now. Strategies and sizes that were taken out of it, and answers
            that were imported into it, need no scores.
    """
    where = f"Look after {seeds} of at most {stages[-1]} seeds"
    present = {(spec.label, spec.train_size) for spec in planned}
    chosen = [group.selected for group in comparison.groups() if (group.label, group.train_size) in present]
    if any(config is None or config.seeds_scored < seeds for config in chosen):
        tell(
            f"{where}: not all strategies have so many scores, so nothing is decided; "
            f"see {command('status', folder)}"
        )
        return True
    found = outcome_of(analyse(comparison))
    end = found.decided or seeds == stages[-1]
    rest = "decided, the study ends" if found.decided else "not decided, and the study ends" if end else "goes on"
    tell("\n".join([f"{where}: {rest}", *(f"  {line}" for line in found.said)]))
    LookLog(folder).add("declared", seeds=seeds, planned=stages[-1], decided=found.decided, said=found.said)
    return end


def _stored(folder: Path) -> StudyConfig | None:
    """Return the study as its folder has it; None where there is none, or none that can be read."""
    store = StudyStore(folder)
    if not store.plan_file.exists():
        return None
    try:
        found = store.study()
    except StoreError:
        return None
    return None if isinstance(found, ImportedStudy) else found


def _has_results(folder: Path) -> bool:
    """Tell whether a run of a study has a score."""
    store = StudyStore(folder)
    for spec in store.begun():
        try:
            record = store.run_folder(spec.run_id).read()
        except StoreError:
            continue
        if record is not None and record.scores is not None:
            return True
    return False
