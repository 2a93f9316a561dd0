"""What a run says of itself on disk while it works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fakes
from fakes import make_study
from tunebench.store.live import LiveFile, Progress, read_live
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.training.attempt import Attempt, Interrupted


def live_file(path: Path, **options: Any) -> LiveFile:
    return LiveFile(path, passed_on=options.pop("passed_on", lambda progress: None), **options)


def train_step(step: int, *logged: dict[str, Any]) -> Progress:
    return Progress("run", "train", step, 10, 0.5, 0.8, logged)


def test_progress_is_passed_on_and_can_be_read_back(tmp_path: Path) -> None:
    path, seen = tmp_path / "progress.json", []
    live = live_file(path, passed_on=seen.append, interval=0.0)
    told = [train_step(i, {"step": i, "epoch": i / 5, "loss": 1 / i, "grad_norm": 2.0}) for i in (1, 2, 3)]
    told.append(Progress("run", "test", 5, 60, None, None))
    for progress in told:
        live.update(progress)
    assert seen == told
    found = read_live(path)
    assert found is not None
    assert (found.phase, found.step, found.total) == ("test", 5, 60)
    assert (found.train_step, found.train_total, found.loss, found.best) == (3, 10, 0.5, 0.8)
    assert found.history == [{"step": i, "epoch": i / 5, "loss": 1 / i} for i in (1, 2, 3)]
    assert found.steps_per_second is not None and found.steps_per_second > 0


def test_between_two_writes_time_passes_unless_the_phase_changes(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    live = live_file(path, interval=1e9)
    steps = []
    for progress in (train_step(1), train_step(2), Progress("run", "evaluate", 8, 20, None, None), train_step(3)):
        live.update(progress)
        found = read_live(path)
        assert found is not None
        steps.append((found.phase, found.step))
    assert steps == [("train", 1), ("train", 1), ("evaluate", 8), ("train", 3)]


def test_a_long_history_stays_bounded(tmp_path: Path) -> None:
    live = live_file(tmp_path / "progress.json", interval=1e9)
    for step in range(1, 9_001):
        live.update(train_step(step, {"step": step, "epoch": step / 100, "loss": 0.5}))
    live.write()
    found = read_live(tmp_path / "progress.json")
    assert found is not None and 1_000 <= len(found.history) <= 2_000
    assert found.history[-1]["step"] > 8_990


def test_numbers_that_json_does_not_know_are_left_out(tmp_path: Path) -> None:
    live = live_file(tmp_path / "progress.json")
    live.update(
        Progress("run", "train", 1, 2, float("nan"), None, ({"step": 1, "epoch": 1.0, "loss": float("nan")},))
    )
    found = read_live(tmp_path / "progress.json")
    assert found is not None and (found.loss, found.history) == (None, [])


def test_a_disk_that_refuses_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def full(line: str) -> None:
        raise OSError(28, "no space left on device")

    seen: list[Progress] = []
    live = live_file(tmp_path / "file" / "progress.json", passed_on=seen.append, note=full)
    live.update(train_step(1, {"step": 1, "epoch": 1.0, "eval_macro_f1": 0.5}))
    assert len(seen) == 1


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists, max_leaves=5).map(
            lambda value: json.dumps(dict.fromkeys(read_live.__globals__["Live"].__annotations__, value)).encode()
        ),
    )
)
def test_damaged_files_are_read_as_nothing_or_as_plain_values(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(content)
    found = read_live(path)
    if found is not None:
        json.dumps([found.loss, found.left_seconds, found.step], allow_nan=False)


def test_the_file_is_there_while_a_run_works_and_gone_when_it_is_complete(tmp_path: Path) -> None:
    seen: list[str] = []

    def looks(attempt: Attempt) -> RunRecord:
        record = fakes.train(attempt)
        found = read_live(attempt.folder.live)
        assert found is not None
        seen.append(found.phase)
        if len(seen) == 3:
            raise RuntimeError("broken")
        if len(seen) == 4:
            raise Interrupted("stopped")
        return record

    fakes.run(tmp_path, make_study(), looks)
    assert seen == ["train"] * 4
    cells = StudyStore.open(tmp_path).cells()
    left = [StudyStore.open(tmp_path).run_folder(cell.spec.run_id).live.exists() for cell in cells]
    assert dict(zip([cell.status for cell in cells], left, strict=True)) == {
        "complete": False,
        "failed": True,
        "pending": True,
    }


def test_a_real_run_logs_the_same_on_disk_as_in_its_record(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    from training.test_encoder import make_spec, stop_after
    from tunebench.machine.settings import Execution
    from tunebench.training.registry import run_one

    spec, dataset = make_spec(tiny_model("bert"), reviews)
    folder = RunFolder(tmp_path / spec.run_id)
    folder.begin(spec)

    def go(stop: Callable[[], bool]) -> tuple[LiveFile, RunRecord]:
        live = live_file(folder.live, interval=1e9, note=folder.note)
        execution = Execution(device="cpu", threads=1)
        try:
            return live, run_one(Attempt(spec, dataset, folder, execution, report=live.update, stop=stop))
        finally:
            live.write()

    with pytest.raises(Interrupted):
        go(stop_after(12))
    halfway = read_live(folder.live)
    assert halfway is not None and halfway.train_step == 12
    _, record = go(lambda: False)
    found = read_live(folder.live)
    assert found is not None and found.phase == "test"
    keys = ("step", "epoch", "loss", "eval_loss", "eval_macro_f1", "eval_accuracy")
    logged = [{k: e[k] for k in keys if k in e} for e in record.log_history if "loss" in e or "eval_loss" in e]
    assert found.history == logged and len(logged) > 10
    assert halfway.history == logged[: len(halfway.history)] != []
    evaluations = sum("eval_macro_f1" in entry for entry in logged)
    assert folder.log.read_text().count("macro F1") == evaluations  # none twice, though the run was resumed
