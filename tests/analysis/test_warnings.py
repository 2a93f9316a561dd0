"""The warnings that a comparison comes with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from factories import HONEST, compare, make_cell, make_grid, warned, with_predictions
from tunebench.analysis.analysis import analyse
from tunebench.analysis.recommend import recommend
from tunebench.analysis.warnings import protocol_warnings
from tunebench.data.audit_result import NO_TEST_SPLIT
from tunebench.report.tables import make_tables


def test_strategies_may_differ_in_their_recipe_and_it_is_said() -> None:
    comparison = compare([make_cell("full"), make_cell("lora", precision="bf16")])
    assert any("also differ in: precision" in line for line in analyse(comparison).warnings)


def test_the_metric_that_chose_a_rate_is_named() -> None:
    cells = [make_cell(learning_rate=rate, size=64, metric="accuracy", **HONEST) for rate in (1e-5, 1e-4)]
    assert any("best mean accuracy on validation is shown" in line for line in protocol_warnings(compare(cells)))


def test_warnings_come_when_they_are_due() -> None:
    report, honest = compare(make_grid()), compare(make_grid(seeds=(1, 2), **HONEST))
    assert warned(report, "optimistic") and not warned(honest, "optimistic")
    assert warned(report, "Single seed") and not warned(honest, "Single seed")
    assert warned(report, "One learning rate per strategy")
    tuned = compare(
        [make_cell(learning_rate=rate, size=640) for rate in (1e-5, 1e-4)] + [make_cell("lora", size=640)]
    )
    assert warned(tuned, "One learning rate for lora")
    assert warned(tuned, "at the edge")
    left = compare([make_cell(), make_cell("lora", status="out_of_memory")])
    assert warned(left, "1 of 2 runs has no score (1 out of memory)")
    noted = compare([make_cell()], notes=["A remark."], audit={"warnings": ["123 test texts stand in train too."]})
    assert analyse(noted).warnings[-1] == "A remark." and warned(noted, "123 test texts")


def test_a_class_that_the_test_part_lacks_is_said_under_every_table_of_scores() -> None:
    cells = make_grid(sizes=(5_000,))
    assert not any("absent class" in line for line in analyse(compare(cells)).warnings)
    found = []
    for cell in cells:
        assert cell.record is not None and cell.record.examples is not None
        examples = cell.record.examples.model_copy(update={"test_per_class": [25_000, 0]})
        found.append(replace(cell, record=cell.record.model_copy(update={"examples": examples})))
    comparison = compare(found)
    line = (
        "In the test part there is no example of pos. Macro F1 counts the F1 of an absent class as 0, so it can "
        "reach 1/2 = 0.5000 at most."
    )
    assert analyse(comparison).warnings.count(line) == 1
    assert line in make_tables(analyse(comparison), ["macro_f1"])[0].notes


def test_a_part_held_out_for_testing_is_said_once() -> None:
    cell = make_cell()
    assert cell.record is not None and cell.record.examples is not None
    examples = cell.record.examples.model_copy(update={"test_held_out": True})
    held_out = replace(cell, record=cell.record.model_copy(update={"examples": examples}))
    audited = {"warnings": [NO_TEST_SPLIT, "123 test texts stand in train too."]}
    analysis = analyse(compare([held_out], audit=audited))
    lines = analysis.warnings
    for said in (lines, make_tables(analysis, ["data"])[0].notes):
        assert len([line for line in said if "no test split" in line]) == 1
    assert any("was held out for testing" in line for line in lines) and any("123 test texts" in x for x in lines)


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        ({(1, 1e-5)}, "seed 1 chose among fewer learning rates."),
        ({(1, 1e-5), (2, 1e-4)}, "seeds 1 and 2 chose among fewer learning rates."),
        ({(4, 1e-5), (4, 1e-4), (4, 1e-3)}, "seed 4 had no learning rates left."),
        (
            {(1, 1e-5), (4, 1e-5), (4, 1e-4), (4, 1e-3)},
            "seed 1 chose among fewer learning rates, and seed 4 had none to choose from.",
        ),
        ({(1, 1e-5), (3, 1e-5)}, "seed 1 chose among fewer learning rates."),  # 3 has a run to come
        ({(3, 1e-5)}, None),
    ],
)
def test_seeds_that_chose_among_fewer_settings_are_told_from_those_that_chose_none(
    failed: set[tuple[int, float]], said: str | None
) -> None:
    cells = []
    for seed in (1, 2, 3, 4):
        for rate in (1e-5, 1e-4, 1e-3):
            status: Any = "failed" if (seed, rate) in failed else "complete"
            if (seed, rate) == (3, 1e-3):
                status = "pending"
            options = {"learning_rate": rate, "seed": seed, "subset_seed": seed, "test_seed": 1, **HONEST}
            cell = make_cell("lora", status=status, size=64, **options)
            if seed == 3 and cell.record is not None:  # not scored on test before all runs are there
                cell = replace(cell, record=cell.record.model_copy(update={"scores": None}))
            cells.append(cell)
    lines = [line for line in protocol_warnings(compare(cells, chosen_by_seed=["lora"])) if "runs failed" in line]
    assert lines == ([] if said is None else [f"lora at 64: runs failed, so {said}"])


def test_a_seed_that_chose_nothing_is_counted_as_a_seed_without_a_score() -> None:
    cells = []
    for label in ("full", "lora"):
        for seed in (1, 2, 3):
            for rate in (1e-5, 1e-4):
                options = {"learning_rate": rate, "seed": seed, "subset_seed": seed, "test_seed": 1, **HONEST}
                lost = (label, seed) == ("lora", 3)
                cell = make_cell(label, size=64, status="failed" if lost else "complete", **options)
                wrong = np.random.default_rng(seed).random(400) < 0.2
                cells.append(cell if lost else with_predictions(cell, wrong))
    doubts = recommend(analyse(compare(cells, chosen_by_seed=["full", "lora"]))).doubts
    said = "lora: 1 of 3 seeds has no score (1 failed), and those that have one may not speak for them."
    assert said in doubts
