"""Which of two strategies is cheaper, on one data set and over several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy

from factories import HONEST, compare, make_cell, with_predictions
from tunebench.analysis import costs
from tunebench.analysis.analysis import analyse
from tunebench.analysis.cost_noise import Measured, Noise, dearer_on_average, noise_of
from tunebench.analysis.costs import cheapest, cost_interval, fronts

NOISE = Noise(sd=0.05, df=8, repeated=True)


def times(*values: float, shared: bool = False) -> Measured:
    return Measured(values, shared)


def test_a_tie_on_each_data_set_may_be_none_over_many() -> None:
    case = (NOISE, times(10.8), times(10.0))
    assert not dearer_on_average([case])
    assert dearer_on_average([case] * 6)
    # What is dearer here and cheaper there is a tie.
    assert not dearer_on_average([(NOISE, times(20.0), times(10.0)), (NOISE, times(10.0), times(20.0))])
    # Times of runs that shared the machine say less.
    assert not dearer_on_average([(NOISE, times(10.8, shared=True), times(10.0, shared=True))] * 6)


def test_a_time_of_nothing_is_compared_as_it_is() -> None:
    assert dearer_on_average([(NOISE, times(1.0), times(0.0))])
    assert not dearer_on_average([(NOISE, times(0.0), times(1.0))])


def test_the_cheapest_over_data_sets_are_all_that_are_not_shown_to_cost_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Made:
        """Stands for an entry, its configuration and its runs."""

        def __init__(self, *values: float) -> None:
            self.values, self.config, self.cells = values, self, self

    monkeypatch.setattr(costs, "configurations_of", lambda cells: [cells])
    monkeypatch.setattr(costs, "measured_of", lambda config, columns, timed: times(*config.values))
    monkeypatch.setattr(costs, "cost_of", lambda entry, kind: sum(entry.values) / len(entry.values))
    data_sets: list[Any] = [
        {"full": Made(15.0, 15.3), "lora": Made(10.0, 10.2), "lora-r2": Made(10.1, 10.3)},
        {"full": Made(31.0, 30.0), "lora": Made(20.4, 20.1), "lora-r2": Made(20.6, 20.2)},
    ]
    assert cheapest(["full", "lora", "lora-r2"], "train_seconds", data_sets) == ["lora", "lora-r2"]
    assert cheapest(["full", "lora-r2"], "train_seconds", data_sets) == ["lora-r2"]
    # Sizes do not vary from run to run: the smallest alone.
    assert cheapest(["full", "lora", "lora-r2"], "artifact_bytes", data_sets) == ["lora"]
    assert noise_of([times(10.0, 10.2)], 0.05).repeated


@pytest.mark.parametrize("measured", [times(10.0, 10.4, 9.9), replace(times(10.0, 30.0, 20.0, 20.0), chosen=True)])
def test_costs_are_drawn_from_the_distribution_of_their_interval(measured: Measured) -> None:
    interval = NOISE.interval(measured)
    drawn = np.quantile(NOISE.draw(measured, 40_000, np.random.default_rng(0)), [0.025, 0.5, 0.975])
    assert interval is not None
    assert drawn == pytest.approx([interval.low, interval.estimate, interval.high], rel=0.01)


def test_two_seeds_that_chose_unlike_settings_draw_no_cost_without_an_end() -> None:
    two = replace(times(10.0, 30.0), chosen=True)
    with np.errstate(all="raise"):
        drawn = NOISE.draw(two, 40_000, np.random.default_rng(0))
    assert np.isfinite(drawn).all() and drawn.min() == 0.0


def test_peak_memory_has_an_interval_and_a_tie_of_costs_is_no_sure_front() -> None:
    rng, cells = np.random.default_rng(0), []
    for label, most in (("full", 3.00e9), ("lora", 3.02e9)):
        for seed in (1, 2, 3):
            cell = with_predictions(make_cell(label, seed=seed), rng.random(400) < 0.1)
            assert cell.record is not None and cell.record.cost is not None
            cost = cell.record.cost.model_copy(update={"peak_memory_bytes": int(most * (1 + seed / 50))})
            cells.append(replace(cell, record=cell.record.model_copy(update={"cost": cost})))
    entries = analyse(compare(cells)).entries
    found = cost_interval(entries[0], "peak_memory_bytes", entries)
    assert found is not None and found.low < 3.12e9 < found.high
    assert found.estimate == pytest.approx(3.12e9)
    shares = [point.share for point in fronts(entries)["peak_memory_bytes"]]
    assert all(share is not None and 0.2 < share < 1 for share in shares)


def test_the_cost_of_settings_that_seeds_chose_varies_with_the_choice() -> None:
    rng, cells = np.random.default_rng(0), []
    for seed, rate, seconds in ((1, 1e-4, 10.0), (2, 1e-3, 40.0), (3, 1e-4, 10.2)):
        for own in (1e-4, 1e-3):
            cell = make_cell(learning_rate=own, seed=seed, subset_seed=seed, test_seed=1, **HONEST)
            cell = with_predictions(cell, rng.random(400) < 0.1)
            assert cell.record and cell.record.timing and cell.record.selected
            timing = cell.record.timing.model_copy(update={"train_seconds": seconds})
            selected = cell.record.selected.model_copy(update={"score": 0.9 if own == rate else 0.8})
            record = cell.record.model_copy(update={"timing": timing, "selected": selected})
            cells.append(replace(cell, record=record))
    (entry,) = analyse(compare(cells, chosen_by_seed=["full"])).entries
    assert entry.config.setting == "1e-4 in 2 runs, 1e-3 in 1 run"
    found = cost_interval(entry, "train_seconds", [entry])
    t = scipy.stats.t(2, np.mean([10.0, 40.0, 10.2]), scipy.stats.sem([10.0, 40.0, 10.2])).interval(0.95)
    assert found is not None and (found.low, found.high) == pytest.approx((0.0, t[1]))


def test_intervals_and_tests_of_cost_hold_the_choice_of_each_seed() -> None:
    """Each of five seeds chooses 3 or 12 epochs, for either of two strategies: the mean of many is 7.5 of them."""
    rng, held, different, studies = np.random.default_rng(0), 0, 0, 600
    for _ in range(studies):
        both = []
        for _ in range(2):
            epochs = rng.choice([3.0, 12.0], 5)
            values = epochs * np.exp(rng.normal(0, 0.03, 5))
            both.append(Measured(tuple(values), shared=False, chosen=len(set(epochs)) > 1))
        one, other = both
        found = NOISE.interval(one)
        assert found is not None
        held += found.low <= 7.5 <= found.high
        different += dearer_on_average([(NOISE, one, other)]) or dearer_on_average([(NOISE, other, one)])
    # Five seeds choose alike in 1 of 16 studies; then nothing tells that they might not.
    assert 0.88 < held / studies < 0.97
    assert different / studies < 0.08
