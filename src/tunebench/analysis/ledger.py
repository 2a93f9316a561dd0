"""How often test texts were scored: by how many runs of how many studies, across folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.store.cell import Cell
from tunebench.store.confirmation import ConfirmationFile
from tunebench.store.imported import is_answers
from tunebench.store.record import now
from tunebench.store.study_folder import StudyStore
from tunebench.store.test_texts import LedgerNote, TextsFile, text_hashes, write_note

#: Folders within the one that is given in which studies are looked for.
_DEEPEST = 4


@dataclass(frozen=True, eq=False)
class Scored:
    """The texts that the runs of one study were scored on.

    Attributes:
        name: Of the study.
        folder: Of the study.
        places: A hash of each text's place: the data set and the row.
        texts: A hash of each text, by that of its place; empty of a study from before they were stored.
        runs: Ids of the runs that were scored.
        sealed: Whether these are the texts of a sealed part that was opened.
    """

    name: str
    folder: Path
    places: tuple[int, ...]
    texts: dict[int, int]
    runs: frozenset[str]
    sealed: bool = False

    def keys(self, known: Mapping[int, int]) -> frozenset[int]:
        """Return a hash of each distinct text; of its place where no study on the same data knows the text."""
        return frozenset(known.get(place, place) for place in self.places)


@dataclass(frozen=True)
class TestPart:
    """One set of test texts, and who was scored on it.

    Attributes:
        texts: How many.
        runs: Runs that were scored on some of them, in all studies of the ledger; each counts once, though its
            study's sealed part was opened too.
        studies: Names of those studies, each once.
        times: How many runs a text was scored by, on average.
        inside: Numbers (from 0) of the parts that hold all of these texts and more.
        overlaps: How many texts it shares with each of the other parts that share some, by number.
        by_content: Whether texts were compared; else their places in the data.
    """

    __test__ = False  # no test class, whatever its name begins with

    texts: int
    runs: int
    studies: tuple[str, ...]
    times: float
    inside: tuple[int, ...]
    overlaps: dict[int, int]
    by_content: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Ledger:
    """What was scored how often.

    Attributes:
        parts: Every set of test texts, the largest first.
        of_study: The number (from 0) of the part that each study's runs were scored on, by folder.
        runs: Runs in all.
        skipped: Studies that are left out, by folder, with the reason.
    """

    parts: tuple[TestPart, ...]
    of_study: dict[Path, int]
    runs: int
    skipped: dict[str, str]


def make_ledger(folders: Sequence[Path]) -> Ledger:
    """Count how often test texts were scored.

    Args:
        folders: Studies, or folders that hold studies.

    Raises:
        StoreError: A folder holds no study.
    """
    found, skipped = [], {}
    for folder in dict.fromkeys(place.resolve() for given in folders for place in _studies(given)):
        try:
            scored = _scored(folder)
        except StoreError as error:
            skipped[str(folder)] = error.what
            continue
        found += scored
        if not scored:
            skipped[str(folder)] = "no run has test predictions"
    # A study whose texts were not hashed has the hashes of another one on the same data.
    known = {place: text for one in found for place, text in one.texts.items()}
    parts: dict[frozenset[int], list[Scored]] = {}
    for one in found:
        parts.setdefault(one.keys(known), []).append(one)
    ordered = sorted(parts, key=lambda keys: (-len(keys), min(one.name for one in parts[keys])))
    numbered = [(keys, parts[keys]) for keys in ordered]
    return Ledger(
        tuple(_part(number, numbered, known) for number in range(len(numbered))),
        {one.folder: number for number, (_, members) in enumerate(numbered) for one in members if not one.sealed},
        _distinct_runs(found),
        skipped,
    )


def _part(
    number: int, parts: Sequence[tuple[frozenset[int], Sequence[Scored]]], known: Mapping[int, int]
) -> TestPart:
    keys, users = parts[number]
    shared = [len(keys & other) for other, _ in parts]
    touched = [one for (_, members), count in zip(parts, shared, strict=True) if count for one in members]
    scored = sum(
        count * len(one.runs) for (_, members), count in zip(parts, shared, strict=True) for one in members
    )
    # A study of both its parts goes by its own name.
    names = {one.folder: one.name for one in sorted(touched, key=lambda one: not one.sealed)}
    return TestPart(
        len(keys),
        _distinct_runs(touched),
        tuple(sorted(names.values())),
        scored / len(keys),
        tuple(n for n, count in enumerate(shared) if n != number and count == len(keys)),
        {n: count for n, count in enumerate(shared) if 0 < count < min(len(keys), len(parts[n][0]))},
        all(place in known for one in users for place in one.places),
    )


def _distinct_runs(scored: Sequence[Scored]) -> int:
    return len({(one.folder, run) for one in scored for run in one.runs})


def _studies(folder: Path) -> Iterator[Path]:
    """Yield the studies in a folder, itself included."""
    if not folder.is_dir():
        raise StoreError("There is no such folder.", value=str(folder))
    found = False
    for plan in sorted(folder.glob("plan.json")) or _below(folder):
        found = True
        yield plan.parent
    if not found:
        raise StoreError("There is no study in this folder, nor in those inside it.", value=str(folder))


def _below(folder: Path) -> list[Path]:
    patterns = ("/".join(["*"] * depth) + "/plan.json" for depth in range(1, _DEEPEST + 1))
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _scored(folder: Path) -> list[Scored]:
    """Read what a study was scored on, and its sealed part where that was opened; nothing without predictions."""
    store = StudyStore(folder)
    cells = [cell for cell in store.cells() if cell.opened and cell.predictions is not None]
    if not cells:
        return []
    assert cells[0].predictions is not None
    rows, stored = cells[0].predictions()["indices"], TextsFile(folder).read()
    data = _data_of(cells[0], folder)
    places = tuple(_places(data, rows))
    texts = {} if stored is None else dict(zip(_places(data, stored[0]), stored[1].tolist(), strict=True))
    # The answers of another model were scored once, at however many sizes they stand.
    runs = frozenset(cell.spec.label if is_answers(cell.spec) else cell.spec.run_id for cell in cells)
    name, opened = store.study().name, ConfirmationFile(folder).read()
    found = [Scored(name, folder, places, texts, runs)]
    if opened is not None and stored is not None:
        sealed = tuple(_places(data, np.setdiff1d(stored[0], rows)))
        found.append(Scored(f"{name} (sealed part)", folder, sealed, texts, frozenset(opened.runs), sealed=True))
    return found


def _data_of(cell: Cell, folder: Path) -> str:
    """Return what tells the data set of a study from others: of unknown data the folder, as nothing is the same."""
    return cell.spec.data.fingerprint or cell.spec.data.source or str(folder)


def _places(data: str, rows: np.ndarray) -> list[int]:
    """Return a hash of each row of a data set: what stands for its text where that was not hashed."""
    return [int(one) for one in text_hashes((data, row) for row in rows.tolist())]


def note_counts(ledger: Ledger) -> None:
    """Write into each study's folder how often its test texts were scored, for its tables and report."""
    time = now()
    for folder, number in ledger.of_study.items():
        part = ledger.parts[number]
        note = LedgerNote(time=time, texts=part.texts, runs=part.runs, studies=len(part.studies), times=part.times)
        write_note(folder, note)
