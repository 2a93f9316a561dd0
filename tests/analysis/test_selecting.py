"""Which setting is selected: one for all seeds, or each seed its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
from factories import HONEST, compare, make_cell, warned
from tunebench.analysis.analysis import analyse
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.group import Group
from tunebench.analysis.load import _chosen_by_seed
from tunebench.analysis.selecting import select_by_seed, select_configuration
from tunebench.execution.test_part import _opened_for_another, _to_score
from tunebench.store.cell import Cell
from tunebench.study.parts import Search


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


def changed(cell: Cell, **changes: Any) -> Cell:
    """Return a cell with another record."""
    assert cell.record is not None
    return Cell(cell.spec, cell.status, cell.record.model_copy(update=changes))


def closed(cell: Cell, **changes: Any) -> Cell:
    """Return a trained cell whose test part was not opened."""
    return changed(cell, scores=None, test_access=(), **changes)


def locked_arm(rate: float, scores: Sequence[float | None], *, opened: bool = False) -> Configuration:
    """Return runs of seeds 1, 2, ... that validation chooses among; None is a failed run."""
    cells = []
    for seed, value in enumerate(scores, start=1):
        cell = make_cell(learning_rate=rate, seed=seed, size=64, **HONEST)
        assert cell.record is not None and cell.record.selected is not None
        selected = cell.record.selected.model_copy(update={"score": value})
        if value is None:
            cell = make_cell(learning_rate=rate, seed=seed, size=64, status="failed", **HONEST)
        else:
            cell = changed(cell, selected=selected) if opened else closed(cell, selected=selected)
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


def test_a_seed_that_another_rate_left_out_does_not_unchoose_the_rate_that_fails_at_it() -> None:
    # As where another rate was chosen first, and its further seeds were left out when it was overtaken.
    chosen, other = rate_arm(1e-5, {1: 0.9, 2: 0.8, 3: None}), rate_arm(1e-4, {1: 0.85, 2: 0.75})
    left_out = make_cell(learning_rate=1e-4, seed=3, size=64, status="left_out")
    other = Configuration("full", 64, 1e-4, (*other.cells, left_out))
    assert select_configuration([chosen, other]) is chosen


def test_a_tie_goes_to_the_smaller_rate() -> None:
    small, large = rate_arm(1e-5, {1: 0.7}), rate_arm(1e-4, {1: 0.7})
    assert select_configuration([large, small]) is small


ONE_SCORE = st.one_of(st.none(), st.sampled_from([0.5, 0.6, 0.7]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ONE_SCORE, ONE_SCORE, ONE_SCORE), min_size=2, max_size=3))
def test_each_seed_chooses_its_own_rate(scores: list[tuple[float | None, ...]]) -> None:
    rates = [1e-5, 1e-4, 1e-3][: len(scores)]
    configs = [rate_arm(rate, dict(enumerate(own, start=1))) for rate, own in zip(rates, scores, strict=True)]
    found = select_by_seed(configs)
    expected = {}
    for seed in (1, 2, 3):
        at = [(own[seed - 1], -rate) for rate, own in zip(rates, scores, strict=True)]
        if known := [(score, rate) for score, rate in at if score is not None]:
            expected[seed] = -max(known)[1]  # of equal scores the smaller rate
    if not expected:
        assert found is None
        return
    assert found is not None
    assert {cell.spec.seed: cell.spec.learning_rate for cell in found.cells} == expected
    used = set(expected.values())
    assert found.learning_rates == tuple(sorted(used))
    assert found.shown_learning_rate == (used.pop() if len(used) == 1 else None)


def run_of_seed(seed: int, rate: float, score: float) -> Cell:
    """Return a run of a seed with labels of its own, and its score on validation."""
    cell = make_cell(learning_rate=rate, seed=seed, subset_seed=seed, test_seed=1, size=64, **HONEST)
    assert cell.record is not None and cell.record.selected is not None
    return changed(cell, selected=cell.record.selected.model_copy(update={"score": score}))


def by_seed_group(chosen: dict[int, float], rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3)) -> Group:
    """Return the group of a study whose seeds chose these rates, and that scored what they chose."""
    cells = []
    for rate in rates:
        for seed, best in chosen.items():
            cell = run_of_seed(seed, rate, 0.9 if rate == best else 0.8)
            cells.append(cell if rate == best else closed(cell))
    group = compare(cells, chosen_by_seed=["full"]).group("full", 64)
    assert group is not None and group.selected is not None
    return group


def test_runs_of_several_rates_are_named_with_their_numbers() -> None:
    group = by_seed_group({1: 1e-4, 2: 1e-5, 3: 1e-4})
    assert group.selected is not None
    assert group.selected.setting == "1e-4 in 2 runs, 1e-5 in 1 run"
    assert [group.chose(config) for config in group.configs] == [True, True, False]
    assert len(group.not_chosen) == 6
    assert not group.at_edge and by_seed_group({1: 1e-5, 2: 1e-3, 3: 1e-4}).at_edge
    assert by_seed_group({1: 1e-4, 2: 1e-4}).selected.setting == "1e-4"  # type: ignore[union-attr]


def test_the_test_part_is_opened_once_for_each_seed_that_chose() -> None:
    once = by_seed_group({1: 1e-4, 2: 1e-5})
    assert once.opened_settings == 1 and len(once.not_chosen) == 4
    scored = [run_of_seed(seed, rate, 0.8) for seed in (1, 2) for rate in (1e-5, 1e-4, 1e-3)]
    all_opened = compare(scored, chosen_by_seed=["full"]).group("full", 64)
    assert all_opened is not None and all_opened.opened_settings == 3


@pytest.mark.parametrize("status", ["pending", "left_out"])
def test_a_seed_that_lacks_a_run_has_not_chosen(status: Any) -> None:
    group = by_seed_group({1: 1e-4, 2: 1e-4, 3: 1e-5})
    # Of seed 3 the smallest rate is ahead, but its largest one is still to come.
    cells = [
        Cell(cell.spec, status)
        if (cell.spec.seed, cell.spec.learning_rate) == (3, 1e-3)
        else closed(cell)
        if cell.spec.seed == 3
        else cell
        for cell in group.cells
    ]
    found = compare(cells, chosen_by_seed=["full"]).group("full", 64)
    assert found is not None and found.selected is not None
    assert found.selected.setting == "1e-4" and not found.at_edge
    # What it waits for is named, and not a run that has ended.
    assert [(cell.spec.seed, cell.status) for cell in found.lacking] == [(3, status)]
    assert not any(cell.spec.seed == 3 for cell in found.not_chosen)
    # A rate that is left out of all seeds, as by a budget of compute, keeps none from choosing.
    nowhere = [Cell(cell.spec, "left_out") if cell.spec.learning_rate == 1e-3 else cell for cell in group.cells]
    found = compare(nowhere, chosen_by_seed=["full"]).group("full", 64)
    assert found is not None and found.selected is not None and len(found.selected.cells) == 3


def test_each_choice_is_scored_by_itself() -> None:
    group = by_seed_group({1: 1e-4, 2: 1e-5})
    cells = []
    for cell in group.cells:
        # Of seed 1 the test part was opened for a rate that validation would no longer choose.
        opened = (cell.spec.seed, cell.spec.learning_rate) == (1, 1e-5)
        cells.append(run_of_seed(1, 1e-5, 0.8) if opened else closed(cell))
    comparison = compare(cells, chosen_by_seed=["full"])
    (group,) = comparison.groups()
    assert [[cell.spec.seed for cell in own] for _, own in _to_score(comparison, anew=False)] == [[2]]
    assert [cell.spec.seed for cell in group.overtaken] == [1]
    choices = list(_to_score(comparison, anew=True))
    assert [[cell.spec.seed for cell in own] for _, own in choices] == [[1], [2]]
    assert [_opened_for_another(group, own) for group, own in choices] == [True, False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(ONE_SCORE, min_size=3, max_size=3), min_size=2, max_size=3),
    st.lists(st.lists(ONE_SCORE, min_size=3, max_size=3), min_size=4, max_size=4),
)
def test_a_choice_that_was_opened_stands(before: list[list[float | None]], after: list[list[float | None]]) -> None:
    """Runs that failed before may succeed, seeds and rates may be added: with any scores."""
    rates = [1e-5, 1e-4, 1e-3, 1e-6]
    chosen = select_configuration([locked_arm(rate, own) for rate, own in zip(rates, before, strict=False)])
    if chosen is None or chosen.learning_rate is None:
        return
    own = after[rates.index(chosen.learning_rate)]
    own[0] = 0.6 if own[0] is None else own[0]
    later = [
        locked_arm(rate, own, opened=rate == chosen.learning_rate) for rate, own in zip(rates, after, strict=True)
    ]
    found, alone = select_configuration(later), select_configuration(later, anew=True)
    assert found is not None and found.learning_rate == chosen.learning_rate
    closed_again = select_configuration([locked_arm(rate, own) for rate, own in zip(rates, after, strict=True)])
    assert alone is not None and closed_again is not None
    assert alone.learning_rate == closed_again.learning_rate


def test_a_new_seed_chooses_among_the_rates_that_were_planned_for_it() -> None:
    group = by_seed_group({1: 1e-4, 2: 1e-5})
    # The largest rate was taken out of the study before seed 3 was added.
    added = [closed(run_of_seed(3, 1e-5, 0.8)), closed(run_of_seed(3, 1e-4, 0.9))]
    found = compare([*group.cells, *added], chosen_by_seed=["full"]).group("full", 64)
    assert found is not None and found.selected is not None
    assert {cell.spec.seed: cell.spec.learning_rate for cell in found.selected.cells} == {1: 1e-4, 2: 1e-5, 3: 1e-4}


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


def test_the_best_rate_inside_the_range_is_not_at_the_edge() -> None:
    configs = [rate_arm(rate, {1: f1}) for rate, f1 in ((1e-5, 0.7), (1e-4, 0.9), (1e-3, 0.8))]
    comparison = compare([cell for config in configs for cell in config.cells])
    assert not warned(comparison, "at the edge")


def test_a_rate_that_was_left_out_was_not_tried() -> None:
    configs = [rate_arm(rate, {1: f1}) for rate, f1 in ((1e-4, 0.8), (1e-3, 0.9))]
    left = [make_cell(learning_rate=rate, seed=1, size=64, status="left_out") for rate in (1e-5, 1e-2)]
    comparison = compare([cell for config in configs for cell in config.cells] + left)
    group = comparison.group("full", 64)
    assert group is not None
    assert group.tried == (1e-4, 1e-3)
    assert group.at_edge and warned(comparison, "at the edge")
    single = compare([*configs[0].cells, *left])
    assert warned(single, "One learning rate per strategy")


def test_a_strategy_that_was_taken_out_of_the_study_has_chosen_by_seed_still() -> None:
    study = fakes.make_study(
        strategies={"full": {"learning_rate": [1e-5, 1e-4]}},
        seeds=[1, 2],
        subset_seed="per_seed",
        search={"seeds": "each"},
        selection="validation",
    )
    cells = [make_cell(label, learning_rate=1e-4, size=64, **HONEST) for label in ("full", "lora")]
    assert set(_chosen_by_seed(study, cells)) == {"full", "lora"}
    assert not _chosen_by_seed(study.model_copy(update={"search": Search()}), cells)


def test_a_choice_that_validation_would_not_make_any_more_is_not_called_the_best_on_validation() -> None:
    before, added = locked_arm(1e-4, [0.8, 0.8], opened=True), locked_arm(1e-5, [0.9, 0.9])
    for cells, stands in ((before.cells, False), ((*before.cells, *added.cells), True)):
        comparison = compare([*cells, *locked_arm(1e-3, [0.7, 0.7]).cells])
        assert warned(comparison, "was chosen before other runs came") == stands
        assert warned(comparison, "the one with the best mean macro F1 on validation is shown") != stands
