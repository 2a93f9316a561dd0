"""Which cells may be averaged, which learning rate is shown, and what the report published."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import HONEST, compare, make_cell, make_grid, make_record, make_spec
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison, Configuration, MeanOverSeeds, select_configuration
from tunebench.analysis.published import reference
from tunebench.analysis.warnings import protocol_warnings
from tunebench.data.reference import DataRef
from tunebench.errors import StoreError
from tunebench.models.reference import ModelRef
from tunebench.report.tables import make_tables
from tunebench.store.cell import Cell
from tunebench.store.rows import to_row

MODULES = (
    "tasks.metrics analysis.comparison analysis.warnings analysis.published report.tables report.tables.render "
    "analysis.log_history report.figures report.figures.style report.figures.runs report report.markdown"
)


def test_nothing_here_imports_torch() -> None:
    code = "import sys\n" + "".join(f"import tunebench.{name}\n" for name in MODULES.split())
    code += "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib.pyplot') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_are_the_records_rows() -> None:
    cells = [*make_grid(sizes=(5_000,)), make_cell("lora", size=10_000, status="left_out")]
    comparison = compare(cells)
    expected = [to_row(cell.spec, status=cell.status, record=cell.record) for cell in cells]
    expected[-1]["error"] = cells[-1].note
    assert comparison.rows() == expected
    frame = comparison.frame()
    assert list(frame["status"]) == ["complete", "complete", "left_out"]
    assert frame["macro_f1"].isna().tolist() == [False, False, True]


def test_changing_a_row_changes_nothing() -> None:
    comparison = compare(make_grid())
    comparison.rows()[0]["macro_f1"] = -1
    assert comparison.rows()[0]["macro_f1"] > 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": DataRef(source="x", fingerprint="other", label_names=("neg", "pos"))}, "data"),
        ({"selection": "last"}, "selection"),
        ({"validation_fraction": 0.2}, "validation_fraction"),
        ({"subset_seed": 7}, "the draw of the test part"),
        ({"test_size": 100}, "test_size"),
        ({"copies": "together"}, "copies"),
    ],
)
def test_different_protocols_are_never_mixed(change: dict[str, Any], named: str) -> None:
    with pytest.raises(StoreError, match=f"differ in {named}"):
        compare([make_cell(seed=1), make_cell("lora", seed=2, **change)])


OTHER_MODEL = ModelRef(source="x", fingerprint="other")


@pytest.mark.parametrize(
    "change", [{"epochs": 4}, {"precision": "bf16"}, {"params": {"rank": 4}}, {"model": OTHER_MODEL}]
)
def test_only_seeds_are_averaged(change: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=f"differ in {next(iter(change))}"):
        compare([make_cell("lora", seed=1), make_cell("lora", seed=2, **change)])


def test_strategies_may_differ_in_their_recipe_and_it_is_said() -> None:
    comparison = compare([make_cell("full"), make_cell("lora", precision="bf16")])
    assert any("also differ in: precision" in line for line in analyse(comparison).warnings)


def test_impossible_cells_are_refused() -> None:
    cell = make_cell()
    with pytest.raises(StoreError, match="no runs"):
        compare([])
    with pytest.raises(StoreError, match="twice"):
        compare([cell, cell])
    with pytest.raises(StoreError, match="another run"):
        compare([Cell(make_spec(seed=1), "complete", make_record(make_spec(seed=2)))])
    with pytest.raises(StoreError, match="no record"):
        compare([Cell(cell.spec, "complete", None)])


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


def rate_arm(rate: float, scores: dict[int, float | None]) -> Configuration:
    """Return a configuration with a selection score per seed; None is a failed run."""
    cells = []
    for seed, value in scores.items():
        cell = make_cell(learning_rate=rate, seed=seed, size=64, status="failed" if value is None else "complete")
        if cell.record is not None and cell.record.selected is not None:
            selected = cell.record.selected.model_copy(update={"score": value})
            cell = Cell(cell.spec, cell.status, cell.record.model_copy(update={"selected": selected}))
        cells.append(cell)
    return Configuration("full", 64, rate, tuple(cells))


def test_the_rate_with_the_best_mean_selection_score_is_selected() -> None:
    low, middle, high = (
        rate_arm(1e-5, {1: 0.8, 2: 0.9}),
        rate_arm(1e-4, {1: 0.88, 2: 0.86}),
        rate_arm(1e-3, {1: 0.5}),
    )
    assert select_configuration([low, middle, high]) is middle


def test_the_test_score_chooses_nothing() -> None:
    low = make_cell(learning_rate=1e-5, size=64, f1=0.95, **HONEST)
    high = make_cell(learning_rate=1e-4, size=64, f1=0.60, **HONEST)
    assert low.record is not None and low.record.selected is not None
    worse = low.record.selected.model_copy(update={"score": 0.1})
    low = Cell(low.spec, low.status, low.record.model_copy(update={"selected": worse}))
    group = compare([low, high]).group("full", 64)
    assert group is not None and group.selected is not None
    assert group.selected.learning_rate == 1e-4


def test_rates_are_compared_on_the_seeds_they_share() -> None:
    # Seed 2 is an easy draw that only one of the rates has had so far.
    lucky, better = rate_arm(1e-5, {1: 0.70, 2: 0.99}), rate_arm(1e-4, {1: 0.80})
    assert select_configuration([lucky, better]) is better


def test_a_rate_that_diverged_is_passed_over() -> None:
    sound, diverged = rate_arm(1e-5, {1: 0.7, 2: 0.7}), rate_arm(1e-3, {1: 0.9, 2: None})
    assert select_configuration([sound, diverged]) is sound
    assert select_configuration([rate_arm(1e-5, {1: None}), diverged]) is diverged


def test_a_failure_at_seeds_that_only_the_chosen_rate_has_does_not_unchoose_it() -> None:
    # As after a search: the first seed chose, and the others run at the chosen rate alone.
    chosen, other = rate_arm(1e-5, {1: 0.9, 2: None, 3: 0.8}), rate_arm(1e-4, {1: 0.85})
    assert select_configuration([chosen, other]) is chosen


def test_a_tie_goes_to_the_smaller_rate() -> None:
    small, large = rate_arm(1e-5, {1: 0.7}), rate_arm(1e-4, {1: 0.7})
    assert select_configuration([large, small]) is small


def test_the_metric_that_chose_a_rate_is_named() -> None:
    cells = [make_cell(learning_rate=rate, size=64, metric="accuracy", **HONEST) for rate in (1e-5, 1e-4)]
    assert any("best mean accuracy on validation is shown" in line for line in protocol_warnings(compare(cells)))


def test_without_selection_scores_nothing_is_chosen_among_several() -> None:
    cells = [make_cell(learning_rate=rate, selection="last") for rate in (1e-5, 1e-4)]
    comparison = compare(cells)
    group = comparison.group("full", 5_000)
    assert group is not None
    assert group.selected is None
    assert [config.learning_rate for config in group.shown] == [1e-5, 1e-4]
    assert any("none was chosen" in line for line in analyse(comparison).warnings)
    single = compare(cells[:1]).group("full", 5_000)
    assert single is not None and single.selected is single.configs[0]


def test_groups_run_by_strategy_then_size() -> None:
    comparison = compare(make_grid(sizes=(10_000, 5_000)))
    keys = [(group.label, group.train_size) for group in comparison.groups()]
    assert keys == [("full", 5_000), ("full", 10_000), ("lora", 5_000), ("lora", 10_000)]
    assert comparison.group("full", 7) is None


def has(comparison: Comparison, words: str) -> bool:
    return any(words in line for line in analyse(comparison).warnings)


def test_warnings_come_when_they_are_due() -> None:
    report, honest = compare(make_grid()), compare(make_grid(seeds=(1, 2), **HONEST))
    assert has(report, "optimistic") and not has(honest, "optimistic")
    assert has(report, "Single seed") and not has(honest, "Single seed")
    assert has(report, "One learning rate per strategy")
    tuned = compare(
        [make_cell(learning_rate=rate, size=640) for rate in (1e-5, 1e-4)] + [make_cell("lora", size=640)]
    )
    assert has(tuned, "One learning rate for lora")
    assert has(tuned, "at the edge")
    left = compare([make_cell(), make_cell("lora", status="out_of_memory")])
    assert has(left, "1 of 2 runs have no score (1 out of memory)")
    noted = compare([make_cell()], notes=["A remark."], audit={"warnings": ["123 test texts stand in train too."]})
    assert analyse(noted).warnings[-1] == "A remark." and has(noted, "123 test texts")


def test_the_best_rate_inside_the_range_is_not_at_the_edge() -> None:
    configs = [rate_arm(rate, {1: f1}) for rate, f1 in ((1e-5, 0.7), (1e-4, 0.9), (1e-3, 0.8))]
    comparison = compare([cell for config in configs for cell in config.cells])
    assert not has(comparison, "at the edge")


def test_a_rate_that_was_left_out_was_not_tried() -> None:
    configs = [rate_arm(rate, {1: f1}) for rate, f1 in ((1e-4, 0.8), (1e-3, 0.9))]
    left = [make_cell(learning_rate=rate, seed=1, size=64, status="left_out") for rate in (1e-5, 1e-2)]
    comparison = compare([cell for config in configs for cell in config.cells] + left)
    group = comparison.group("full", 64)
    assert group is not None
    assert group.tried == (1e-4, 1e-3)
    assert group.at_edge and has(comparison, "at the edge")
    single = compare([*configs[0].cells, *left])
    assert has(single, "One learning rate per strategy")


# Published values ---------------------------------------------------------------------------------


PAPER = reference("paper")


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind in PAPER.cells for size in PAPER.cells[kind]])
def test_the_papers_cells_are_found_whatever_their_label(kind: str, size: int) -> None:
    found = PAPER.cell(make_spec(kind, size=size).model_copy(update={"label": "anything"}))
    assert found is not None
    assert found["same_model"] and found["differs"] == ()
    # The printed tables follow from the unrounded values of the logs.
    assert found["minutes"] == pytest.approx(found["total_seconds"] / 60, abs=0.06)
    assert found["train_seconds"] == found["total_seconds"] - found["eval_seconds"]
    divisor = 66_955_010 + 739_586 if kind == "full" else found["trainable_params"]
    assert found["per_million"] == pytest.approx(found["macro_f1"] / divisor * 1e6, rel=5e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-4},
        {"params": {"rank": 16}},
        {"params": {"placement": "attention"}},
        {"size": 2_500},
        {"epochs": 2},
        {"batch_size": 16},
        {"max_length": 128},
        {"weight_decay": 0.01},
        {"schedule": "constant"},
        {"warmup_ratio": 0.1},
        {"max_grad_norm": 0.0},
        {"data": DataRef(source="rotten-tomatoes", fingerprint="x", label_names=("neg", "pos"))},
    ],
)
def test_another_recipe_is_not_the_papers(change: dict[str, Any]) -> None:
    assert PAPER.cell(make_spec("lora", **change)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ModelRef(source="minilm", fingerprint="m")}, "model minilm"),
        (HONEST, "selection validation (paper: test)"),
        ({"precision": "bf16"}, "precision bf16"),
        ({"engine": "fast"}, "engine fast"),
        ({"seed": 7}, "seed 7"),
        ({"attention_dropout": 0.0}, "attention dropout 0.0"),
        ({"test_size": 500}, "test size 500"),
    ],
)
def test_another_protocol_stands_beside_and_is_named(change: dict[str, Any], words: str) -> None:
    spec = make_spec("lora", **change)
    found = PAPER.cell(spec)
    assert found is not None
    assert len(found["differs"]) == 1 and words in found["differs"][0]
    assert found["same_model"] == ("model" not in change)


def test_a_local_copy_of_model_and_data_is_recognised() -> None:
    spec = make_spec(
        model=ModelRef(source="/models/distilbert-base-uncased/", fingerprint="m"),
        data=DataRef(source="data/aclImdb", fingerprint="d", label_names=("neg", "pos")),
    )
    found = PAPER.cell(spec)
    assert found is not None and found["differs"] == ()


def test_published_values_stand_only_where_a_study_asks_for_them() -> None:
    spec = make_spec("full")
    assert compare(make_grid()).published(spec) is None and compare(make_grid()).publication == ""
    assert compare(make_grid(), reference="paper").published(spec) is not None


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
