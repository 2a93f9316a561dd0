"""Disks that are full, files that are damaged, clocks that go back, and several processes: nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fakes
from fakes import STEPS, make_study
from faults.commands import contents, tunebench
from thorough import thorough
from tunebench.engine import checkpoint as checkpoints
from tunebench.errors import StoreError
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.training.attempt import Attempt


class Full:
    """A disk on which the k-th write of a kind fails, and that has room again afterwards."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, number: int = errno.ENOSPC) -> None:
        self.left, self.number = at, number
        for name in ("replace", "fsync"):
            patch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real: Any) -> Any:
        def write(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **options)

        return write


def complete(folder: Path) -> list[str]:
    """Return the ids of complete runs, after checking every file of theirs and that no half is left."""
    store = StudyStore.open(folder)
    found = []
    for planned in store.planned():
        run = store.run_folder(planned.spec.run_id)
        record = run.read()
        if record is not None and record.status == "complete":
            run.verify(record)
            run.read_predictions()
            assert not list(run.path.glob(".*")), "a half-written file"
            found.append(planned.spec.run_id)
    return found


@pytest.mark.parametrize(("number", "every"), [(errno.ENOSPC, 1), (errno.EROFS, 4), (errno.EIO, 5)])
def test_a_disk_that_fails_at_any_write_costs_nothing_but_time(tmp_path: Path, number: int, every: int) -> None:
    study = make_study(strategies=["full"])
    ids = {spec.run_id for spec in fakes.make_specs(study)}
    failed = 0
    for at in range(1, 200, every):
        folder = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            full = Full(patch, at, number)
            try:
                summary = fakes.run(folder, study)
            except (OSError, StoreError):
                pass
            else:
                failed += len(summary.failed)
                assert full.left > 0 or summary.failed or set(complete(folder)) == ids
        if full.left > 0:
            break  # the study needs fewer writes than this
        again = fakes.run(folder, study)
        assert not again.failed
        assert set(complete(folder)) == ids
        # What was counted before the failure was not lost: no step but the one that failed is taken twice.
        taken = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(folder))
        assert max(taken.values()) <= 2
        assert sum(taken.values()) - len(taken) <= 1 + (at < 4)
    else:
        raise AssertionError("the number of writes was not reached")
    assert at > 2 * STEPS
    assert failed > 0


def test_a_folder_that_cannot_be_written_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        StudyStore.check(tmp_path / "file" / "new", fakes.make_specs(make_study()))
    # Where even root may not write: the check of permissions passes, and the making says it.
    with pytest.raises(StoreError, match="cannot be written"):
        fakes.make_store(Path("/proc/nothing/new"), make_study())


def test_an_error_of_the_file_system_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/report.md")

    monkeypatch.setattr("tunebench.store.study_folder.StudyStore.open", full)
    ended = tunebench("status", tmp_path)
    assert (ended.code, ended.crash) == (2, "")
    assert "No space left on device" in ended.err and "/somewhere/report.md" in ended.err


def test_four_processes_share_a_study(tmp_path: Path) -> None:
    changes = {"train_sizes": list(range(10, 20))}
    command = [sys.executable, str(Path(fakes.__file__)), str(tmp_path), "0.002", json.dumps(changes)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert len(complete(tmp_path)) == 20
    taken = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(tmp_path))
    assert set(taken.values()) == {1}
    assert len(taken) == 20 * STEPS


def test_a_clock_that_went_back_changes_nothing(tmp_path: Path) -> None:
    study = make_study()
    specs = fakes.make_specs(study)

    def fails(attempt: Attempt) -> RunRecord:
        if attempt.spec.run_id == specs[1].run_id:
            raise RuntimeError("no")
        return fakes.train(attempt)

    fakes.run(tmp_path, study, fails)
    future = 4_000_000_000  # every file comes from the year 2096
    for path in tmp_path.rglob("*"):
        os.utime(path, (future, future))
    again = fakes.run(tmp_path, study)
    assert (again.complete, len(again.skipped)) == ([specs[1].run_id], len(specs) - 1)


# Damage -----------------------------------------------------------------------------------------------------


