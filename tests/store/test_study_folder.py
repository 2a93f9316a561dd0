from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from fakes import make_record, make_specs, make_store, make_study
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.errors import StoreError
from tunebench.files import read_json, temporary_beside, write_json, write_text
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import Failure, RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.seal import unseal
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec


def committed(store: StudyStore, spec: RunSpec) -> tuple[RunFolder, RunRecord]:
    folder = store.run_folder(spec.run_id)
    folder.begin(spec)
    folder.weights.write_bytes(b"weights")
    folder.write_predictions(logits=np.ones((2, 2), np.float32), labels=np.zeros(2, int), indices=np.arange(2))
    record = make_record(spec, folder)
    folder.commit(record)
    return folder, record


def statuses(store: StudyStore) -> dict[str, str]:
    return {cell.spec.run_id: cell.status for cell in store.cells()}


def test_a_committed_run_is_read_back_and_keeps_only_what_it_needs(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder = store.run_folder(specs[0].run_id)
    folder.begin(specs[0])
    folder.checkpoint.mkdir()
    folder.best.at(3).write_bytes(b"best")
    folder, record = committed(store, specs[0])
    assert folder.read() == record
    folder.verify(record)
    assert {p.name for p in folder.path.iterdir()} == {
        "spec.json",
        "record.json",
        "weights.safetensors",
        "predictions.npz",
    }
    assert folder.read_predictions()["logits"].dtype == np.float32


def test_discarded_weights_leave_a_complete_run_that_cannot_be_used(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder, record = committed(store, specs[0])
    predictions = folder.predictions.read_bytes()
    assert folder.discard_weights(record) == len(b"weights")
    left = folder.read()
    assert left is not None and left == record.model_copy(update={"files": left.files})
    assert left.files.keys() == {"predictions.npz"} and folder.predictions.read_bytes() == predictions
    assert folder.complete and not folder.weights.exists()
    folder.verify(left)
    with pytest.raises(StoreError, match="discarded"):
        folder.require_weights(left)
    with pytest.raises(StoreError, match="missing"):
        folder.require_weights(record)  # removed by hand is another thing: the run would be done again


def test_a_commit_that_breaks_off_leaves_the_run_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder = store.run_folder(specs[0].run_id)
    folder.begin(specs[0])
    folder.checkpoint.mkdir()
    record = make_record(specs[0], folder)

    def break_off(*paths: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", break_off)
        with pytest.raises(OSError, match="power cut"):
            folder.commit(record)
    assert not folder.complete
    assert folder.checkpoint.exists()  # the work is still there to go on from
    assert statuses(store)[specs[0].run_id] == "pending"
    folder.commit(record)
    assert statuses(store)[specs[0].run_id] == "complete"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_record_that_could_not_be_read_back_is_not_committed(tmp_path: Path, value: float) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder = store.run_folder(specs[0].run_id)
    folder.begin(specs[0])
    scores = {"macro_f1": 0.5, "accuracy": 0.5, "log_loss": value, "per_class": [], "confusion": []}
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.commit(make_record(specs[0], folder, scores=scores))
    assert not folder.complete
    # In the history a loss that is no number is undefined, and the record stands.
    folder.commit(make_record(specs[0], folder, log_history=[{"loss": value}]))
    record = folder.read()
    assert record is not None
    assert record.log_history == [{"loss": None}]


def test_a_record_of_another_run_or_with_missing_files_is_not_committed(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder = store.run_folder(specs[0].run_id)
    folder.begin(specs[0])
    with pytest.raises(StoreError, match="another run"):
        folder.commit(make_record(specs[1], folder))
    folder.weights.write_bytes(b"weights")
    record = make_record(specs[0], folder)
    folder.weights.unlink()
    with pytest.raises(StoreError, match="missing"):
        folder.commit(record)
    assert not folder.complete


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_record_that_is_closed_to_the_user_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    for spec in specs:
        committed(store, spec)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of-"):
            break
    store.run_folder(specs[1].run_id).record.chmod(0)
    os.seteuid(65534)
    try:
        cells = StudyStore.open(tmp_path).cells()
    finally:
        os.seteuid(0)
    assert [cell.status for cell in cells] == ["complete", "failed", "complete", "complete"]
    assert "Permission denied" in str(cells[1].note)


def test_every_kind_of_damage_is_found_and_named(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    folder, record = committed(store, specs[0])
    raw = unseal(read_json(folder.record), folder.record)
    damages: dict[str, object] = {
        "format that this version": raw | {"schema_version": 999},
        "another run": raw | {"spec": raw["spec"] | {"seed": 2}},
        "damaged": raw | {"surprise": 1},
    }
    for message, content in damages.items():
        write_json(folder.record, content)
        with pytest.raises(StoreError, match=message) as caught:
            folder.read()
        assert "record.json" in str(caught.value)
    folder.record.write_text('{"schema_ver')
    with pytest.raises(StoreError, match=r"record\.json"):
        folder.read()
    # One bit, same size.
    folder.weights.write_bytes(b"weightS")
    with pytest.raises(StoreError, match=r"damaged(.|\n)*weights\.safetensors"):
        folder.verify(record)
    # A damaged run is still a row, with the reason.
    cell = next(c for c in store.cells() if c.spec == specs[0])
    assert (cell.status, cell.record) == ("failed", None)
    assert "record.json" in (cell.note or "")


def test_quarantine_keeps_everything_and_counts_up(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    for number in (1, 2):
        folder, _ = committed(store, specs[0])
        target = folder.quarantine()
        assert target.name == f"{specs[0].run_id}.damaged-{number}"
        assert (target / "record.json").exists()
        assert not folder.complete


@pytest.mark.parametrize(
    "bad", ["../../etc", "x", "a/b-0123456789abcdef", "..", "", "a-0123456789abcdef.damaged-1"]
)
def test_no_path_leaves_the_folder(tmp_path: Path, bad: str) -> None:
    with pytest.raises(StoreError, match="no run id"):
        StudyStore(tmp_path).run_folder(bad)


def test_every_run_id_is_one(tmp_path: Path) -> None:
    labels = {"A": {"kind": "lora", "learning_rate": 10}, "b" * 40: {"kind": "full", "learning_rate": 1e-12}}
    for spec in make_specs(make_study(strategies=labels, train_sizes=["all"], seeds=[2**31 - 1])):
        assert StudyStore(tmp_path).run_folder(spec.run_id).path.parent == tmp_path / "runs"


def test_the_state_of_every_cell(tmp_path: Path) -> None:
    study = make_study(strategies=["full"], train_sizes=[10, 20, 30, 40, 50])
    specs = make_specs(study)
    planned = [PlannedRun(s, "no time" if s.train_size == 50 else None) for s in specs]
    store = StudyStore.create(tmp_path, study, planned)
    committed(store, specs[0])
    failed = store.run_folder(specs[1].run_id)
    failed.begin(specs[1])
    error = Failure(type="E", message="m", traceback="t")
    failed.fail(make_record(specs[1], failed, status="out_of_memory", error=error))
    with store.locked(specs[2].run_id) as mine:
        assert mine
        assert list(statuses(store).values()) == ["complete", "out_of_memory", "running", "pending", "left_out"]
        with store.locked(specs[2].run_id) as again:
            assert not again
    assert list(statuses(store).values())[2] == "pending"
    assert store.cells()[4].row["error"] == "no time"
    # While it is tried again a failed run is running; once it is done its failure is gone.
    with store.locked(specs[1].run_id):
        assert statuses(store)[specs[1].run_id] == "running"
    committed(store, specs[1])
    assert not failed.failure.exists()
    assert statuses(store)[specs[1].run_id] == "complete"


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="something else"):
        make_store(tmp_path, make_study())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="a file"):
        make_store(tmp_path / "thesis.tex", make_study())
    with pytest.raises(StoreError, match="no study"):
        StudyStore.open(tmp_path)


def test_a_study_may_grow_and_keeps_its_runs(tmp_path: Path) -> None:
    store, specs = make_store(tmp_path, make_study())
    committed(store, specs[0])
    grown = make_study(
        strategies={"full": {"learning_rate": [1e-5, 5e-5]}, "lora": None, "lora16": {"kind": "lora", "rank": 16}},
        train_sizes=[10, 20, 30],
        seeds=[1, 2],
    )
    store, more = make_store(tmp_path, grown)
    assert {s.run_id for s in specs} < {s.run_id for s in more}
    assert statuses(store)[specs[0].run_id] == "complete"
    assert store.study() == grown
    # Coming back with fewer cells loses none of the others.
    store, _ = make_store(tmp_path, make_study())
    assert {p.spec.run_id for p in store.planned()} == {s.run_id for s in more}


@pytest.mark.parametrize(
    ("first", "grown"),
    [
        ({"subset_seed": "per_seed", "seeds": [1]}, {"subset_seed": "per_seed", "seeds": [1, 2, 3]}),
        ({"subset_seed": [7]}, {"subset_seed": [7, 8]}),
    ],
)
def test_a_study_of_one_draw_may_get_a_second_one(
    tmp_path: Path, first: dict[str, object], grown: dict[str, object]
) -> None:
    store, specs = make_store(tmp_path, make_study(**first))
    for spec in specs:
        committed(store, spec)
    store, more = make_store(tmp_path, make_study(**grown))
    assert {s.run_id for s in specs} < {s.run_id for s in more} == {p.spec.run_id for p in store.planned()}
    found = statuses(store)
    assert {found[spec.run_id] for spec in specs} == {"complete"}
    # All share the test part of the first draw, and are averaged and compared.
    assert {spec.test_draw for spec in more} == {specs[0].subset_seed}
    comparison = Comparison(name="s", cells=store.cells())
    assert not any("test_seed" in line for line in analyse(comparison).warnings)
    make_store(tmp_path, make_study(**first))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"subset_seed": 7}, "seed of the test part: 42 -> 7"),
        ({"subset_seed": "per_seed", "seeds": [1, 2]}, "seed of the test part: 42 -> 1"),
        ({"epochs": 5}, "epochs"),
        ({"max_length": 64, "batch_size": 8}, "batch_size"),
        ({"selection": "last"}, "selection"),
        ({"strategies": {"full": None, "lora": {"rank": 16}}}, "strategy lora"),
        ({"strategies": {"full": {"kind": "lora", "dropout": 0.0}}}, "strategy full"),
        ({"strategies": {"renamed": {"kind": "lora"}}}, "lora is called renamed"),
    ],
)
def test_another_study_is_refused_before_anything_changes(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    make_store(tmp_path, make_study())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(StoreError, match=named):
        make_store(tmp_path, make_study(**changes))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_other_texts_under_the_same_name_are_refused(tmp_path: Path) -> None:
    make_store(tmp_path, make_study())
    with pytest.raises(StoreError, match="data"):
        StudyStore.check(tmp_path, make_specs(make_study(), data="c" * 32))


def test_a_folder_whose_making_was_cut_short_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    store, specs = make_store(tmp_path, make_study())
    assert len(store.cells()) == len(specs)


def test_a_plan_is_not_written_while_another_process_writes_one(tmp_path: Path) -> None:
    make_store(tmp_path, make_study())
    seen = []
    original = FileLock.acquire

    class Spy(FileLock):  # type: ignore[misc, valid-type]
        def acquire(self, *args: object, **kwargs: object) -> object:
            seen.append(Path(self.lock_file).name)
            return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunebench.store.locks.FileLock", Spy)
        make_store(tmp_path, make_study())
    assert "plan.lock" in seen


def test_what_a_killed_process_was_writing_is_removed_when_the_study_resumes(tmp_path: Path) -> None:
    study = make_study()
    planned = [PlannedRun(spec) for spec in make_specs(study)]
    folder = StudyStore.create(tmp_path, study, planned).folder
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        mine = temporary_beside(folder / "study.yaml")
        theirs = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{writer.pid}."))
        elsewhere = mine.with_name(f".study.yaml.another0.{writer.pid}.tmp")
        for path in (theirs, elsewhere):
            path.write_text("half")
        StudyStore.create(tmp_path, study, planned)
        assert theirs.exists()  # its process may still rename it
        writer.kill()
    StudyStore.create(tmp_path, study, planned)
    assert not theirs.exists()
    assert elsewhere.exists()  # of another machine, whose processes are not known here


def test_nothing_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(handle: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_run_that_nobody_else_may_read_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, specs = make_store(tmp_path, make_study())
    for spec in specs:
        committed(store, spec)
    locked, stat = store.run_folder(specs[0].run_id).path, os.stat

    def denied(path: os.PathLike[str] | str, **options: bool) -> os.stat_result:
        if Path(path).parent == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", denied)
    cells = store.cells()
    assert [cell.status for cell in cells] == ["failed", *["complete"] * (len(specs) - 1)]
    assert cells[0].note is not None and "Permission denied" in cells[0].note and locked.name in cells[0].note


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [("metric: macro_f1", "metric: their_score", "metric"), ("kind: lora", "kind: their_method", "strategy")],
)
def test_what_is_not_installed_is_named(tmp_path: Path, was: str, now: str, what: str) -> None:
    store, _ = make_store(tmp_path, make_study())
    text = store.study_file.read_text()
    assert was in text
    store.study_file.write_text(text.replace(was, now))
    with pytest.raises(StoreError, match=f"uses a {what} that is not installed here") as caught:
        store.study()
    assert caught.value.value == now.split(": ")[1] and "install" in str(caught.value)
    store.study_file.write_text(text.replace("name: fake", "name: ''"))
    with pytest.raises(StoreError, match="damaged"):
        store.study()
