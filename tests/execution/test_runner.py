from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fakes
from fakes import STEPS, make_study, steps_taken
from tunebench.errors import StoreError
from tunebench.execution.display import PlainDisplay
from tunebench.execution.live_view import LiveView
from tunebench.execution.runner import Job
from tunebench.execution.signals import STOP_SIGNALS, stop_on_signals
from tunebench.store.live import Progress
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.training.attempt import Attempt


def start(folder: Path, seconds: float, **changes: Any) -> subprocess.Popen[bytes]:
    """Run a study of fake runs in a process of its own."""
    here = Path(fakes.__file__)
    command = [sys.executable, str(here), str(folder), str(seconds), json.dumps(changes)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_steps(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not (folder / "steps.txt").exists() or len(steps_taken(folder)) < count:
        assert time.monotonic() < deadline, "the process took no steps"
        time.sleep(0.02)


def statuses(folder: Path) -> list[str]:
    return [cell.status for cell in StudyStore.open(folder).cells()]


def test_everything_runs_once_and_is_then_skipped(tmp_path: Path) -> None:
    study = make_study()
    first = fakes.run(tmp_path, study)
    assert (len(first.complete), first.skipped, first.failed, first.interrupted) == (4, [], [], False)
    before = steps_taken(tmp_path)
    second = fakes.run(tmp_path, study)
    assert (second.complete, len(second.skipped)) == ([], 4)
    assert steps_taken(tmp_path) == before
    assert set(statuses(tmp_path)) == {"complete"}
    logs = [p.read_text() for p in tmp_path.glob("runs/*/run.log")]
    assert all("started" in log and "complete" in log for log in logs)


def test_a_kill_in_the_middle_loses_no_checkpoint_and_no_lock(tmp_path: Path) -> None:
    process = start(tmp_path, 0.15)
    try:
        wait_for_steps(tmp_path, STEPS + 3)  # inside the second run
        assert "running" in statuses(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "running" not in statuses(tmp_path)
    assert statuses(tmp_path).count("complete") == 1
    assert list(tmp_path.glob("runs/*/.half-written.*.tmp"))
    summary = fakes.run(tmp_path, make_study())
    assert (len(summary.complete), len(summary.skipped)) == (3, 1)
    assert set(statuses(tmp_path)) == {"complete"}
    # Resumed, not begun again: of all steps, at most the one that was killed is taken twice.
    taken = Counter((run_id, step) for run_id, step, _ in steps_taken(tmp_path))
    assert set(taken) == {
        (c.spec.run_id, s) for c in StudyStore.open(tmp_path).cells() for s in range(1, STEPS + 1)
    }
    assert sum(taken.values()) - len(taken) <= 1
    assert not list(tmp_path.glob("runs/*/.half-written.*.tmp"))
    for cell in StudyStore.open(tmp_path).cells():
        assert cell.record is not None
        StudyStore.open(tmp_path).run_folder(cell.spec.run_id).verify(cell.record)


def test_two_processes_share_the_work_and_repeat_none_of_it(tmp_path: Path) -> None:
    changes = {"train_sizes": list(range(10, 20))}  # 20 cells
    processes = [start(tmp_path, 0.01, **changes) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert statuses(tmp_path) == ["complete"] * 20
    taken = steps_taken(tmp_path)
    assert set(Counter((run_id, step) for run_id, step, _ in taken).values()) == {1}
    assert len(taken) == 20 * STEPS
    assert {process for _, _, process in taken} == {p.pid for p in processes}


def test_the_run_of_a_process_that_dies_is_taken_over(tmp_path: Path) -> None:
    changes = {"strategies": ["full"], "train_sizes": [10]}
    dying = start(tmp_path, 0.3, **changes)
    wait_for_steps(tmp_path, 2)
    waiting = start(tmp_path, 0.0, **changes)
    try:
        time.sleep(0.5)
        assert waiting.poll() is None  # it waits for the run that is held elsewhere
    finally:
        dying.send_signal(signal.SIGKILL)
        dying.wait()
    assert waiting.wait(timeout=30) == 0
    assert statuses(tmp_path) == ["complete"]
    assert {process for _, _, process in steps_taken(tmp_path)} == {dying.pid, waiting.pid}


def test_waiting_for_another_process_is_said_once(tmp_path: Path) -> None:
    study, stream = make_study(), io.StringIO()
    store, specs = fakes.make_store(tmp_path, study)
    asked = iter([False] * 30 + [True] * 10)
    with store.locked(specs[0].run_id), store.locked(specs[2].run_id):
        summary = fakes.run(tmp_path, study, stream=stream, stop=lambda: next(asked))
    assert summary.interrupted and len(summary.complete) == 2
    assert stream.getvalue().count("waiting for 2 runs that another process trains") == 1
    stream.seek(0)
    fakes.run(tmp_path, study, stream=stream)
    assert stream.getvalue().count("waiting") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_saves_a_checkpoint_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, 0.1)
    wait_for_steps(tmp_path, 2)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    taken = len(steps_taken(tmp_path))
    assert taken < STEPS
    assert list(tmp_path.glob("runs/*/checkpoint/state.json"))
    assert statuses(tmp_path).count("pending") == 4
    fakes.run(tmp_path, make_study())
    assert len(steps_taken(tmp_path)) == 4 * STEPS  # not one step twice


def test_a_deadline_stops_a_run_with_a_checkpoint_once_another_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fakes.run(tmp_path, make_study(), deadline=0.0)
    assert first.out_of_time and not first.interrupted
    assert (len(first.complete), len(steps_taken(tmp_path))) == (1, STEPS)
    asked = iter([False, False, False])
    with monkeypatch.context() as patched:
        patched.setattr(Job, "out_of_time", lambda self: next(asked, True))
        second = fakes.run(tmp_path, make_study())
    assert second.out_of_time and not second.interrupted and not second.complete
    assert STEPS < len(steps_taken(tmp_path)) < 2 * STEPS
    assert list(tmp_path.glob("runs/*/checkpoint/state.json"))
    fakes.run(tmp_path, make_study())
    assert len(steps_taken(tmp_path)) == 4 * STEPS  # not one step twice


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal says here that it closes")
def test_a_terminal_that_closes_has_a_checkpoint_saved(tmp_path: Path) -> None:
    process, terminal = fakes.on_a_terminal(fakes.__file__, str(tmp_path), "0.1", "{}")
    try:
        wait_for_steps(tmp_path, 2)
    finally:
        os.close(terminal)
    assert process.wait(timeout=30) == 130
    assert len(steps_taken(tmp_path)) < STEPS
    assert statuses(tmp_path).count("pending") == 4
    fakes.run(tmp_path, make_study())
    assert len(steps_taken(tmp_path)) == 4 * STEPS  # not one step twice


class _Closed(io.StringIO):
    """A terminal that closed a moment ago."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("kind", [PlainDisplay, LiveView])
def test_no_run_fails_because_nobody_reads_how_it_goes(
    kind: type[PlainDisplay] | type[LiveView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", _Closed())
    monkeypatch.setattr(fakes, "PlainDisplay", lambda stream, interval: kind())
    summary = fakes.run(tmp_path, make_study())
    assert len(summary.complete) == 4 and not summary.failed


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal says here that it closes")
def test_under_nohup_the_terminal_may_close() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(PlainDisplay(io.StringIO())) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_at_the_end_of_the_last_run_is_heard_too(tmp_path: Path) -> None:
    def train(attempt: Attempt) -> RunRecord:
        record = fakes.train(attempt)
        if attempt.spec.run_id == last:
            signal.raise_signal(signal.SIGINT)
        return record

    study = make_study()
    last = fakes.make_specs(study)[-1].run_id
    summary = fakes.run(tmp_path, study, train)
    assert summary.interrupted and len(summary.complete) == 4


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, 20.0)
    wait_for_steps(tmp_path, 1)
    begun = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert process.wait(timeout=15) == 130
    assert time.monotonic() - begun < 10
    assert set(statuses(tmp_path)) == {"pending"}


def test_signals_have_their_own_handlers_again_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(n) for n in STOP_SIGNALS]
    fakes.run(tmp_path, make_study())
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == before


def test_a_signal_in_the_middle_of_a_message_is_heard_and_said() -> None:
    lock, said = threading.Lock(), []

    class Locking(PlainDisplay):
        def message(self, line: str) -> None:
            assert lock.acquire(timeout=5)
            said.append(line)
            lock.release()

    with stop_on_signals(Locking()) as stop:
        with lock:
            signal.raise_signal(signal.SIGTERM)
            assert stop() and not said
        # At once, not when somebody asks next: a user who hears nothing would press it again.
        deadline = time.monotonic() + 5
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ["stopping" in line for line in said] == [True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert len(said) == 1


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "out_of_memory"),
        (OutOfMemoryError("CUDA"), "out_of_memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you"),
            "out_of_memory",
        ),
        (RuntimeError("MPS backend out of memory"), "out_of_memory"),
        (RuntimeError("shapes differ"), "failed"),
        (ValueError("how to run out of memory"), "failed"),
        (ValueError(), "failed"),
    ],
)
def test_a_failure_is_a_record_and_the_grid_goes_on(tmp_path: Path, error: Exception, status: str) -> None:
    study = make_study()
    bad = fakes.make_specs(study)[1].run_id

    def train(attempt: Attempt) -> RunRecord:
        if attempt.spec.run_id == bad:
            raise error
        return fakes.train(attempt)

    summary = fakes.run(tmp_path, study, train)
    assert (summary.failed, len(summary.complete)) == ([bad], 3)
    cell = next(c for c in StudyStore.open(tmp_path).cells() if c.spec.run_id == bad)
    assert cell.status == status
    assert cell.record is not None
    assert cell.record.error is not None
    assert cell.record.error.type == type(error).__name__
    assert cell.record.error.message  # also where the exception has no text
    assert "in train" in cell.record.error.traceback
    assert cell.record.environment.threads >= 1
    assert cell.record.environment.versions["python"]
    # The next start tries it again, and only it.
    again = fakes.run(tmp_path, study)
    assert (again.complete, len(again.skipped), again.failed) == ([bad], 3, [])


def test_what_another_process_saw_fail_meanwhile_is_not_tried_again(tmp_path: Path) -> None:
    study = make_study(strategies=["full"], train_sizes=[10, 20])
    first, second = fakes.make_specs(study)
    tried = []

    def fail(attempt: Attempt) -> RunRecord:
        tried.append(attempt.spec.run_id)
        raise RuntimeError("no")

    def meanwhile(attempt: Attempt) -> RunRecord:
        if attempt.spec.run_id == first.run_id:
            store = StudyStore.open(tmp_path)
            folder = store.run_folder(second.run_id)
            folder.begin(second)
            folder.fail(fakes.make_record(second, folder, status="failed"))
            return fakes.train(attempt)
        return fail(attempt)

    summary = fakes.run(tmp_path, study, meanwhile)
    assert (summary.complete, summary.failed, tried) == ([first.run_id], [second.run_id], [])


def test_a_damaged_run_is_set_aside_and_done_again(tmp_path: Path) -> None:
    study = make_study()
    fakes.run(tmp_path, study)
    victim, sound = (StudyStore.open(tmp_path).run_folder(s.run_id) for s in fakes.make_specs(study)[:2])
    victim.weights.write_bytes(b"other bytes")
    untouched = sound.record.stat().st_mtime_ns
    stream = io.StringIO()
    summary = fakes.run(tmp_path, study, stream=stream)
    assert (summary.complete, len(summary.skipped)) == ([victim.path.name], 3)
    assert "weights.safetensors" in stream.getvalue()
    aside = victim.path.with_name(victim.path.name + ".damaged-1")
    assert (aside / "weights.safetensors").read_bytes() == b"other bytes"
    assert sound.record.stat().st_mtime_ns == untouched
    record = victim.read()
    assert record is not None
    victim.verify(record)
    assert statuses(tmp_path) == ["complete"] * 4  # what was set aside is no cell


def test_a_damaged_run_is_left_alone_while_another_process_holds_it(tmp_path: Path) -> None:
    study = make_study(strategies=["full"], train_sizes=[10])
    fakes.run(tmp_path, study)
    store = StudyStore.open(tmp_path)
    (spec,) = fakes.make_specs(study)
    folder = store.run_folder(spec.run_id)
    folder.weights.write_bytes(b"other bytes")
    with store.locked(spec.run_id):
        process = start(tmp_path, 0.0, strategies=["full"], train_sizes=[10])
        time.sleep(2.0)
        assert folder.path.exists()
        assert process.poll() is None
    assert process.wait(timeout=30) == 0
    assert len(list(tmp_path.glob("runs/*.damaged-*"))) == 1


def test_what_a_kill_right_after_the_commit_left_is_removed(tmp_path: Path) -> None:
    study = make_study()
    fakes.run(tmp_path, study)
    folder = StudyStore.open(tmp_path).run_folder(fakes.make_specs(study)[0].run_id)
    folder.checkpoint.mkdir()
    folder.best.at(3).write_bytes(b"best")
    (folder.path / "best.safetensors").write_bytes(b"of an older version")
    fakes.run(tmp_path, study)
    assert not folder.checkpoint.exists()
    assert not folder.best.present()


def test_a_folder_that_is_moved_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    study = make_study()

    def train(attempt: Attempt) -> RunRecord:
        record = fakes.train(attempt)
        if attempt.spec.run_id == specs[1].run_id:
            os.rename(old, new)
        return record

    specs = fakes.make_specs(study)
    with pytest.raises(StoreError, match="no longer there"):
        fakes.run(old, study, train)
    assert not old.exists()
    assert len(fakes.run(new, study).skipped) == 1


def test_a_record_of_the_wrong_run_fails_that_run(tmp_path: Path) -> None:
    study = make_study(strategies=["full"])
    specs = fakes.make_specs(study)

    def mixed_up(attempt: Attempt) -> RunRecord:
        return fakes.train(attempt).model_copy(update={"run_id": specs[0].run_id})

    summary = fakes.run(tmp_path, study, mixed_up)
    assert (summary.complete, summary.failed) == ([specs[0].run_id], [specs[1].run_id])
    failed = StudyStore.open(tmp_path).run_folder(specs[1].run_id).read()
    assert failed is not None
    assert failed.error is not None
    assert failed.error.type == StoreError.__name__


def test_plain_lines_are_few_and_say_how_it_went() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, interval=1000.0)
    display.start({"run-0123456789abcdef": 90.0})
    for step in range(500):
        display.update(Progress("run-0123456789abcdef", "train", step, 500, 0.25, 0.75))
    display.finish("run-0123456789abcdef", "run: macro F1 0.9")
    display.stop()
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 3
    assert lines[0].startswith("1 run to do")
    assert "macro F1 0.9" in lines[-1]


def test_the_chosen_rates_after_a_search_are_counted_from_one() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, interval=0.0)
    for names in (("a-0", "b-0", "c-0"), ("d-0", "e-0")):
        display.start(dict.fromkeys(names, 1.0))
        for name in names:
            display.update(Progress(name, "train", 1, 2, None, None))
            display.finish(name, name)
        display.stop()
    assert "[3/3] c-0" in stream.getvalue() and "[2/2] e-0" in stream.getvalue()
