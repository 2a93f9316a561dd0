"""The state of a study as it is read from its folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_record
from tunebench.analysis.log_history import LoggedSeries
from tunebench.errors import StoreError
from tunebench.web.watching.run import LOG_BYTES, LOG_LINES, POINTS, describe_run, log_tail, thin
from tunebench.web.watching.study import WatchedStudy
from web.watching.studies import advance, complete, every_state, fail, finished, make_specs, make_store, rewrite


def states(study: WatchedStudy) -> dict[str, str]:
    return {row["id"]: row["state"] for row in study.state()["runs"]}


def test_every_state_is_told_with_its_reason(tmp_path: Path) -> None:
    store, specs = every_state(tmp_path)
    study = WatchedStudy(tmp_path, pause=0)
    with store.locked(specs["running"].run_id):
        rows = {row["id"]: row for row in study.state()["runs"]}
    found = {name: rows[spec.run_id] for name, spec in specs.items()}
    assert {name: row["state"] for name, row in found.items()} == {
        name: {"script": "failed", "resumable": "pending"}.get(name, name) for name in specs
    }
    assert found["failed"]["reason"] == "Error: the loss is not finite"
    assert "9.1 GiB" in found["out_of_memory"]["reason"]
    assert "budget" in found["left_out"]["reason"]
    assert (found["resumable"]["resumable"], found["pending"]["resumable"]) == (True, False)
    running = found["running"]
    assert (running["train_step"], running["train_total"], running["phase"]) == (40, 100, "train")
    assert running["loss"] == pytest.approx(0.5) and running["texts_per_second"] > 0
    assert list(rows) == study.state()["order"] == [spec.run_id for spec in specs.values()]


def test_imported_runs_are_called_so() -> None:
    import tempfile

    from tunebench.store.imported import ImportedRun, ImportedStudy
    from tunebench.store.study_folder import StudyStore

    spec = ImportedRun(label="theirs", train_size=500, content="c" * 64)
    record = make_record(make_specs(1)[0]).model_copy(update={"spec": spec, "run_id": spec.run_id, "files": {}})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        StudyStore.create_imported(folder, ImportedStudy(name="theirs"), [(record, None)])
        study = WatchedStudy(folder)
        (row,) = study.state()["runs"]
        assert (row["state"], row["rate"], row["texts_per_second"]) == ("imported", None, None)
        found = study.planned(spec.run_id)
        assert found is not None
        assert describe_run(*found)["curves"]["loss"]["value"]


def test_only_what_changed_is_told(tmp_path: Path) -> None:
    specs = make_specs(5)
    store = make_store(tmp_path, specs)
    study = WatchedStudy(tmp_path, pause=0)
    first = study.state()
    assert (first["whole"], len(first["runs"])) == (True, 5)
    nothing = study.state(first["version"])
    assert (nothing["whole"], nothing["runs"], nothing["version"]) == (False, [], first["version"])
    complete(store, specs[2])
    second = study.state(first["version"])
    assert [row["id"] for row in second["runs"]] == [specs[2].run_id]
    assert second["counts"] == {"pending": 4, "complete": 1}
    # One who missed both is told both.
    fail(store, specs[0], "broken")
    assert {row["id"] for row in study.state(first["version"])["runs"]} == {specs[0].run_id, specs[2].run_id}
    for odd in ("", "x", "0-0", f"other-{10**30}", first["version"].replace("-", ""), "-"):
        assert study.state(odd)["whole"]


def test_a_plan_that_grows_is_told_whole(tmp_path: Path) -> None:
    specs = make_specs(4)
    make_store(tmp_path, specs[:2])
    study = WatchedStudy(tmp_path, pause=0)
    version = study.state()["version"]
    make_store(tmp_path, specs)
    found = study.state(version)
    assert found["whole"] and found["order"] == [spec.run_id for spec in specs]


def test_a_run_goes_through_its_states(tmp_path: Path) -> None:
    (spec,) = make_specs(1)
    store = make_store(tmp_path, [spec])
    study = WatchedStudy(tmp_path, pause=0)
    seen = [states(study)[spec.run_id]]
    with store.locked(spec.run_id):
        store.run_folder(spec.run_id).begin(spec)
        seen.append(states(study)[spec.run_id])
        fail(store, spec, "broken")
        seen.append(states(study)[spec.run_id])
    seen.append(states(study)[spec.run_id])
    complete(store, spec)
    seen.append(states(study)[spec.run_id])
    assert seen == ["pending", "running", "running", "failed", "complete"]


def test_nothing_grows_while_a_tab_stays_open(tmp_path: Path) -> None:
    specs = make_specs(3)
    store = make_store(tmp_path, specs)
    study = WatchedStudy(tmp_path, pause=0)
    version, sizes = study.state()["version"], set()
    with store.locked(specs[0].run_id):
        for step in range(1, 60):
            advance(store, specs[0], step)
            answer = study.state(version)
            version = answer["version"]
            sizes.add(len(answer["runs"]))
    assert sizes == {1}
    assert len(study._known) == 3


def test_what_is_gone_for_a_moment_is_no_crash(tmp_path: Path) -> None:
    store, specs = every_state(tmp_path / "study")
    study = WatchedStudy(tmp_path / "study", pause=0)
    before = study.state()
    plan = store.plan_file.read_bytes()
    rewrite(store.plan_file, plan[:100])
    during = study.state()
    assert during["problem"] and during["runs"] == before["runs"]
    rewrite(store.plan_file, plan)
    assert study.state()["problem"] is None
    shutil.rmtree(tmp_path / "study")
    gone = study.state()
    assert gone["problem"] and len(gone["runs"]) == len(specs)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study"):
        WatchedStudy(tmp_path)


def test_time_left_is_that_of_the_plan_scaled_by_what_ended(tmp_path: Path) -> None:
    specs = make_specs(6)
    store = make_store(tmp_path, specs)  # 100 s each, by the plan
    study = WatchedStudy(tmp_path, pause=0)
    assert study.state()["left_seconds"] == 600
    for spec in specs[:2]:
        timing = make_record(spec).timing
        assert timing is not None
        complete(store, spec, timing=timing.model_copy(update={"wall_seconds": 300.0}))
    assert study.state()["left_seconds"] == 4 * 300
    # A run at a step of 0 of its own pace: as planned. Two at a time take half as long.
    with store.locked(specs[2].run_id), store.locked(specs[3].run_id):
        assert study.state()["left_seconds"] == 4 * 300 / 2
    for spec in specs[2:]:
        complete(store, spec)
    assert study.state()["left_seconds"] == 0


def test_time_left_without_estimates_goes_by_texts_and_epochs(tmp_path: Path) -> None:
    specs = make_specs(4)  # sizes 1,000, 1,000, 2,000, 2,000
    store = make_store(tmp_path, specs)
    raw = json.loads(store.plan_file.read_text())
    for cell in raw["cells"]:
        del cell["seconds"]  # as older versions wrote it
    store.plan_file.write_text(json.dumps(raw))
    study = WatchedStudy(tmp_path, pause=0)
    assert study.state()["left_seconds"] is None
    timing = make_record(specs[0]).timing
    assert timing is not None
    complete(store, specs[0], timing=timing.model_copy(update={"wall_seconds": 120.0}))
    assert study.state()["left_seconds"] == 120 + 240 + 240


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3_000),
    st.integers(4, 500),
)
def test_thinning_keeps_ends_and_extremes(values: list[float], points: int) -> None:
    y = np.array(values)
    found = thin(LoggedSeries(np.arange(len(y)), np.arange(len(y)) / 7, y), points)
    assert len(found) <= max(points, 0)
    assert (found.values.min(), found.values.max()) == (y.min(), y.max())
    assert (found.steps[0], found.steps[-1]) == (0, len(y) - 1)
    assert (np.diff(found.steps) > 0).all()
    assert (found.values == y[found.steps]).all() and np.array_equal(found.epochs, found.steps / 7)


def test_curves_and_logs_of_any_length_stay_small(tmp_path: Path) -> None:
    specs = make_specs(1)
    store = make_store(tmp_path, specs)
    history = [{"step": i, "epoch": i / 1e3, "loss": i % 7 + 0.5} for i in range(1, 50_001)]
    complete(store, specs[0], log_history=history)
    log = store.run_folder(specs[0].run_id).log
    log.write_text("".join(f"line {i} of this log\n" for i in range(100_000)))
    found = WatchedStudy(tmp_path).planned(specs[0].run_id)
    assert found is not None
    run = describe_run(*found)
    assert len(run["curves"]["loss"]["value"]) <= POINTS
    assert len(run["log"]) == LOG_LINES and run["log"][-1] == "line 99999 of this log"
    log.write_text("x" * 10 * LOG_BYTES + "\nlast\n")
    assert log_tail(log) == ["last"]
    log.write_bytes(b"\xff\xfe half a \xe2\x82")
    assert len(log_tail(log)) == 1
    log.unlink()
    assert log_tail(log) == []


def test_records_that_did_not_change_are_not_read_again(tmp_path: Path) -> None:
    finished(tmp_path, 200)
    study = WatchedStudy(tmp_path, pause=0)
    version = study.state()["version"]
    for path in tmp_path.rglob("record.json"):
        # Same size, same time: were it read again, it would be damaged.
        at = path.stat()
        path.write_bytes(b"x" * at.st_size)
        os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert study.state(version)["runs"] == []
