"""Which of two strategies is cheaper, on one data set and over several."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.analysis import costs
from tunebench.analysis.cost_noise import Noise, Times, dearer_on_average, noise_of
from tunebench.analysis.costs import cheapest

NOISE = Noise(sd=0.05, df=8, repeated=True)


def times(*values: float, shared: bool = False) -> Times:
    return Times(values, shared)


def test_a_tie_on_each_data_set_may_be_none_over_many() -> None:
    case = (NOISE, times(10.8), times(10.0))
    assert not NOISE.dearer(*case[1:]) and not dearer_on_average([case])
    assert dearer_on_average([case] * 6)
    # What is dearer here and cheaper there is a tie.
    assert not dearer_on_average([(NOISE, times(20.0), times(10.0)), (NOISE, times(10.0), times(20.0))])
    # Times of runs that shared the machine say less.
    assert not dearer_on_average([(NOISE, times(10.8, shared=True), times(10.0, shared=True))] * 6)


def test_a_time_of_nothing_is_compared_as_it_is() -> None:
    assert NOISE.dearer(times(1.0), times(0.0)) and not NOISE.dearer(times(0.0), times(1.0))


def test_the_cheapest_data_sets_are_all_that_are_not_shown_to_cost_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Made:
        """Stands for an entry, its configuration and its runs."""

        def __init__(self, *values: float) -> None:
            self.values, self.config = values, self

    monkeypatch.setattr(costs, "times_of", lambda config, columns: times(*config.values))
    monkeypatch.setattr(costs, "cost_of", lambda entry, kind: sum(entry.values) / len(entry.values))
    data_sets: list[Any] = [
        {"full": Made(15.0, 15.3), "lora": Made(10.0, 10.2), "lora-r2": Made(10.1, 10.3)},
        {"full": Made(31.0, 30.0), "lora": Made(20.4, 20.1), "lora-r2": Made(20.6, 20.2)},
    ]
    assert cheapest(["full", "lora", "lora-r2"], "train_seconds", data_sets) == ["lora", "lora-r2"]
    assert cheapest(["full", "lora-r2"], "train_seconds", data_sets) == ["lora-r2"]
    # Sizes do not vary from run to run: the smallest alone.
    assert cheapest(["full", "lora", "lora-r2"], "artifact_bytes", data_sets) == ["lora"]
    assert noise_of([times(10.0, 10.2)]).repeated
