"""The time left of a plan, on a clock that the test sets."""

from __future__ import annotations

import pytest

from tunebench.execution.time_left import TimeLeft
from tunebench.store.live import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("tunebench.execution.time_left.time.monotonic", lambda: found.now)
    return found


def at(run_id: str, step: int = 0, phase: str = "train") -> Progress:
    return Progress(run_id, phase, step, 100 if phase == "train" else 0, None, None)  # type: ignore[arg-type]


def test_estimates_are_scaled_by_what_runs_took(clock: Clock) -> None:
    left = TimeLeft({"a": 10.0, "b": 20.0, "c": 30.0})
    assert left.seconds() == 60
    left.see(at("a", phase="prepare"))
    clock.now = 4.0
    assert left.seconds() == 56
    clock.now = 20.0  # twice as long as estimated
    left.end("a")
    assert left.seconds() == pytest.approx(2 * (20 + 30))
    left.see(at("b", phase="prepare"))
    clock.now = 300.0  # a run of which nothing is heard takes no time from the others
    assert left.seconds() == pytest.approx(60)


def test_a_run_is_timed_by_its_own_steps(clock: Clock) -> None:
    left = TimeLeft({"a": 10.0})
    left.see(at("a", 0))
    clock.now = 40.0
    left.see(at("a", 20))
    assert left.seconds() == pytest.approx(160)  # not none, though four times the estimate is gone
    clock.now = 50.0
    assert left.seconds() == pytest.approx(150)


def test_steps_of_an_earlier_attempt_took_no_time_of_this_one(clock: Clock) -> None:
    left = TimeLeft({"a": 10.0})
    left.see(at("a", 50))
    clock.now = 10.0
    left.see(at("a", 60))
    assert left.seconds() == pytest.approx(40)


def test_a_run_that_stopped_early_was_not_fast(clock: Clock) -> None:
    left = TimeLeft({"a": 100.0, "b": 100.0})
    left.see(at("a", 0))
    clock.now = 25.0
    left.see(at("a", 25))
    left.end("a")
    assert left.seconds() == pytest.approx(100)


def test_runs_that_begin_together_share_what_is_left_before_they_begin(clock: Clock) -> None:
    left = TimeLeft({"a": 10.0, "b": 10.0, "c": 10.0, "d": 10.0}, 2)
    assert left.seconds() == 20
    left.see(at("a", 0))
    assert left.seconds() == 20
    for run_id in "abc":
        left.end(run_id)
    assert left.seconds() == 10  # the last one has nobody to share with


def test_runs_at_the_same_time_share_what_is_left(clock: Clock) -> None:
    left = TimeLeft({"a": 10.0, "b": 10.0, "c": 10.0, "d": 50.0})
    left.see(at("a", 0))
    left.see(at("b", 0))
    assert left.seconds() == pytest.approx(40)
    left.see(at("d", 0))
    left.end("a")
    left.end("b")
    assert left.seconds() == pytest.approx(60)  # no part of a run is shared
