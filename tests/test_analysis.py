"""What is computed of a comparison: against slow definitions, and in the cases where it must hold back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from factories import HONEST, compare, make_cell, with_predictions
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.analysis.spread import shares_of
from tunebench.comparison import Cell, Comparison
from tunebench.errors import ConfigError, StoreError
from tunebench.stats import Refusal
from tunebench.tables import make_tables, to_csv
from tunebench.verdict_tables import VERDICT_TABLES

N = 2_000
SEEDS = (1, 2, 3)


def errors(rate: float, seed: int, *, own: float = 0.01) -> np.ndarray:
    """Return errors that all strategies share (hard texts), and a few of this run's own."""
    hard = np.random.default_rng(99).uniform(size=N) < rate
    return hard ^ (np.random.default_rng([7, seed, int(rate * 1e6)]).uniform(size=N) < own)


def arm(label: str, rate: float, *, seeds: tuple[int, ...] = SEEDS, **spec: Any) -> list[Cell]:
    own = spec.pop("own", 0.01)
    return [
        with_predictions(make_cell(label, seed=seed, **HONEST, **spec), errors(rate, seed, own=own), n=N, seed=seed)
        for seed in seeds
    ]


def test_a_difference_is_that_of_the_mean_scores() -> None:
    comparison = compare(arm("full", 0.10) + arm("lora", 0.15))
    (pair,) = comparison.analysis.pairs

    def mean(label: str) -> float:
        found = [c for c in comparison.cells if c.spec.label == label]
        return float(
            np.mean(
                [
                    f1_score(c.predictions()["labels"], c.predictions()["logits"].argmax(1), average="macro")
                    for c in found
                ]
            )  # type: ignore[misc]
        )

    assert pair.difference.estimate == pytest.approx(mean("full") - mean("lora"))
    assert pair.verdict.verdict == "different"
    assert pair.difference.over == "seeds and test examples"


def test_seeds_are_paired_by_seed_and_not_by_position() -> None:
    one, two = arm("full", 0.10), arm("lora", 0.15)
    forward = compare(one + two).analysis.pairs[0].difference
    shuffled = compare(one + two[::-1]).analysis.pairs[0].difference
    assert shuffled.interval == forward.interval


def test_a_single_seed_gives_an_interval_that_says_it_holds_the_examples_alone() -> None:
    comparison = compare(arm("full", 0.10, seeds=(1,)) + arm("lora", 0.15, seeds=(1,)))
    (pair,) = comparison.analysis.pairs
    assert pair.difference.over == "test examples"
    assert pair.same_examples is not None
    assert isinstance(pair.more_seeds, Refusal)
    found = recommend(comparison)
    assert not found.conclusive
    assert any("single run" in line for line in found.doubts)


def test_what_was_not_tried_is_not_claimed_where_a_kind_is_not_known() -> None:
    known = recommend(compare(arm("full", 0.10) + arm("lora", 0.15)))
    assert any("not run: " in line and "full" not in line for line in known.not_tried)
    cells = arm("full", 0.10)
    for cell in arm("lora", 0.15):
        assert cell.record is not None
        spec = cell.spec.model_copy(update={"kind": None})
        record = cell.record.model_copy(update={"spec": spec, "run_id": spec.run_id})
        cells.append(replace(cell, spec=spec, record=record))
    (said,) = [line for line in recommend(compare(cells)).not_tried if "kind" in line.lower()]
    assert "lora" in said and "not known" in said and "bitfit" not in said


def test_scores_on_different_test_examples_are_refused() -> None:
    other = arm("lora", 0.15)
    values = other[0].predictions
    assert values is not None
    changed = {**values(), "indices": np.arange(N) + 1}
    cells = [*arm("full", 0.10), replace(other[0], predictions=lambda: changed), *other[1:]]
    with pytest.raises(StoreError, match="different test examples"):
        _ = compare(cells).analysis.entries


def two_rates(label: str, rate: float, **options: Any) -> list[Cell]:
    """Return three learning rates with the middle one best on validation, so that none lies at the edge."""
    rates = (1e-5, 5e-5, 2e-4)
    cells = []
    for value in rates:
        for cell in arm(label, rate, learning_rate=value, **options):
            record = cell.record
            assert record is not None and record.selected is not None
            chosen = record.selected.model_copy(update={"macro_f1": 0.9 if value == 5e-5 else 0.8})
            cells.append(replace(cell, record=record.model_copy(update={"selected": chosen})))
    return cells


def test_a_tie_goes_to_the_cheaper_and_is_called_one() -> None:
    comparison = compare(two_rates("full", 0.10, own=0.002) + two_rates("lora", 0.1005, own=0.002), margin=1.5)
    found = recommend(comparison)
    assert set(found.tie) == {"full", "lora"}
    assert found.strategy == "lora"  # 2.5 s a step against 3 s in the made-up records
    assert "tie" in found.sentence
    assert found.conclusive, found.doubts


