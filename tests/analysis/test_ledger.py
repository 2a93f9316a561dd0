"""The ledger counts each run and each study once, also where a sealed part was opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import fakes
from factories import store_run
from tunebench.analysis.ledger import make_ledger, note_counts
from tunebench.store.confirmation import Confirmation, ConfirmationFile
from tunebench.store.test_texts import TextsFile, read_note, text_hashes


def made(folder: Path, rows: range, *, seeds: Sequence[int], sealed: range = range(0)) -> None:
    """Write a study whose runs were scored on some rows, and which opened others."""
    study = fakes.make_study(
        name=folder.name, strategies={"full": None}, train_sizes=[100], seeds=seeds, sealed=bool(sealed)
    )
    store, specs = fakes.make_store(folder, study)
    for spec in specs:
        store_run(store, spec, np.array(rows) % 2, np.array(rows))
    every = np.array([*rows, *sealed])
    TextsFile(folder).write(every, text_hashes(f"text {row}" for row in every))
    if sealed:
        opened = Confirmation(
            time="2026-01-01",
            strategy="full",
            train_size=100,
            runs=tuple(spec.run_id for spec in specs),
            metric="macro_f1",
            texts=len(sealed),
        )
        ConfirmationFile(folder).write(opened)


def test_a_study_whose_sealed_part_was_opened_counts_once_and_so_do_its_runs(tmp_path: Path) -> None:
    made(tmp_path / "halves", range(20), seeds=(1, 2, 3), sealed=range(20, 40))
    made(tmp_path / "whole", range(40), seeds=(1,))
    ledger = make_ledger([tmp_path])
    whole, *halves = ledger.parts
    assert (whole.texts, whole.runs, whole.studies, whole.times) == (40, 4, ("halves", "whole"), 4.0)
    assert {(half.texts, half.runs, half.studies, half.times) for half in halves} == {
        (20, 4, ("halves", "whole"), 4.0),
        (20, 4, ("halves (sealed part)", "whole"), 4.0),
    }
    assert ledger.runs == 4
    note_counts(ledger)
    note = read_note(tmp_path / "whole")
    assert note is not None and (note.runs, note.studies, note.times) == (4, 2, 4.0)


@pytest.mark.parametrize("cut", [10, 20, 30])
def test_a_text_of_either_half_has_the_runs_that_were_scored_on_it(tmp_path: Path, cut: int) -> None:
    made(tmp_path / "halves", range(cut), seeds=(1, 2), sealed=range(cut, 40))
    made(tmp_path / "part", range(5, 25), seeds=(1, 2, 3))
    ledger = make_ledger([tmp_path])
    part = ledger.parts[ledger.of_study[(tmp_path / "part").resolve()]]
    assert (part.runs, len(part.studies), part.times, ledger.runs) == (5, 2, 5.0, 5)
