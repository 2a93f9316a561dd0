"""The peak rate and schedule of logged rates: told where they follow, by transformers' own schedules, else not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from tunebench.importing.schedule import derive_schedule

NAMES = ["linear", "cosine", "constant_with_warmup"]


def logged(
    name: str, total: int, warmup: int, every: int, *, peak: float = 3e-5, shift: int = 0
) -> list[tuple[int, float]]:
    """The rates that a Trainer logs, as transformers computes them; older versions logged a step's own rate."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=peak)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = [schedule.get_last_lr()[0]]
    for _ in range(total):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return [(step, rates[step - shift]) for step in range(every, total + 1, every)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [0, 1])
@settings(deadline=None, max_examples=25)
@given(total=st.integers(12, 120), share=st.sampled_from([0.0, 0.1, 0.3]), every=st.integers(1, 12), data=st.data())
def test_what_is_told_is_what_was_scheduled(
    name: str, shift: int, total: int, share: float, every: int, data: st.DataObject
) -> None:
    warmup, peak = int(share * total), data.draw(st.sampled_from([5e-5, 1e-4, 2.5e-5]))
    points = logged(name, total, warmup, every, peak=peak, shift=shift)
    for known in (None, warmup):
        found = derive_schedule(points, total, warmup=known)
        if found is not None:
            assert found.peak == pytest.approx(peak, rel=1e-5), (name, total, warmup, every, shift, known)
            assert found.schedule == name.removesuffix("_with_warmup")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_with_the_warm_up_that_is_logged_and_not_without(name: str) -> None:
    found = derive_schedule(logged(name, 100, 20, 5), 100)
    assert found is not None and (found.warmup, found.peak) == (20, pytest.approx(3e-5))
    assert "3e-05" in found.sentence and "after 20 steps of warm-up" in found.sentence
    none = derive_schedule(logged(name, 469, 0, 10), 469)
    assert none is not None and none.peak == pytest.approx(3e-5) and "no warm-up in the log" in none.sentence
    assert none.only_round == (name == "linear")
    # Of a line, only this warm-up has a round peak.
    hidden = derive_schedule(logged(name, 100, 15, 20), 100)
    assert hidden is not None and hidden.peak == pytest.approx(3e-5)


def test_a_line_that_several_round_peaks_explain_tells_no_rate() -> None:
    """Steps 5 to 55 fall from 1e-4 to 0; so do steps 0 to 55 from 1.1e-4, and the log begins at step 7."""
    points = logged("linear", 55, 5, 7, peak=1e-4)
    assert derive_schedule(points, 55) is None
    known = derive_schedule(points, 55, warmup=5)
    assert known is not None and known.peak == pytest.approx(1e-4)


def test_too_few_rates_and_rates_of_another_schedule_tell_nothing() -> None:
    points = logged("linear", 100, 0, 10)
    assert derive_schedule(points[:2], 100) is None
    assert derive_schedule(points, None) is None, "the length of the schedule is not known"
    assert derive_schedule(points, 150) is None
    assert derive_schedule([(step, rate * 1.001 if step == 50 else rate) for step, rate in points], 100) is None
    assert derive_schedule([(step, 1e-4 / math.sqrt(step)) for step in range(10, 100, 10)], 100) is None
    assert derive_schedule([(10, 0.0), (20, 0.0), (30, 0.0)], 100) is None
