"""Several finished studies as one comparison, where data and protocol allow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.confirmed import confirmation_of
from tunebench.analysis.load import load_comparison
from tunebench.analysis.looks import added_seeds, read_early
from tunebench.analysis.protocol import PROTOCOL
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import listed
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


def _together(studies: Mapping[str, Comparison]) -> tuple[list[Cell], list[str], list[str]]:
    """Return the cells of all studies under labels that tell them apart, and what is to be said of them.

    The labels of which each seed chose its own setting are returned last.
    """
    kept: list[tuple[str, str, list[Cell]]] = []
    notes: list[str] = []
    seen: dict[tuple[str, bool, frozenset[str]], str] = {}
    for name, study in studies.items():
        for label in study.labels:
            own = [cell for cell in study.cells if cell.spec.label == label]
            runs = frozenset(cell.spec.run_id for cell in own)
            earlier = seen.setdefault((label, label in study.chosen_by_seed, runs), name)
            if earlier == name:
                kept.append((name, label, own))
            else:
                notes.append(f"{label} is the same runs in {earlier} and {name}; it stands here once.")
    counts = Counter(label for _, label, _ in kept)
    shown = {(name, label): _of_study(label, name) if counts[label] > 1 else label for name, label, _ in kept}
    cells = [_relabelled(cell, shown[name, label]) for name, label, own in kept for cell in own]
    by_seed = [shown[name, label] for name, label, _ in kept if label in studies[name].chosen_by_seed]
    return cells, notes, by_seed


def _of_study(label: str, study: str) -> str:
    """Return the label of a strategy of one of several studies: ``lora.monday``, ``lora.monday@minilm``."""
    strategy, at, model = label.partition(AT)
    return f"{strategy[:24]}.{study}"[:40] + at + model


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
