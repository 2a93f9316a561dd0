"""Several finished studies as one comparison, where data and protocol allow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.confirmed import confirmation_of
from tunebench.analysis.load import load_comparison
from tunebench.analysis.looks import added_seeds, read_early
from tunebench.analysis.protocol import PROTOCOL
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import counted, listed
from tunebench.store.cell import Cell
from tunebench.study.models_axis import AT


def load_side_by_side(folders: Sequence[Path]) -> Comparison:
    """Load several studies as one comparison.

    A strategy keeps its label; where two studies have the same label, the study's name stands behind it, as in
    ``lora.monday``. A strategy that is the very same runs in two studies stands there once.

    Args:
        folders: Of the studies, two or more.

    Raises:
        ConfigError: There are fewer than two folders, or one stands there twice.
        StoreError: A folder holds no study, or the studies differ in data, test part, metric, labels or another
            part of the protocol; all that differs is named.
    """
    if len(folders) < 2:
        raise ConfigError(
            "A comparison takes two studies or more.",
            value=", ".join(map(str, folders)),
            fix="name another folder; tunebench report DIR shows a single study",
        )
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise ConfigError("The same folder is named twice.", value=", ".join(map(str, folders)))
    studies = _named(folders, [load_comparison(folder) for folder in folders])
    _check_protocol(studies)
    cells, notes, chosen_by_seed = _together(studies)
    first = next(iter(studies.values()))
    ledgers = [study.ledger for study in studies.values() if study.ledger is not None]
    return Comparison(
        name=" and ".join(studies) if len(studies) < 3 else f"{len(studies)} studies",
        cells=cells,
        audit=first.audit,
        notes=[*notes, *_notes(studies)],
        doubts=_doubts(studies),
        metric=first.metric,
        margin=min(study.margin for study in studies.values()),
        alpha=min(study.alpha for study in studies.values()),
        design=first.design if len({study.design for study in studies.values()}) == 1 else None,
        # They share their test texts, which the fullest ledger has counted best.
        ledger=max(ledgers, key=lambda note: note.runs, default=None),
        chosen_by_seed=chosen_by_seed,
    )


def _named(folders: Sequence[Path], studies: Sequence[Comparison]) -> dict[str, Comparison]:
    """Return the studies by name; those of the same name by the names of their folders, or their places."""
    names = [study.name for study in studies]
    if len(set(names)) < len(names):
        names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, start=1)]
    return dict(zip(names, studies, strict=True))


def _check_protocol(studies: Mapping[str, Comparison]) -> None:
    """Refuse studies whose runs cannot stand in one table.

    Raises:
        StoreError: Names everything in which they differ.
    """
    lines = []
    for what, key in PROTOCOL.items():
        values = {
            name: next((value for cell in study.cells if (value := key(cell.spec)) is not None), None)
            for name, study in studies.items()
        }
        known = {name: value for name, value in values.items() if value is not None}
        if len(set(map(str, known.values()))) > 1:
            lines.append(f"{what} ({', '.join(f'{name}: {value}' for name, value in known.items())})")
    named = {name: study.cells[0].spec.data.label_names for name, study in studies.items()}
    if len({tuple(labels) for labels in named.values() if labels}) > 1:
        lines.append(f"labels ({'; '.join(f'{name}: {listed(labels, 5)}' for name, labels in named.items())})")
    if lines:
        raise StoreError(
            "These studies cannot stand side by side: their runs differ in what a comparison must share.",
            value="; ".join(lines),
            allowed="the same data, test part, metric, labels, validation and selection",
            fix="run one of them again with the other's settings; over different data sets, make a suite",
        )


@dataclass
class _Strategy:
    """A strategy of one study, and what others have of the very same runs.

    Attributes:
        study: Name of the study that it stands for.
        label: Its label there.
        by_seed: Whether each seed chose its own setting.
        cells: Its runs.
    """

    study: str
    label: str
    by_seed: bool
    cells: list[Cell]

    def is_same_as(self, other: _Strategy) -> bool:
        """Tell whether both are the same planned runs, and no run has one result here and another there."""
        mine, theirs = ({cell.spec.run_id: cell for cell in one.cells} for one in (self, other))
        return (
            (self.label, self.by_seed) == (other.label, other.by_seed)
            and mine.keys() == theirs.keys()
            and all(_agree(cell, theirs[run_id]) for run_id, cell in mine.items())
        )

    def join(self, other: _Strategy) -> int:
        """Take over the runs of which the same strategy of another study has more, and return how many."""
        theirs = {cell.spec.run_id: cell for cell in other.cells}
        fuller = [_has(theirs[cell.spec.run_id]) > _has(cell) for cell in self.cells]
        self.cells = [
            theirs[cell.spec.run_id] if more else cell for cell, more in zip(self.cells, fuller, strict=True)
        ]
        return sum(fuller)


def _has(cell: Cell) -> tuple[bool, bool]:
    """Return what a cell has of its run, in an order: a score on the test part, else the end of its training."""
    return cell.scored, cell.trained


def _agree(cell: Cell, other: Cell) -> bool:
    """Tell whether two cells of one run have the same result, as far as both have one."""
    one, two = cell.record, other.record
    if not (cell.trained and other.trained) or one is None or two is None:
        return True
    if one.selected != two.selected:
        return False
    if one.scores is None or two.scores is None:
        return True
    mine, theirs = one.scores.values, two.scores.values
    # A version may have known more metrics than another.
    return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


def _together(studies: Mapping[str, Comparison]) -> tuple[list[Cell], list[str], list[str]]:
    """Return the cells of all studies under labels that tell them apart, and what is to be said of them.

    The labels of which each seed chose its own setting are returned last.
    """
    kept: list[_Strategy] = []
    notes: list[str] = []
    for name, study in studies.items():
        for label in study.labels:
            cells = [cell for cell in study.cells if cell.spec.label == label]
            own = _Strategy(name, label, label in study.chosen_by_seed, cells)
            earlier = next((one for one in kept if one.study != name and one.is_same_as(own)), None)
            if earlier is None:
                kept.append(own)
                continue
            taken = earlier.join(own)
            source = f", and {counted(taken, 'run')} of it {'is' if taken == 1 else 'are'} from {name}"
            notes.append(
                f"{label} is the same runs in {earlier.study} and {name}; it stands here once"
                f"{source if taken else ''}."
            )
    shown = _shown(kept)
    cells = [_relabelled(cell, label) for one, label in zip(kept, shown, strict=True) for cell in one.cells]
    return cells, notes, [label for one, label in zip(kept, shown, strict=True) if one.by_seed]


def _shown(kept: Sequence[_Strategy]) -> list[str]:
    """Return labels that tell strategies apart: short ones, and whole ones where the short ones are the same."""
    counts = Counter(one.label for one in kept)

    def labels(**lengths: int) -> list[str]:
        return [_of_study(one.label, one.study, **lengths) if counts[one.label] > 1 else one.label for one in kept]

    whole, short = labels(), labels(strategy_length=24, length=40)
    again = Counter(short)
    return [full if again[cut] > 1 else cut for cut, full in zip(short, whole, strict=True)]


def _of_study(label: str, study: str, *, strategy_length: int | None = None, length: int | None = None) -> str:
    """Return the label of a strategy of one of several studies: ``lora.monday``, ``lora.monday@minilm``."""
    strategy, at, model = label.partition(AT)
    return f"{strategy[:strategy_length]}.{study}"[:length] + at + model


def _relabelled(cell: Cell, label: str) -> Cell:
    """Return a cell under another label; spec and record agree in it, as the id begins with the label."""
    if cell.spec.label == label:
        return cell
    spec = cell.spec.model_copy(update={"label": label})
    record = cell.record
    if record is not None:
        record = record.model_copy(update={"run_id": spec.run_id, "spec": spec})
    return replace(cell, spec=spec, record=record)


def _doubts(studies: Mapping[str, Comparison]) -> list[str]:
    """Return how studies were read, where the tests do not allow for it."""
    doubts = []
    if len({study.design for study in studies.values()}) > 1:
        often = listed([name for name, study in studies.items() if study.design is not None])
        doubts.append(
            f"The studies declare different looks ({often}), so every test here is that of a single reading. Where "
            "a study was read more than once, see its own report."
        )
    return doubts + [f"{name}: {line}" for name, study in studies.items() for line in added_seeds(study)]


def _notes(studies: Mapping[str, Comparison]) -> list[str]:
    """Return what a reader must know of studies that were not planned together."""
    notes = [f"{name} holds {listed(study.labels)}." for name, study in studies.items()]
    notes += _doubts(studies)
    notes += [f"{name}: {line}" for name, study in studies.items() for line in read_early(study)]
    for name, study in studies.items():
        if (opened := study.confirmation) is not None:
            notes.append(f"{name}: {confirmation_of(study, opened.strategy, opened.train_size)}")
    notes.append(
        "These studies were not planned together. Who looked at one before planning another has chosen what is "
        "compared, and no p value here allows for that."
    )
    machines = {
        name: {str(sorted(c.record.environment.machine.items())) for c in study.scored if c.record is not None}
        for name, study in studies.items()
    }
    if len({frozenset(found) for found in machines.values() if found}) > 1:
        notes.append("They ran on different machines: times are no comparison of strategies between studies.")
    open_ = {name: sum(not cell.ended for cell in study.cells) for name, study in studies.items()}
    notes += [
        f"{name} is not finished: {count} of its runs have no record." for name, count in open_.items() if count
    ]
    return notes
