"""Weights given back: the study stays complete, and nothing is trained again."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

import fakes
from tunebench.cli import app
from tunebench.store.discard import discard_weights
from tunebench.store.study_folder import StudyStore


def weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*/weights.safetensors"))


def test_a_study_goes_on_without_the_weights_of_its_complete_runs(tmp_path: Path) -> None:
    study = fakes.make_study()
    fakes.run(tmp_path, study)
    size = sum(path.stat().st_size for path in weights(tmp_path))
    steps = fakes.steps_taken(tmp_path)
    found = discard_weights(tmp_path, everything=True)
    assert (len(found.runs), found.bytes, found.unscored) == (4, size, ())
    assert weights(tmp_path) == []
    again = fakes.run(tmp_path, fakes.make_study(seeds=[*study.seeds, 99]))
    assert len(again.skipped) == 4 and len(again.complete) == 4
    assert fakes.steps_taken(tmp_path)[: len(steps)] == steps
    assert not list(tmp_path.glob("runs/*.damaged-*"))
    assert len(discard_weights(tmp_path, everything=True).runs) == 4  # those of the other seed alone


def test_weights_that_may_still_be_scored_or_are_being_used_are_left(tmp_path: Path) -> None:
    fakes.run(tmp_path, fakes.make_study())  # fake runs have no scores
    found = discard_weights(tmp_path)
    assert (found.runs, found.bytes, len(found.unscored)) == ((), 0, 4)
    store = StudyStore.open(tmp_path)
    held = store.planned()[0].spec.run_id
    with store.locked(held):
        assert held not in discard_weights(tmp_path, everything=True).runs
    assert [path.parent.name for path in weights(tmp_path)] == [held]


def test_the_command_says_what_it_did_and_what_it_left(tmp_path: Path) -> None:
    fakes.run(tmp_path, fakes.make_study())
    left = CliRunner().invoke(app, ["discard-weights", str(tmp_path)])
    assert (
        left.exit_code == 0
        and "No weights deleted." in left.stdout
        and "4 runs that were not scored" in left.stdout
    )
    done = CliRunner().invoke(app, ["discard-weights", str(tmp_path), "--all", "--json"])
    assert len(json.loads(done.stdout)["runs"]) == 4