def test_the_better_one_wins_where_the_difference_is_real() -> None:
    comparison = compare(two_rates("full", 0.10) + two_rates("lora", 0.15))
    for prefer in ("f1", "cost", "size"):
        assert recommend(comparison, prefer=prefer).strategy == "full"
    assert recommend(comparison).conclusive
    assert not recommend(comparison).tie


def test_preferring_cost_turns_the_burden_of_proof_round() -> None:
    # Two noisy seeds: full scores higher, but nothing can be shown.
    cells = arm("full", 0.10, seeds=(1, 2), own=0.03) + arm("lora", 0.104, seeds=(1, 2), own=0.05)
    comparison = compare(cells)
    by_score = {label: recommend(comparison, prefer=label) for label in ("f1", "cost")}  # type: ignore[arg-type]
    assert by_score["f1"].strategy == "full"
    assert by_score["cost"].strategy == "lora"
    assert "not shown" in by_score["cost"].sentence


def test_a_best_rate_at_the_edge_makes_it_inconclusive() -> None:
    cells = two_rates("full", 0.10) + [c for c in two_rates("lora", 0.15) if c.spec.learning_rate >= 5e-5]
    found = recommend(compare(cells))
    assert not found.conclusive
    assert any("edge" in line and "lora" in line for line in found.doubts)
    assert any("unequal numbers" in line for line in found.doubts)


def test_selecting_on_test_is_a_doubt() -> None:
    cells = [
        with_predictions(make_cell(label, seed=seed), errors(rate, seed), n=N)
        for label, rate in (("full", 0.1), ("lora", 0.2))
        for seed in SEEDS
    ]
    assert any("selected on test" in line for line in recommend(compare(cells)).doubts)


def test_a_recommendation_is_json_and_the_same_twice() -> None:
    def make() -> Recommendation:
        return recommend(compare(arm("full", 0.10) + arm("lora", 0.12)))

    first, second = (json.dumps(make().to_dict(), allow_nan=False) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("options", [{"prefer": "speed"}, {"margin": 0.0}, {"margin": float("nan")}, {"size": 7}])
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        recommend(compare(arm("full", 0.10)), **options)


def test_nothing_scored_is_no_reason_for_a_recommendation() -> None:
    with pytest.raises(StoreError, match="nothing to recommend"):
        recommend(compare([make_cell("full", status="pending")]))


def test_costs_at_one_size_have_a_front_that_no_point_beats() -> None:
    comparison = compare(arm("full", 0.10) + arm("lora", 0.15) + arm("lora-mlp", 0.2))
    for points in comparison.analysis.fronts.values():
        for one in points:
            beaten = any(
                other.entry.interval().estimate >= one.entry.interval().estimate
                and other.cost <= one.cost
                and (other.entry.interval().estimate > one.entry.interval().estimate or other.cost < one.cost)
                for other in points
            )
            assert one.on_front is not beaten


def test_another_draw_of_the_subset_shows_in_the_variance_and_in_no_interval() -> None:
    def draw(subset_seed: int, rate: float) -> list[Cell]:
        return arm("full", rate, subset_seed=subset_seed, test_seed=1)

    one, both = compare(draw(1, 0.10)), compare(draw(1, 0.10) + draw(2, 0.16))
    (before,), (after,) = one.analysis.entries, both.analysis.entries
    assert after.interval() == before.interval()
    assert shares_of(before)["subset draw"].share is None
    share = shares_of(after)["subset draw"].share
    assert share is not None and share > 0.5


def test_agreement_counts_every_text_once() -> None:
    comparison = compare(arm("full", 0.10) + arm("lora", 0.15))
    (one,) = comparison.analysis.agreements
    assert one.all_right + len(one.all_wrong) + len(one.disputed) == N


def test_curves_are_refused_for_two_sizes_and_fitted_for_four() -> None:
    def grid(sizes: tuple[int, ...]) -> Comparison:
        return compare([c for n in sizes for c in arm("full", 0.05 + 10 / n**0.6, size=n)])

    (few,) = grid((500, 1_000)).analysis.curves
    assert isinstance(few.fit, Refusal)
    (many,) = grid((500, 1_000, 2_000, 4_000)).analysis.curves
    assert not isinstance(many.fit, Refusal)


@pytest.mark.parametrize("name", VERDICT_TABLES)
@pytest.mark.parametrize(
    "cells",
    [
        lambda: [make_cell("full", status="pending")],
        lambda: [make_cell("full", **HONEST), make_cell("lora", **HONEST)],
        lambda: arm("full", 0.10) + arm("lora", 0.15),
    ],
    ids=["nothing run", "no predictions", "whole"],
)
def test_every_table_stands_whatever_is_missing(name: str, cells: Callable[[], list[Cell]]) -> None:
    (table,) = make_tables(compare(cells()), [name])
    assert table.rows or table.notes
    assert len(to_csv(table).splitlines()) == len(table.rows) + 1
