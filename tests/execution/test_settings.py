"""Batch size, epochs, weight decay and warm-up beside the learning rate: as lists, planned, chosen, and shown."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import fakes
from conftest import leave_report_out
from factories import HONEST, compare, make_cell
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import StoreError
from tunebench.execution.budget import order, stage
from tunebench.execution.search import chosen_settings
from tunebench.execution.test_part import locked_runs
from tunebench.machine.settings import Execution
from tunebench.report.reproduce import study_of
from tunebench.report.tables import make_tables
from tunebench.store.cell import Cell
from tunebench.store.mixing import check_mixing
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

LISTS: dict[str, Any] = {"batch_size": [16, 32], "epochs": [2, 4, 8], "weight_decay": 0.01}


def test_every_combination_is_a_run_with_the_id_that_it_has_alone() -> None:
    study = fakes.make_study(strategies={"full": {"learning_rate": [1e-5, 2e-5], **LISTS}}, train_sizes=[10])
    specs = fakes.make_specs(study)
    found = {(s.learning_rate, s.batch_size, s.epochs, s.weight_decay) for s in specs}
    assert found == set(itertools.product([1e-5, 2e-5], [16, 32], [2, 4, 8], [0.01])) and len(specs) == 12
    assert {spec.tuned for spec in specs} == {("batch_size", "epochs")}
    for spec in specs[:3]:
        one = {"learning_rate": spec.learning_rate, "weight_decay": 0.01, "epochs": spec.epochs}
        alone = fakes.make_study(strategies={"full": one | {"batch_size": spec.batch_size}}, train_sizes=[10])
        assert [s.run_id for s in fakes.make_specs(alone)] == [spec.run_id]


def test_a_list_of_the_study_is_that_of_every_strategy_that_it_reaches() -> None:
    study = fakes.make_study(
        strategies={"full": None, "lora": {"batch_size": 8}, "tfidf": None},
        batch_size=[16, 32],
        warmup_ratio=[0, 0.1],
    )
    found = {label: strategy.axes for label, strategy in study.strategies.items()}
    assert found == {
        "full": {"batch_size": (16, 32), "warmup_ratio": (0.0, 0.1)},
        "lora": {"warmup_ratio": (0.0, 0.1)},
        "tfidf": {},
    }
    # What is stored is read as what was written.
    assert StudyConfig.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"strategies": {"tfidf": {"epochs": [1, 2]}}}, "these have no effect on tfidf"),
        ({"strategies": {"tfidf": None}, "epochs": [1, 2]}, "epochs: no strategy has this setting"),
        ({"strategies": {"full": {"batch_size": [16, 16]}}}, "batch_size is a list of different values"),
        ({"strategies": {"full": {"batch_size": []}}}, "batch_size is a list of different values"),
        ({"strategies": {"full": {"batch_size": [16, 0]}}}, "greater than or equal to 1"),
        ({"warmup_ratio": [0, 0.0]}, "warmup_ratio is a list of different values"),
        ({"batch_size": [16, 0]}, "batch_size cannot be 0: input should be greater"),
        ({"strategies": {"full": {"max_length": [16, 32]}}}, "max_length"),
        ({"strategies": {"full": {"warmup_steps": 3, "warmup_ratio": [0, 0.1]}}}, "say the same twice"),
        (
            {"strategies": {"full": {"epochs": [1, 2]}, "lora": None}, "search": {"budget": "trials"}},
            "the same number of settings; they have full 2, lora 1",
        ),
    ],
)
def test_lists_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        fakes.make_study(**changes)


def test_trials_are_drawn_before_the_first_run_and_as_many_for_every_strategy() -> None:
    wide = {"learning_rate": [1e-5, 2e-5, 5e-5], **LISTS}
    strategies = {"full": wide, "lora": wide | {"epochs": [3, 5, 7]}}
    study = fakes.make_study(
        strategies=strategies, train_sizes=[10], search={"trials": 5, "budget": "trials", "method": "halving"}
    )
    every = fakes.make_study(strategies=strategies, train_sizes=[10])
    full, lora = (study.settings_of(strategy) for strategy in study.strategies.values())
    assert len(full) == len(lora) == 5 and full == study.settings_of(study.strategies["full"])
    assert all(setting in every.settings_of(every.strategies["full"]) for setting in full)
    # The same places of both grids.
    assert [(rate, values["batch_size"]) for rate, values in full] == [
        (rate, values["batch_size"]) for rate, values in lora
    ]
    few = study.model_copy(update={"search": study.search.model_copy(update={"trials": 500})})
    assert len(few.settings_of(few.strategies["full"])) == 18


def test_all_rates_are_tried_once_before_one_is_tried_with_another_setting() -> None:
    study = fakes.make_study(
        strategies={"full": {"learning_rate": [1e-5, 2e-5, 5e-5], "epochs": [2, 4]}},
        train_sizes=[10],
        seeds=[1, 2],
        search={"method": "halving"},
    )
    specs = order(fakes.make_specs(study))
    first = [(s.epochs, s.learning_rate) for s in specs[:6]]
    assert first == [(2, 2e-5), (2, 1e-5), (2, 5e-5), (4, 2e-5), (4, 1e-5), (4, 5e-5)]
    assert {s.seed for s in stage(study, specs, {})} == {1} and len(locked_runs(specs)) == len(specs)
    chosen = stage(study, specs, {("full", 10): specs[3].setting})
    assert [s.setting for s in chosen if s.seed == 2] == [specs[3].setting]


def settings(best: tuple[int, int]) -> list[Cell]:
    """Return a strategy with four settings, of which one is best on validation."""
    cells = []
    for batch, epochs in itertools.product([16, 32], [2, 4]):
        for seed in (1, 2):
            cells.append(
                make_cell(
                    "full",
                    size=1000,
                    seed=seed,
                    batch_size=batch,
                    epochs=epochs,
                    tuned=("batch_size", "epochs"),
                    selection="validation",
                    validation_fraction=0.1,
                    f1=0.9 if (batch, epochs) == best else 0.8,
                )
            )
    return cells


@pytest.mark.parametrize("best", [(16, 4), (32, 2)])
def test_the_best_setting_on_validation_is_chosen_and_shown(best: tuple[int, int]) -> None:
    analysis = analyse(compare(settings(best)))
    group = analysis.comparison.group("full", 1000)
    assert group is not None and group.selected is not None and len(group.configs) == 4
    spec = group.selected.cells[0].spec
    assert (spec.batch_size, spec.epochs) == best and len(group.selected.cells) == 2
    words = f"batch size {best[0]}, {best[1]} epochs"
    assert group.selected.others == words and not group.at_edge
    tables = {table.name: table for table in make_tables(analysis)}
    (row,) = [row for row in tables["scores"].rows if row["status"] == "complete"]
    assert row["setting"] == words and row["n"] == 2
    (tuned,) = tables["tuning"].rows
    assert tuned["setting"] == words and tuned["tried"].startswith("4; rates")
    assert len({row["setting"] for row in tables["runs"].rows}) == 4
    assert any("Where several settings were run" in line for line in analysis.warnings)
    again = study_of(analysis.comparison)
    assert again is not None and again.strategies["full"].axes == {"batch_size": (16, 32), "epochs": (2, 4)}
    # Without one of the combinations there is no such study.
    assert study_of(compare(settings(best)[2:])) is None


def test_runs_that_differ_in_what_is_not_searched_are_still_refused() -> None:
    cells = [make_cell("full", size=1000, batch_size=size) for size in (16, 32)]
    with pytest.raises(StoreError, match="they differ in batch_size"):
        compare(cells)


def test_what_does_not_reach_a_strategy_makes_no_setting_of_it() -> None:
    cells = [
        make_cell("tfidf", kind="tfidf", size=1000, seed=seed, batch_size=16 * seed, **HONEST) for seed in (1, 2)
    ]
    group = compare(cells).group("tfidf", 1000)
    assert group is not None and [len(config.cells) for config in group.configs] == [2]


def test_a_study_may_get_lists_later() -> None:
    before = fakes.make_specs(fakes.make_study(strategies={"full": {"epochs": 2}}, train_sizes=[10]))
    after = fakes.make_specs(fakes.make_study(strategies={"full": {"epochs": [2, 4]}}, train_sizes=[10]))
    check_mixing(before, after, Path("study"))
    assert before[0].run_id in {spec.run_id for spec in after}
    other = fakes.make_specs(fakes.make_study(strategies={"full": {"epochs": 4}}, train_sizes=[10]))
    with pytest.raises(StoreError, match="epochs: 2 -> 4"):
        check_mixing(before, other, Path("study"))


def test_a_search_over_settings_opens_the_test_part_for_the_chosen_one(
    tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    study = StudyConfig.model_validate(
        {
            "name": "settings",
            "model": str(tiny_model("distilbert")),
            "data": str(reviews),
            "strategies": {"full": {"learning_rate": [2e-3], "batch_size": [8, 24]}},
            "train_sizes": [60],
            "seeds": [1],
            "max_length": 16,
            "epochs": [1, 2],
            "precision": "fp32",
            "validation_fraction": 0.3,
            "search": {"method": "halving", "trials": 3},
        }
    )
    with pytest.MonkeyPatch.context() as patched:
        leave_report_out(patched)
        run_study(study, folder=tmp_path / "out", measure=False, execution=Execution(device="cpu", threads=1))
    comparison = load_comparison(tmp_path / "out")
    assert len(comparison.cells) == 3 and len(comparison.scored) == 1
    (scored,) = comparison.scored
    assert chosen_settings(StudyStore(tmp_path / "out")) == {("full", 60): scored.spec.setting}
    trained = {c.row["selection_score"] for c in comparison.cells if c.status == "complete"}
    assert scored.row["selection_score"] == max(trained)