def damaged(raw: bytes) -> dict[str, bytes]:
    """Return ways in which a file may be damaged."""
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    return {"empty": b"", "half": raw[: len(raw) // 2], "other": b"\xff" * len(raw), "deep": b"[" * 100_000} | (
        {"bit": bytes(flipped)} if raw else {}
    )


@pytest.mark.parametrize("name", ["record.json", "weights.safetensors", "predictions.npz"])
def test_a_damaged_file_of_a_run_is_found_named_set_aside_and_made_anew(tmp_path: Path, name: str) -> None:
    study = make_study(strategies=["full"], train_sizes=[10])
    fakes.run(tmp_path, study)
    store = StudyStore.open(tmp_path)
    run = store.run_folder(fakes.make_specs(study)[0].run_id)
    raw = (run.path / name).read_bytes()
    for number, (kind, content) in enumerate(damaged(raw).items(), start=1):
        (run.path / name).write_bytes(content)
        with pytest.raises(StoreError, match=name):
            record = run.read()
            assert record is not None
            run.verify(record)
        if name == "predictions.npz" and kind != "bit":
            with pytest.raises(StoreError, match=name):
                run.read_predictions()
        summary = fakes.run(tmp_path, study)
        assert (len(summary.complete), summary.failed) == (1, [])
        assert (run.path.with_name(f"{run.path.name}.damaged-{number}") / name).read_bytes() == content
        assert complete(tmp_path) == [run.path.name]


@pytest.mark.parametrize("name", ["spec.json", "failure.json", "run.log"])
def test_damage_that_costs_nothing(tmp_path: Path, name: str) -> None:
    """A spec is written again, a failure is tried again, and a log is only for people."""
    study = make_study(strategies=["full"], train_sizes=[10])
    (spec,) = fakes.make_specs(study)

    def fails(spec: Any, **arguments: Any) -> Any:
        raise RuntimeError("no")

    for content in (b"", b"{", b"\xff\xff", b"[" * 100_000):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        fakes.run(tmp_path, study, fails)
        (tmp_path / "runs" / spec.run_id / name).write_bytes(content)
        statuses = [cell.status for cell in StudyStore.open(tmp_path).cells()]
        assert statuses == ["failed"]
        assert fakes.run(tmp_path, study).complete == [spec.run_id]


def test_a_damaged_plan_is_set_aside_and_its_runs_stay(tmp_path: Path) -> None:
    more, less = make_study(seeds=[1, 2]), make_study()
    fakes.run(tmp_path, more)
    every = {spec.run_id for spec in fakes.make_specs(more)}
    raw = (tmp_path / "plan.json").read_bytes()
    wrong = json.loads(raw)
    wrong["cells"][0]["left_out"] = 3
    twice = json.loads(raw)
    twice["cells"].append(twice["cells"][0])
    damages = damaged(raw) | {"type": json.dumps(wrong).encode(), "null": b"null", "cells": b'{"cells": [3]}'}
    damages["twice"] = json.dumps(twice).encode()
    damages.pop("bit")  # one bit of JSON may well leave another valid plan
    for number, content in enumerate(damages.values(), start=1):
        (tmp_path / "plan.json").write_bytes(content)
        ended = tunebench("status", tmp_path)
        assert (ended.code, ended.crash) == (2, "") and "plan.json" in ended.err
        summary = fakes.run(tmp_path, less)
        assert summary.complete == []
        assert (tmp_path / f"plan.json.damaged-{number}").read_bytes() == content
        # Cells that the smaller study does not name are known from the runs themselves.
        assert {planned.spec.run_id for planned in StudyStore.open(tmp_path).planned()} == every
    with pytest.raises(StoreError, match="another study"):
        (tmp_path / "plan.json").write_bytes(b"")
        fakes.make_store(tmp_path, make_study(epochs=9))


@pytest.mark.parametrize("name", ["study.yaml", "audit.json"])
def test_a_damaged_file_of_a_study_is_named_by_every_command(tmp_path: Path, name: str) -> None:
    done = tmp_path / "done"
    shutil.copytree(Path(__file__).parents[2] / "docs" / "results" / "quickstart", done)
    raw = (done / name).read_bytes()
    damages = damaged(raw) | {"null": b"null", "list": b"[]", "text": b'"x"', "number": b"3"}
    damages.pop("bit")
    for kind, content in damages.items():
        (done / name).write_bytes(content)
        before = contents(done)
        # All of them read a study's files in one way.
        for command in ("results", "tables", "recommend", "report") if kind == "half" else ("results",):
            ended = tunebench(command, done)
            assert (ended.code, ended.crash) == (2, ""), ended.crash
            assert name in ended.err
        assert contents(done) == before


@pytest.mark.parametrize("times", [4, pytest.param(40, marks=thorough)])
def test_any_value_anywhere_in_the_json_files_of_a_study_gives_no_traceback(tmp_path: Path, times: int) -> None:
    done = tmp_path / "done"
    shutil.copytree(Path(__file__).parents[2] / "docs" / "results" / "quickstart", done)
    generator = random.Random(0)
    for path in (done / "plan.json", done / "audit.json", min(done.glob("runs/*/record.json"))):
        raw = path.read_text()
        for _ in range(times):
            value: Any = json.loads(raw)
            here, depth = value, generator.randint(0, 5)
            while isinstance(here, (dict, list)) and here:
                key: Any = generator.choice(list(here) if isinstance(here, dict) else range(len(here)))
                if depth == 0 or not isinstance(here[key], (dict, list)) or not here[key]:
                    here[key] = generator.choice([None, -1, "x", [], {}, 1e308, True, "../../etc/passwd"])
                    break
                here, depth = here[key], depth - 1
            path.write_text(json.dumps(value))
            for command in (("status",), ("results", "--json"), ("tables", "macro_f1", "data", "runs")):
                ended = tunebench(command[0], done, *command[1:])
                assert ended.code in (0, 2), ended.err
                assert not ended.crash, ended.crash
        path.write_text(raw)


# Checkpoints ------------------------------------------------------------------------------------------------


def save(folder: Path, step: int) -> tuple[nn.Module, Path]:
    torch.manual_seed(step)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    path = checkpoints.save_checkpoint(
        folder, step=step, model=model, optimizer=optimizer, scheduler=scheduler, state={"a": 1}, trainer_state="{}"
    )
    return model, path


def test_damage_anywhere_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    for file in ("weights", "optimizer", "random"):
        for place in (0.02, 0.3, 0.6, 0.99):
            _, path = save(tmp_path, 1)
            assert checkpoints.latest_checkpoint(tmp_path) == path
            target = path / f"{file}.safetensors"
            raw = bytearray(target.read_bytes())
            raw[int(place * len(raw))] ^= 4
            target.write_bytes(raw)
            assert checkpoints.latest_checkpoint(tmp_path) is None
            assert not path.exists()
    for file in ("state.json", "trainer_state.json", "files.json", "weights.safetensors"):
        for content in (b"", b"{", b"null", b"[]", None):
            _, path = save(tmp_path, 1)
            (path / file).unlink()
            if content is not None:
                (path / file).write_bytes(content)
            assert checkpoints.latest_checkpoint(tmp_path) is None


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_last_one(tmp_path: Path) -> None:
    _, first = save(tmp_path, 1)
    for at in range(1, 4):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space"):
            Full(patch, at)
            for _ in range(3):
                save(tmp_path, 2)
        left = checkpoints.latest_checkpoint(tmp_path)
        assert left is not None and left.name in ("step-00000001", "step-00000002")
        assert not list(tmp_path.glob(".tmp-*"))
    assert first.parent == tmp_path


def test_what_safetensors_cannot_write_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"w\.safetensors"):
        checkpoints.save_weights(tmp_path / "nowhere" / "w.safetensors", nn.Linear(2, 2))


def test_damaged_best_weights_are_found(tmp_path: Path) -> None:
    path, model = tmp_path / "best.safetensors", nn.Linear(64, 64)
    checkpoints.save_weights(path, model, checked=True)
    assert checkpoints.is_sound(path)
    checkpoints.load_weights(path, model)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert not checkpoints.is_sound(path)
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load_weights(path, model)
    path.unlink()
    assert not checkpoints.is_sound(path)
