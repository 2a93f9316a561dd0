"""At which look a study stands, and what is said of others: answers and failed runs switch neither off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import HONEST, compare, make_answers, make_cell, with_predictions
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.looks import added_seeds, between_looks, look_notes, next_look, read_early, seeds_compared
from tunebench.analysis.pairs import difference_of
from tunebench.analysis.recommend import recommend
from tunebench.execution.looks import note_reading
from tunebench.stats import Looks
from tunebench.store.cell import Cell
from tunebench.store.looks import LookEntry, LookLog
from tunebench.store.record import now
from tunebench.tasks.classification import CLASSIFICATION

N = 400
RATES = {"full": 0.10, "lora": 0.20, "lora-r2": 0.30}


def cells_of(seeds: dict[str, int], *, failed: int = 0, size: int = 200) -> list[Cell]:
    """Return so many scored seeds of each strategy, and failed ones of the last."""
    cells = []
    for label, count in seeds.items():
        for seed in range(count):
            wrong = np.random.default_rng([seed, len(label), size]).random(N) < RATES[label]
            cells.append(
                with_predictions(make_cell(label, seed=seed, size=size, test_size=N, **HONEST), wrong, n=N)
            )
    last = list(seeds)[-1]
    for seed in range(seeds[last], seeds[last] + failed):
        cells.append(make_cell(last, status="failed", seed=seed, size=size, test_size=N, **HONEST))
    return cells


def looked(cells: list[Cell], kind: Any, seeds: int) -> Comparison:
    return compare(cells, looks=[LookEntry(time=now(), kind=kind, seeds=seeds, planned=seeds)])


def test_answers_have_no_seeds_and_the_study_stands_at_the_look_of_its_strategies() -> None:
    cells = cells_of({"full": 5, "lora": 5})
    answers = make_answers("gpt", np.random.default_rng(0).random(N) < 0.3, size=200)
    for each in (cells, [*cells, answers]):
        comparison = compare(each, design=Looks((5, 10)))
        assert look_notes(comparison)[0].startswith("Look 1 of 2, after 5 of at most 10 seeds")
        assert between_looks(comparison) == []
        assert not any("nothing is decided" in line for line in recommend(analyse(comparison)).doubts)


@pytest.mark.parametrize("kind", ["added", "read"])
def test_answers_and_failed_runs_take_no_doubt_away(kind: Any) -> None:
    answers = make_answers("gpt", np.random.default_rng(0).random(N) < 0.3, size=200)
    warn = added_seeds if kind == "added" else read_early
    plain = cells_of({"full": 6, "lora": 6})
    others = ([], [answers], cells_of({"lora-r2": 4}, failed=2), cells_of({"lora-r2": 1}, failed=5))
    for more in others:
        (said,) = warn(looked([*plain, *more], kind, 4))
        assert "after 4 seeds; now 6" in said
        assert warn(looked([*plain, *more], kind, 6)) == []
    if kind == "added":
        found = recommend(analyse(looked([*plain, answers], kind, 4)))
        assert any("after 4 seeds; now 6" in line for line in found.doubts) and not found.conclusive
    # Of a strategy against answers, its own seeds count.
    (said,) = warn(looked([*cells_of({"full": 6}), answers], kind, 4))
    assert "now 6" in said


def test_a_test_rests_on_the_seeds_that_two_strategies_of_a_size_have() -> None:
    cells = [*cells_of({"full": 6, "lora": 4, "lora-r2": 5}), *cells_of({"full": 3, "lora": 2}, size=400)]
    assert seeds_compared(compare(cells)) == {200: 5, 400: 2}
    assert seeds_compared(compare([*cells, *cells_of({"full": 7}, size=800)])) == {200: 5, 400: 2}
    assert seeds_compared(compare(cells_of({"full": 7}, size=800))) == {800: 7}
    assert seeds_compared(compare([make_answers("gpt", np.zeros(N, dtype=bool), size=200)])) == {}


def test_a_reading_is_early_only_where_a_size_has_more_seeds_since(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".locks").mkdir(parents=True)

    def read_at(small: int, large: int) -> Comparison:
        cells = [*cells_of({"full": small, "lora": small}), *cells_of({"full": large, "lora": large}, size=400)]
        to_come = [
            make_cell("full", status="left_out", seed=9, size=size, test_size=N, **HONEST) for size in (200, 400)
        ]
        return compare([*cells, *to_come], looks=LookLog(tmp_path).read())

    note_reading(read_at(3, 2), tmp_path)
    # A budget left out more of the large size: nothing was added since.
    assert read_early(read_at(3, 2)) == []
    (said,) = read_early(read_at(3, 3))
    assert "after 2 seeds; now 3" in said
    (said,) = read_early(read_at(5, 2))
    assert "after 3 seeds; now 5" in said
    (said,) = read_early(read_at(5, 3))
    assert "after 2 and 3 seeds; now 5" in said


def mcc_cells(undefined: bool) -> list[Cell]:
    """Return ten seeds of two strategies; where asked, the last run of lora predicts one class alone."""
    cells = []
    for seed in range(10):
        for label, rate in (("full", 0.10), ("lora", 0.135)):
            wrong = np.random.default_rng([seed, len(label)]).random(N) < rate
            if undefined and (seed, label) == (9, "lora"):
                wrong = np.arange(N) % 2 == 1
            cell = make_cell(label, seed=seed, size=200, test_size=N, metric="mcc", **HONEST)
            cell = with_predictions(cell, wrong, n=N)
            assert cell.predictions is not None and cell.record is not None
            stored = cell.predictions()
            scores = CLASSIFICATION.score(stored["labels"], stored["logits"], ("neg", "pos"), "mcc")
            cells.append(replace(cell, record=cell.record.model_copy(update={"scores": scores})))
    return cells


@pytest.mark.parametrize("undefined", [False, True])
def test_a_run_for_which_the_metric_is_not_defined_takes_no_test_to_an_earlier_look(undefined: bool) -> None:
    design = Looks((5, 10))
    comparison = compare(mcc_cells(undefined), metric="mcc", design=design)
    analysis = analyse(comparison)
    (pair,) = analysis.pairs
    entries = {entry.label: entry for entry in analysis.entries}
    assert (len(entries["full"].seeds), len(entries["lora"].seeds)) == (10, 9 if undefined else 10)
    assert look_notes(comparison)[0].startswith("Look 2 of 2")
    assert pair.difference.look == design.at(10)
    assert all(entry.look(len(entry.seeds)) == design.at(10) for entry in analysis.entries)
    assert all(next_look(entry) is None for entry in analysis.entries)


def test_a_failed_run_leaves_a_strategy_at_the_look_before() -> None:
    design = Looks((3, 6))
    analysis = analyse(compare(cells_of({"full": 6, "lora-r2": 6, "lora": 5}, failed=1), design=design))
    looks = {(pair.first.label, pair.second.label): pair.difference.look for pair in analysis.pairs}
    assert looks["full", "lora-r2"] == design.at(6)
    assert looks["full", "lora"] == looks["lora-r2", "lora"] == design.at(3)


def test_answers_are_tested_at_the_look_of_the_strategy_beside_them() -> None:
    """Each look at the study is one at its difference from the answers too, so a level is spent on it."""
    cells = cells_of({"full": 5})
    answers = make_answers("gpt", np.random.default_rng(8).random(N) < 0.16, size=200)

    def p_value(design: Looks | None) -> float:
        entries = {entry.label: entry for entry in analyse(compare([*cells, answers], design=design)).entries}
        found = difference_of(entries["full"], entries["gpt"])
        assert (found.look is not None) == (design is not None) and found.over == "test examples"
        return found.p_value

    once, first, last = p_value(None), p_value(Looks((5, 10))), p_value(Looks((3, 5)))
    assert 1e-4 < once < last < first < 1
