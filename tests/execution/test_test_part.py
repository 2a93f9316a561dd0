"""The test part is opened once: by one of several processes, and written down before the look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fakes
from tunebench.analysis.load import load_comparison
from tunebench.errors import StoreError
from tunebench.execution.test_part import score_selected
from tunebench.machine.settings import Execution
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import RunRecord, Selected, Timing
from tunebench.store.study_folder import StudyStore
from tunebench.training import scoring
from tunebench.training.scoring import score_run

GOOD, BAD = 1e-3, 1e-5
CLOCK = Timing(
    train_seconds=1.0,
    eval_seconds=1.0,
    test_seconds=None,
    wall_seconds=2.0,
    cpu_seconds=2.0,
    seconds_per_step=0.1,
    warmup_steps=0,
    step_seconds=[0.1],
    workers=1,
    contended=False,
    resumed=0,
)
Look = Callable[[Path], None]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Look]:
    """What is done at every look at the test part, which is counted by what is left of the list."""
    ahead: list[Look] = []

    def predict_test(spec: Any, dataset: Any, parts: Any, folder: Any, device: str) -> Any:
        ahead.pop(0)(folder.path)
        return np.eye(2, dtype=np.float32), np.array([0, 1]), 0.1

    monkeypatch.setattr(scoring, "run_parts", lambda spec, dataset: SimpleNamespace(test=np.arange(2)))
    monkeypatch.setattr(scoring, "backend_of", lambda kind: SimpleNamespace(predict_test=predict_test))
    return ahead


def trained_study(folder: Path, **merits: float) -> StudyStore:
    """Make a study of one strategy whose runs are trained, each with a score on validation, and not on test."""
    study = fakes.make_study(
        strategies={"full": {"learning_rate": [BAD, GOOD]}}, train_sizes=[10], selection="validation"
    )
    specs = fakes.make_specs(study)
    store = StudyStore.create(folder, study, [PlannedRun(spec) for spec in specs])
    for spec in specs:
        merit = merits["good" if spec.learning_rate == GOOD else "bad"]
        run = store.run_folder(spec.run_id)
        run.begin(spec)
        run.weights.write_bytes(b"weights")
        selected = Selected(by="validation", step=1, epoch=1.0, score=merit)
        run.commit(fakes.make_record(spec, run, selected=selected, timing=CLOCK))
    return store


def record_at(store: StudyStore, rate: float) -> RunRecord:
    (record,) = (cell.record for cell in store.cells() if cell.spec.learning_rate == rate)
    assert record is not None
    return record


def score(store: StudyStore, *, unlock: bool = False, tell: Callable[[str], None] = lambda line: None) -> list[str]:
    dataset, execution = fakes.DATASET, Execution(device="cpu", threads=1)
    return score_selected(store, dataset=dataset, execution=execution, unlock=unlock, tell=tell)


def test_of_two_that_come_at_once_one_opens_the_test_part(tmp_path: Path, looks: list[Look]) -> None:
    store, told = trained_study(tmp_path, good=0.9, bad=0.1), []
    looking, waiting = threading.Event(), threading.Event()

    def look(folder: Path) -> None:
        looking.set()
        assert waiting.wait(20)

    def hear(line: str) -> None:
        told.append(line)
        waiting.set()

    looks += [look, look]
    first: list[list[str]] = []
    thread = threading.Thread(target=lambda: first.append(score(store)))
    thread.start()
    assert looking.wait(20)
    second = score(StudyStore.open(tmp_path), tell=hear)
    thread.join(20)
    record = record_at(store, GOOD)
    assert (first, second, len(looks)) == ([[record.run_id]], [], 1)
    assert told == ["waiting for another process that scores on test"]
    assert len(record.test_access) == 1 and record.scores is not None
    with pytest.raises(StoreError, match="scored on the test part before"):
        folder = store.run_folder(record.run_id)
        score_run(record.spec, dataset=fakes.DATASET, folder=folder, execution=Execution(device="cpu"), why="again")


def test_a_look_is_written_down_before_it_is_taken(tmp_path: Path, looks: list[Look]) -> None:
    store = trained_study(tmp_path, good=0.9, bad=0.1)

    def killed(folder: Path) -> None:
        assert [access.why for access in record_at(store, GOOD).test_access] == ["chosen on validation"]
        for name in (".predictions.1.npz", ".record.json.1.tmp"):
            (folder / name).write_bytes(b"half")
        raise KeyboardInterrupt

    looks.append(killed)
    with pytest.raises(KeyboardInterrupt):
        score(store)
    cut = record_at(store, GOOD)
    assert cut.scores is None and len(cut.test_access) == 1
    # The same look, taken up again.
    looks.append(lambda folder: None)
    assert score(store) == [cut.run_id]
    whole = record_at(store, GOOD)
    assert whole.scores is not None and whole.test_access == cut.test_access
    assert "the look before was cut short" in store.run_folder(cut.run_id).log.read_text()
    assert not list(store.run_folder(cut.run_id).path.glob(".*")), "half-written files are left"


def test_a_look_that_was_cut_short_locks_other_rates(tmp_path: Path, looks: list[Look]) -> None:
    store = trained_study(tmp_path, good=0.9, bad=0.1)
    looks += [lambda folder: (_ for _ in ()).throw(KeyboardInterrupt), lambda folder: None, lambda folder: None]
    with pytest.raises(KeyboardInterrupt):
        score(store)
    # By now the other rate is the better one.
    other = record_at(store, BAD)
    assert other.selected is not None
    better = other.model_copy(update={"selected": other.selected.model_copy(update={"score": 0.95})})
    store.run_folder(other.run_id).commit(better)
    chosen, told = record_at(store, GOOD), []
    assert score(store, tell=told.append) == [chosen.run_id], "the look that was cut short is taken up again"
    assert any("Validation would choose" in line for line in told) and any("--unlock-test" in line for line in told)
    assert score(store) == []
    assert score(store, unlock=True) == [other.run_id]
    (group,) = load_comparison(store.folder).groups()
    assert group.selected is not None and not group.overtaken
    assert group.selected.learning_rate == other.spec.learning_rate
