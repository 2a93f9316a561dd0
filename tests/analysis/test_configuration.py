"""Which runs are averaged."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import compare, make_cell
from tunebench.analysis.configuration import Configuration, MeanOverSeeds
from tunebench.store.cell import Cell


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_summaries_equal_the_slow_definition(values: list[float]) -> None:
    summary = MeanOverSeeds(tuple(values))
    mean = sum(values) / len(values)
    assert summary.mean == pytest.approx(mean)
    if len(values) == 1:
        assert summary.sd is None
    else:
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert summary.sd == pytest.approx(variance**0.5, abs=1e-9)


def test_a_group_is_averaged_over_its_complete_seeds_only() -> None:
    cells = [make_cell(seed=1, f1=0.9), make_cell(seed=2, f1=0.8), make_cell(seed=3, status="failed")]
    group = compare(cells).group("full", 5_000)
    assert group is not None and group.selected is not None
    scores = [cell.row["macro_f1"] for cell in cells[:2]]
    found = group.selected.summary("macro_f1")
    assert found is not None
    assert found.mean == pytest.approx(statistics.fmean(scores))
    assert found.sd == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert {status: len(left) for status, left in group.selected.unscored.items()} == {"failed": 1}


def test_a_run_that_is_done_again_does_not_count() -> None:
    again = make_cell(seed=2, f1=0.5)
    comparison = compare([make_cell(seed=1, f1=0.9), Cell(again.spec, "running", again.record)])
    config = comparison.group("full", 5_000).configs[0]  # type: ignore[union-attr]
    assert [cell.spec.seed for cell in config.scored] == [1]
    assert list(config.unscored) == ["running"]


def test_sums_of_columns_and_minutes() -> None:
    config = compare([make_cell()]).group("full", 5_000).configs[0]  # type: ignore[union-attr]
    row = config.cells[0].row
    total = config.minutes("train_seconds", "eval_seconds")
    assert total is not None
    assert total.mean == pytest.approx((row["train_seconds"] + row["eval_seconds"]) / 60)


def test_settings_that_differ_are_said_with_their_numbers_of_runs_and_parted_by_commas_alone() -> None:
    def config(*runs: tuple[float, int]) -> Configuration:
        cells = [make_cell(seed=seed, learning_rate=rate, epochs=e) for seed, (rate, e) in enumerate(runs)]
        return Configuration("full", 5_000, None, tuple(cells), ("epochs",))

    assert config((1e-5, 6)).setting == "1e-5 with 6 epochs"
    assert config((1e-5, 6), (1e-4, 3)).setting == "1e-5 with 6 epochs in 1 run, 1e-4 with 3 epochs in 1 run"
    several = config((1e-5, 6), (1e-4, 3), (1e-4, 3))
    assert several.setting == "1e-4 with 3 epochs in 2 runs, 1e-5 with 6 epochs in 1 run"
    assert several.others == "3 epochs in 2 runs, 6 epochs in 1 run"
    both = Configuration("full", 5_000, 1e-5, config((1e-5, 6)).cells, ("batch_size", "epochs"))
    assert both.setting == "1e-5 with batch size 32 and 6 epochs" and both.others == "batch size 32, 6 epochs"
