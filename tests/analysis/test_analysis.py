"""What is computed of a comparison: against slow definitions, and in the cases where it must hold back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from factories import EIGHT, HONEST, accuracy_alone, compare, make_cell, with_predictions
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.pairs import difference_of
from tunebench.analysis.rate_warnings import rate_warnings
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.analysis.tuning import close_choices
from tunebench.analysis.variance import shares_of
from tunebench.analysis.wording import crossing_sentence, show_interval
from tunebench.errors import ConfigError, StoreError
from tunebench.report.tables import TABLES, make_tables, tables_of
from tunebench.report.tables.render import to_csv
from tunebench.stats import Crossing, Refusal, Size, example_interval
from tunebench.store.cell import Cell

N = 2_000
SEEDS = (1, 2, 3)


def errors(rate: float, seed: int, *, own: float = 0.01) -> np.ndarray:
    """Return errors that all strategies share (hard texts), and a few of this run's own."""
    hard = np.random.default_rng(99).uniform(size=N) < rate
    return hard ^ (np.random.default_rng([7, seed, int(rate * 1e6)]).uniform(size=N) < own)


def config(label: str, rate: float, *, seeds: tuple[int, ...] = SEEDS, **spec: Any) -> list[Cell]:
    own = spec.pop("own", 0.01)
    return [
        with_predictions(make_cell(label, seed=seed, **HONEST, **spec), errors(rate, seed, own=own), n=N, seed=seed)
        for seed in seeds
    ]


def test_what_is_still_to_come_is_named_with_its_rate_where_it_has_one() -> None:
    to_come = [
        make_cell("tfidf", kind="tfidf", status="pending", seed=1, **HONEST),
        make_cell("lora", status="pending", seed=1, **HONEST),
    ]
    found = recommend(analyse(compare(config("full", 0.10) + to_come)))
    assert "Still to come, and may be chosen instead: tfidf, lora at 1e-4." in found.doubts


def test_the_largest_size_decides_also_where_a_strategy_is_for_a_smaller_one_alone() -> None:
    large = config("full", 0.10) + config("lora", 0.15)
    small = [cells for label in ("full", "lora", "few") for cells in config(label, 0.20, train_size=500)]
    assert recommend(analyse(compare(large + small))).train_size == large[0].spec.train_size > 500
    # A size that is not complete yet does not decide.
    begun = [make_cell("more", status="pending", seed=1, **HONEST)]
    assert recommend(analyse(compare(large + begun + small))).train_size == 500


def test_a_difference_is_that_of_the_mean_scores() -> None:
    comparison = compare(config("full", 0.10) + config("lora", 0.15))
    (pair,) = analyse(comparison).pairs

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
    one, two = config("full", 0.10), config("lora", 0.15)
    forward = analyse(compare(one + two)).pairs[0].difference
    shuffled = analyse(compare(one + two[::-1])).pairs[0].difference
    assert shuffled.interval == forward.interval


def test_a_single_seed_gives_an_interval_that_says_it_holds_the_examples_alone() -> None:
    comparison = compare(config("full", 0.10, seeds=(1,)) + config("lora", 0.15, seeds=(1,)))
    (pair,) = analyse(comparison).pairs
    assert pair.difference.over == "test examples"
    assert pair.same_examples is not None
    assert isinstance(pair.new_study, Refusal)
    found = recommend(analyse(comparison))
    assert not found.conclusive
    assert any("single run" in line for line in found.doubts)


def test_what_was_not_tried_is_not_claimed_where_a_kind_is_not_known() -> None:
    known = recommend(analyse(compare(config("full", 0.10) + config("lora", 0.15))))
    assert any("not run: " in line and "full" not in line for line in known.not_tried)
    cells = config("full", 0.10)
    for cell in config("lora", 0.15):
        assert cell.record is not None
        spec = cell.spec.model_copy(update={"kind": None})
        record = cell.record.model_copy(update={"spec": spec, "run_id": spec.run_id})
        cells.append(replace(cell, spec=spec, record=record))
    (said,) = [line for line in recommend(analyse(compare(cells))).not_tried if "kind" in line.lower()]
    assert "lora" in said and "not known" in said and "bitfit" not in said


def test_scores_on_different_test_examples_are_refused() -> None:
    other = config("lora", 0.15)
    values = other[0].predictions
    assert values is not None
    changed = {**values(), "indices": np.arange(N) + 1}
    cells = [*config("full", 0.10), replace(other[0], predictions=lambda: changed), *other[1:]]
    with pytest.raises(StoreError, match="different test examples"):
        _ = analyse(compare(cells)).entries


def three_rates(label: str, rate: float, *, locked: bool = True, **options: Any) -> list[Cell]:
    """Return three learning rates with the middle one best on validation, so that none lies at the edge.

    The others have no test scores, as they were not chosen, unless they are not ``locked``.
    """
    rates = (1e-5, 5e-5, 2e-4)
    cells = []
    for value in rates:
        for cell in config(label, rate, learning_rate=value, **options):
            record = cell.record
            assert record is not None and record.selected is not None
            chosen = record.selected.model_copy(update={"score": 0.9 if value == 5e-5 else 0.8})
            record = record.model_copy(update={"selected": chosen})
            if locked and value != 5e-5:
                record, cell = record.model_copy(update={"scores": None}), replace(cell, predictions=None)
            cells.append(replace(cell, record=record))
    return cells


def test_a_tie_goes_to_the_cheaper_and_is_called_one() -> None:
    comparison = compare(three_rates("full", 0.10, own=0.002) + three_rates("lora", 0.1005, own=0.002), margin=1.5)
    found = recommend(analyse(comparison))
    assert set(found.tie) == {"full", "lora"}
    assert found.strategy == "lora"  # 2.5 s a step against 3 s in the made-up records
    assert "equal to full" in found.sentence
    assert found.conclusive, found.doubts


def test_the_better_one_wins_where_the_difference_is_real() -> None:
    comparison = compare(three_rates("full", 0.10) + three_rates("lora", 0.15))
    for prefer in ("f1", "cost", "size"):
        assert recommend(analyse(comparison), prefer=prefer).strategy == "full"
    assert recommend(analyse(comparison)).conclusive
    assert not recommend(analyse(comparison)).tie


def test_preferring_cost_turns_the_burden_of_proof_round() -> None:
    # Two noisy seeds: full scores higher, but nothing can be shown.
    cells = config("full", 0.10, seeds=(1, 2), own=0.03) + config("lora", 0.104, seeds=(1, 2), own=0.05)
    comparison = compare(cells)
    by_score = {label: recommend(analyse(comparison), prefer=label) for label in ("f1", "cost")}  # type: ignore[arg-type]
    assert by_score["f1"].strategy == "full"
    assert by_score["cost"].strategy == "lora"
    assert "not shown" in by_score["cost"].sentence


def test_a_best_rate_at_the_edge_makes_it_inconclusive() -> None:
    cells = three_rates("full", 0.10) + [c for c in three_rates("lora", 0.15) if c.spec.learning_rate >= 5e-5]
    found = recommend(analyse(compare(cells)))
    assert not found.conclusive
    assert any("edge" in line and "lora" in line for line in found.doubts)
    assert any("unequal numbers" in line for line in found.doubts)


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_a_strategy_that_could_not_speak_is_a_doubt(status: Any) -> None:
    sound = three_rates("full", 0.10) + three_rates("lora", 0.15)
    silent = [make_cell("lora-mlp", status=status, seed=seed, **HONEST) for seed in SEEDS]
    found = recommend(analyse(compare(sound + silent)))
    assert not found.conclusive
    assert any("lora-mlp (3 " in line for line in found.doubts)


def test_a_seed_that_failed_at_the_chosen_rate_is_a_doubt() -> None:
    cells = three_rates("full", 0.10) + three_rates("lora", 0.15)
    lost = make_cell("full", status="failed", seed=9, learning_rate=5e-5, **HONEST)
    found = recommend(analyse(compare([*cells, lost])))
    assert not found.conclusive and any("1 of 4 runs" in line and "full" in line for line in found.doubts)


def test_a_second_look_at_the_test_part_is_a_doubt_and_said_under_every_table() -> None:
    comparison = compare(three_rates("full", 0.10, locked=False) + three_rates("lora", 0.15))
    found = recommend(analyse(comparison))
    assert not found.conclusive and any("more than once" in line and "full" in line for line in found.doubts)
    for table in make_tables(analyse(comparison), [n for n in tables_of(analyse(comparison)) if n != "data"]):
        assert any("more than once" in note for note in table.notes), table.name


def test_a_baseline_without_a_learning_rate_is_no_doubt_about_rates() -> None:
    baseline = config("tfidf", 0.25, kind="tfidf", learning_rate=1.0)
    found = recommend(analyse(compare(three_rates("full", 0.10) + three_rates("lora", 0.15) + baseline)))
    assert found.conclusive, found.doubts
    assert not any("tfidf" in line and "rate" in line for line in (*found.not_tried, *found.reasons))
    assert next(a for a in found.alternatives if a.label == "tfidf").learning_rate is None


def test_the_recommendation_and_the_table_of_pairs_give_one_p() -> None:
    sizes = [
        cell
        for size in (2_000, 5_000)
        for cell in config("full", 0.10, size=size) + config("lora", 0.11, size=size)
    ]
    comparison = compare(sizes)
    (pair,) = [pair for pair in analyse(comparison).pairs if pair.first.train_size == 5_000]
    (said,) = [
        a.difference.p_value for a in recommend(analyse(comparison), size=5_000).alternatives if a.difference
    ]
    assert said == pair.p_holm > pair.difference.p_value


def test_a_pair_that_the_table_leaves_out_is_corrected_for_all_that_might_have_been_picked() -> None:
    cells = config("full", 0.10) + config("lora", 0.103) + config("lora-r2", 0.101)
    comparison = compare(cells, pairs=[("lora", "lora-r2")])
    found = recommend(analyse(comparison))
    assert found.alternatives[0].label == "full"
    for other in found.alternatives[1:]:
        entries = {entry.label: entry for entry in analyse(comparison).entries}
        raw = difference_of(entries[other.label], entries["full"]).p_value
        assert other.difference is not None and other.difference.p_value == pytest.approx(min(1.0, 3 * raw))


@pytest.mark.parametrize(("labels", "words"), [(1_000, "Fewer than about 1,000"), (9_000, "More than about 9,000")])
def test_a_crossing_is_told_from_the_side_that_would_change_the_answer(labels: float, words: str) -> None:
    size = Size(labels, labels / 2, labels * 2, 0.95, "bootstrap", "seeds", extrapolated=labels > 5_000)
    said = crossing_sentence("full", "lora", Crossing(size, "second"), train_size=5_000)
    assert said.startswith(words)
    leads = "lora" if labels < 5_000 else "full"
    assert f"{leads} leads" in said and ("extrapolated" in said) == (labels > 5_000)


def test_selecting_on_test_is_a_doubt() -> None:
    cells = [
        with_predictions(make_cell(label, seed=seed), errors(rate, seed), n=N)
        for label, rate in (("full", 0.1), ("lora", 0.2))
        for seed in SEEDS
    ]
    assert any("selected on test" in line for line in recommend(analyse(compare(cells))).doubts)


def test_a_recommendation_is_json_and_the_same_twice() -> None:
    def make() -> Recommendation:
        return recommend(analyse(compare(config("full", 0.10) + config("lora", 0.12))))

    first, second = (json.dumps(make().to_dict(), allow_nan=False) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("options", [{"prefer": "speed"}, {"margin": 0.0}, {"margin": float("nan")}, {"size": 7}])
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        recommend(analyse(compare(config("full", 0.10))), **options)


def test_nothing_scored_is_no_reason_for_a_recommendation() -> None:
    with pytest.raises(StoreError, match="nothing to recommend"):
        recommend(analyse(compare([make_cell("full", status="pending")])))


def test_costs_at_one_size_have_a_front_that_no_point_beats() -> None:
    comparison = compare(config("full", 0.10) + config("lora", 0.15) + config("lora-mlp", 0.2))
    for points in analyse(comparison).fronts.values():
        for one in points:
            beaten = any(
                other.score >= one.score
                and other.cost <= one.cost
                and (other.score > one.score or other.cost < one.cost)
                for other in points
            )
            assert one.on_front is not beaten


def test_another_draw_of_the_subset_shows_in_the_variance_and_in_no_interval() -> None:
    def draw(subset_seed: int, rate: float) -> list[Cell]:
        return config("full", rate, subset_seed=subset_seed, test_seed=1)

    one, both = compare(draw(1, 0.10)), compare(draw(1, 0.10) + draw(2, 0.16))
    (before,), (after,) = analyse(one).entries, analyse(both).entries
    assert after.interval() == before.interval()
    assert shares_of(before)["subset draw"].share is None
    share = shares_of(after)["subset draw"].share
    assert share is not None and share > 0.5


def draws(subset_seeds: tuple[int, ...], *, paired: bool = False) -> list[Cell]:
    """Return two strategies' runs of every subset draw with every seed, or one a pair."""
    seeds = {subset: (seed,) if paired else SEEDS for subset, seed in zip(subset_seeds, SEEDS, strict=False)}
    return [
        cell
        for label, rate in (("full", 0.1), ("lora", 0.15))
        for subset, own in seeds.items()
        for cell in config(label, rate + subset / 100, seeds=own, subset_seed=subset, test_seed=1)
    ]


@pytest.mark.parametrize(
    ("cells", "known", "shared"),
    [
        (lambda: config("full", 0.1, seeds=(1,)), {"test"}, False),
        (lambda: config("full", 0.1), {"seed", "test"}, False),
        (lambda: draws((1, 2)), {"subset", "seed", "test"}, True),
        (lambda: draws((1, 2, 3), paired=True), {"together", "test"}, True),
    ],
    ids=["one seed", "seeds", "draws and seeds", "a draw a seed"],
)
def test_a_variance_has_shares_only_where_all_of_it_is_known(
    cells: Callable[[], list[Cell]], known: set[str], shared: bool
) -> None:
    (table,) = make_tables(analyse(compare(cells())), ["variance"])
    shown = {column.key for column in table.visible}
    for row in table.rows:
        points = {name: row[f"{name}_sd"] for name in known}
        assert sum(value**2 for value in points.values()) == pytest.approx(row["sd"] ** 2)
        assert {key.removesuffix("_sd") for key in row if key.endswith("_sd")} == known
        if shared:
            shares = {name: points[name] ** 2 / row["sd"] ** 2 for name in known}
            assert {name: row[name] for name in known} == pytest.approx(shares)
        else:
            assert not shown & {"subset", "seed", "together", "test"}


def test_runs_with_an_accuracy_alone_are_left_out_of_scores_by_class_and_of_the_variance() -> None:
    cells = config("full", 0.1)
    mixed, fewer = compare([accuracy_alone(cells[0]), *cells[1:]]), compare(cells[1:])
    for name in ("per_class", "variance"):
        (found,), (expected,) = make_tables(analyse(mixed), [name]), make_tables(analyse(fewer), [name])
        assert found.body() == expected.body() != []


def test_agreement_counts_every_text_once() -> None:
    comparison = compare(config("full", 0.10) + config("lora", 0.15))
    (one,) = analyse(comparison).agreements
    assert one.all_right + len(one.all_wrong) + len(one.disputed) == N


def test_curves_are_refused_for_two_sizes_and_fitted_for_four() -> None:
    def grid(sizes: tuple[int, ...]) -> Comparison:
        return compare([c for n in sizes for c in config("full", 0.05 + 10 / n**0.6, size=n)])

    (few,) = analyse(grid((500, 1_000))).curves
    assert isinstance(few.fit, Refusal)
    (many,) = analyse(grid((500, 1_000, 2_000, 4_000))).curves
    assert not isinstance(many.fit, Refusal)


def test_a_tiny_p_is_short_to_read_and_whole_in_csv() -> None:
    comparison = compare(config("full", 0.10, seeds=(1,)) + config("lora", 0.40, seeds=(1,)))
    (table,) = make_tables(analyse(comparison), ["pairs"])
    (row,) = table.rows
    assert 0 < row["mcnemar_p"] < 1e-20
    assert "< 0.0001" in table.body()[0]
    assert repr(row["mcnemar_p"]) in to_csv(table)


@pytest.mark.parametrize("name", [n for n, make in TABLES.items() if make.__module__.endswith("statistics")])
@pytest.mark.parametrize(
    "cells",
    [
        lambda: [make_cell("full", status="pending")],
        lambda: [make_cell("full", **HONEST), make_cell("lora", **HONEST)],
        lambda: config("full", 0.10) + config("lora", 0.15),
    ],
    ids=["nothing run", "no predictions", "whole"],
)
def test_every_table_stands_whatever_is_missing(name: str, cells: Callable[[], list[Cell]]) -> None:
    (table,) = make_tables(analyse(compare(cells())), [name])
    assert table.rows or table.notes
    assert len(to_csv(table).splitlines()) == len(table.rows) + 1


def test_a_large_difference_found_among_many_strategies_is_shown_to_be_one() -> None:
    others = [cell for label in list(EIGHT)[1:] for cell in config(label, 0.101, seeds=(1,))]
    far = config("far-off", 0.3, seeds=(1,))
    found = recommend(analyse(compare([*config("full", 0.10, seeds=(1,)), *others, *far])))
    verdicts = {a.label: a.difference.verdict for a in found.alternatives if a.difference is not None}
    assert verdicts["far-off"] == "different on these runs"


def test_one_seed_never_speaks_of_strategies() -> None:
    comparison = compare(config("full", 0.10, seeds=(1,)) + config("lora", 0.30, seeds=(1,)), margin=30)
    (pair,) = analyse(comparison).pairs
    assert "on these runs" in pair.verdict.verdict and pair.p_holm < 0.001
    found = recommend(analyse(comparison))
    assert "on these runs" in found.sentence and any("of these runs" in line for line in found.reasons)
    (table,) = make_tables(analyse(comparison), ["pairs"])
    assert any("one seed" in note for note in table.notes)


def test_a_p_value_without_seeds_does_not_depend_on_the_order_of_the_pair() -> None:
    one, other = config("full", 0.10, seeds=(1,)), config("lora", 0.104, seeds=(1,))
    forward, back = (analyse(compare(cells)).pairs[0].difference for cells in (one + other, other + one))
    assert 0.0001 < forward.p_value < 0.9 and forward.p_value == pytest.approx(back.p_value, rel=1e-9)


def test_cheap_and_worse_by_an_unsettled_amount_is_not_conclusive() -> None:
    cells = three_rates("full", 0.10) + three_rates("lora", 0.112)
    (pair,) = analyse(compare(cells, margin=1.0)).pairs
    assert (
        pair.verdict.verdict == "different" and pair.difference.interval.low < 0.01 < pair.difference.interval.high
    )
    found = recommend(analyse(compare(cells, margin=1.0)), prefer="size")
    assert found.strategy == "lora" and not found.conclusive
    assert any("may be worse than full by more than 1 point" in line for line in found.doubts)
    among = "of those not shown to be worse by more than 1 point, it has the smallest weights."
    assert f"; {among} It may lose more than 1 point against full (" in found.sentence
    wide = recommend(analyse(compare(cells, margin=4.0)), prefer="size")
    assert wide.strategy == "lora" and not any("may be worse" in line for line in wide.doubts)


def six(*, seeds: tuple[int, ...] = SEEDS, **spec: Any) -> list[Cell]:
    return [
        cell
        for k, label in enumerate(list(EIGHT)[:6])
        for cell in config(label, 0.10 + 0.002 * k, seeds=seeds, **spec)
    ]


def test_all_pairs_count_where_the_reference_is_the_best_on_test() -> None:
    def without_selection() -> list[Cell]:
        cells = []
        for cell in six():
            assert cell.record is not None and cell.record.selected is not None
            chosen = cell.record.selected.model_copy(update={"score": None})
            cells.append(replace(cell, record=cell.record.model_copy(update={"selected": chosen})))
        return cells

    by_test, by_validation = analyse(compare(without_selection())), analyse(compare(six()))
    for analysis, comparisons in ((by_test, 15), (by_validation, 5)):
        smallest = min(analysis.pairs, key=lambda pair: pair.difference.p_value)
        assert len(analysis.pairs) == 5
        assert smallest.p_holm == pytest.approx(min(1.0, comparisons * smallest.difference.p_value))
        assert smallest.verdict.comparisons == comparisons
    (table,) = make_tables(by_test, ["pairs"])
    assert any("all 15 pairs" in note for note in table.notes)


def test_seed_variances_of_three_strategies_moderate_each_other_and_of_two_do_not() -> None:
    few, many = analyse(compare(six()[:6])), analyse(compare(six()))
    assert few.pairs[0].difference.moderated == 0 and many.pairs[0].difference.moderated == 6
    assert many.pairs[0].difference.seed_df > few.pairs[0].difference.seed_df == 2
    assert "moderated" in many.entries[0].interval().method
    for analysis, words in ((few, "conservative"), (many, "moderated by those of 6")):
        (table,) = make_tables(analysis, ["pairs"])
        assert any(words in note for note in table.notes)


def test_a_baseline_whose_seeds_agree_neither_gives_nor_takes_a_variance() -> None:
    still = [
        with_predictions(
            make_cell("tfidf", kind="tfidf", seed=seed, learning_rate=1.0, **HONEST), errors(0.2, 1), n=N
        )
        for seed in SEEDS
    ]
    found = analyse(compare(six()[:9] + still))
    moderated = {p.difference.moderated for p in found.pairs if "tfidf" in (p.first.label, p.second.label)}
    assert moderated == {0} and found.entries[0].peers is not None
    assert found.entries[0].peers.count(found.comparison.measure) == 3


def test_runs_that_take_the_masks_of_others_neither_give_nor_take_a_variance() -> None:
    taking = config("again", 0.105, kind="full", randomness="fast_engine")
    alone, found = analyse(compare(six())), analyse(compare(six() + taking))
    differences = {(p.first.label, p.second.label): p.difference for p in found.pairs}
    for (first, second), difference in differences.items():
        assert difference.moderated == (0 if "again" in (first, second) else 6)
    assert any("again" in pair for pair in differences)
    known, entries = ({entry.label: entry for entry in one.entries} for one in (alone, found))
    for first, second in itertools.pairwise(known):
        before, after = (difference_of(of[first], of[second]) for of in (known, entries))
        assert before.parts == after.parts and after.moderated == 6
    (table,) = make_tables(found, ["pairs"])
    assert any("takes the fast engine's randomness" in note for note in table.notes)
    assert not any("fewer than three" in note for note in table.notes)


def test_the_score_of_the_recommended_one_of_several_has_the_wider_interval() -> None:
    found = analyse(compare(six()))
    chosen = recommend(found)
    entry = next(entry for entry in found.entries if entry.label == chosen.strategy)
    wide = entry.interval(level=1 - 0.05 / 6)
    assert f"[{wide.low:.4f}, {wide.high:.4f}]" in chosen.sentence
    assert wide.half_width > entry.interval().half_width


def timed(cells: list[Cell], *seconds: float, contended: bool = False) -> list[Cell]:
    found = []
    for cell, value in zip(cells, seconds, strict=True):
        assert cell.record is not None and cell.record.timing is not None
        timing = cell.record.timing.model_copy(update={"train_seconds": value, "contended": contended})
        found.append(replace(cell, record=cell.record.model_copy(update={"timing": timing})))
    return found


def test_a_tie_in_time_is_a_tie_and_the_better_score_decides() -> None:
    full, lora = config("full", 0.10, own=0.002), config("lora", 0.1005, own=0.002)
    close = compare(timed(full, 640, 645, 637) + timed(lora, 636, 640, 633), margin=1.5)
    found = recommend(analyse(close))
    assert found.strategy == "full" and set(found.tie) == {"full", "lora"}
    assert "among the fastest to train" in found.sentence
    apart = compare(timed(full, 640, 645, 637) + timed(lora, 536, 540, 533), margin=1.5)
    found = recommend(analyse(apart))
    assert found.strategy == "lora" and "trains fastest" in found.sentence


def test_times_on_a_shared_machine_do_not_decide() -> None:
    full, lora = config("full", 0.10, own=0.002), config("lora", 0.1005, own=0.002)
    shared = timed(lora[:1], 300, contended=True) + timed(lora[1:], 700, 705)
    found = recommend(analyse(compare(timed(full, 640, 645, 637) + shared, margin=1.5)))
    assert found.strategy == "full"
    lora_cost = next(a.costs for a in found.alternatives if a.label == "lora")
    assert lora_cost["train_seconds"] == pytest.approx(702.5)
    alone = timed(lora, 560, 565, 563, contended=True)  # nothing but shared times: these count for less
    assert recommend(analyse(compare(timed(full, 640, 645, 637) + alone, margin=1.5))).strategy == "full"


def test_a_rate_that_validation_does_not_settle_is_a_doubt_where_it_could_matter() -> None:
    def near(label: str, rate: float) -> list[Cell]:
        cells = []
        for cell in three_rates(label, rate):
            assert cell.record is not None and cell.record.selected is not None
            score = 0.9 if cell.spec.learning_rate == 5e-5 else 0.895
            chosen = cell.record.selected.model_copy(update={"score": score})
            cells.append(replace(cell, record=cell.record.model_copy(update={"selected": chosen})))
        return cells

    close = recommend(analyse(compare(three_rates("full", 0.10) + near("lora", 0.11))))
    assert any("rate of lora is not settled" in line for line in close.doubts)
    far = recommend(analyse(compare(three_rates("full", 0.10) + near("lora", 0.30))))
    assert not any("not settled" in line for line in far.doubts)
    assert recommend(analyse(compare(near("full", 0.10) + three_rates("lora", 0.15)))).conclusive
    warned = analyse(compare(near("full", 0.10) + three_rates("lora", 0.15))).warnings
    assert any("within two standard errors" in line and "full" in line and "lora" not in line for line in warned)


@pytest.mark.parametrize(("metric", "said"), [("mcc", "is not settled"), ("log_loss", "may not be the best")])
def test_a_choice_by_one_run_of_each_rate_is_doubted_by_any_metric(metric: str, said: str) -> None:
    cells = []
    for label, skill in (("full", 0.10), ("lora", 0.11)):
        for cell in three_rates(label, skill, metric=metric):
            chosen, record = cell.spec.learning_rate == 5e-5, cell.record
            if not chosen and cell.spec.seed != 1:
                continue  # a search gives the other seeds to the chosen rate alone
            assert record is not None and record.selected is not None
            worse = 0.0005 if metric == "log_loss" else -0.0005
            selected = record.selected.model_copy(update={"score": 0.5 + (0.0 if chosen else worse)})
            cells.append(replace(cell, record=record.model_copy(update={"selected": selected})))
    found = recommend(analyse(compare(cells, metric=metric)))
    assert any(said in doubt and "learning rate" in doubt for doubt in found.doubts)


def test_the_error_of_a_choice_is_that_of_the_draws_that_chose_it() -> None:
    """Two subsets, each validated once; the other seeds of the chosen rate are no part of the choice."""
    cells = []
    for draw in (42, 43):
        cells += [make_cell("full", seed=seed, subset_seed=draw, test_seed=42, **HONEST) for seed in (1, 2, 3)]
        cells.append(make_cell("full", seed=1, subset_seed=draw, test_seed=42, learning_rate=1e-5, **HONEST))
    found = close_choices(compare(cells))
    assert found and found[0].error < 0.012  # 0.0137 with one subset
    by_seed = sorted(cells, key=lambda cell: (cell.spec.seed, cell.spec.subset_seed))
    assert [one.error for one in close_choices(compare(by_seed))] == [one.error for one in found]


def test_where_each_seed_chose_on_its_own_texts_the_choice_is_in_the_spread() -> None:
    def cells(subset: Callable[[int], int]) -> list[Cell]:
        """Two rates that are alike on validation, and three seeds."""
        return [
            make_cell("full", seed=seed, subset_seed=subset(seed), test_seed=1, learning_rate=rate, **HONEST)
            for rate in (1e-5, 5e-5)
            for seed in (1, 2, 3)
        ]

    own, shared = cells(lambda seed: seed), cells(lambda seed: 1)
    assert close_choices(compare(own)) and not close_choices(compare(own, chosen_by_seed=["full"]))
    # What one validation part did to all seeds alike is not in their spread.
    assert close_choices(compare(shared, chosen_by_seed=["full"]))
    said = rate_warnings(compare(own, chosen_by_seed=["full"]))
    assert said[0].endswith("so the spread over seeds holds the choice.")
    assert not any("best mean" in line for line in said)
    assert "only a part of the choice" in rate_warnings(compare(shared, chosen_by_seed=["full"]))[0]
    # One seed has no spread.
    alone = compare([cell for cell in own if cell.spec.seed == 1], chosen_by_seed=["full"])
    assert close_choices(alone) and "best mean" in rate_warnings(alone)[0]


def test_the_score_of_what_validation_would_pick_stands_beside_the_best() -> None:
    def scored(label: str, skill: float, on_validation: float) -> list[Cell]:
        cells = []
        for cell in config(label, skill, own=0.002):
            assert cell.record is not None and cell.record.selected is not None
            selected = cell.record.selected.model_copy(update={"score": on_validation})
            cells.append(replace(cell, record=cell.record.model_copy(update={"selected": selected})))
        return cells

    cells = scored("full", 0.10, 0.80) + scored("lora", 0.12, 0.85)
    analysis = analyse(compare(cells))
    best, other = sorted(analysis.at(5_000), key=lambda entry: -entry.interval().estimate)
    (line,) = [line for line in recommend(analysis).not_tried if "flatters" in line]
    assert (
        best.label == "full"
        and f"Validation would pick lora. Its score on test, {show_interval(other.interval())}" in line
    )
    # Where a strategy has no score on validation, nothing is picked by it.
    none = [replace(c, record=c.record.model_copy(update={"selected": None})) for c in cells[:3] if c.record]
    (line,) = [one for one in recommend(analyse(compare(none + cells[3:]))).not_tried if "flatters" in one]
    assert "Validation" not in line


def test_runs_for_which_the_metric_is_not_defined_are_a_doubt() -> None:
    rng, cells = np.random.default_rng(0), []
    for label in ("full", "lora"):
        for seed in (1, 2, 3):
            # The third run of full says the first class of every text.
            wrong = np.arange(400) % 2 == 1 if (label, seed) == ("full", 3) else rng.random(400) < 0.1
            cells.append(with_predictions(make_cell(label, seed=seed), wrong))
    doubts = recommend(analyse(compare(cells, metric="mcc"))).doubts
    assert any("not defined for 1 of the runs of full" in doubt for doubt in doubts)
    assert not any("not defined" in doubt for doubt in recommend(analyse(compare(cells))).doubts)


def test_the_level_of_an_interval_is_said_as_it_is() -> None:
    cells = config("full", 0.10, own=0.002) + config("lora", 0.12, own=0.002)
    reasons = recommend(analyse(compare(cells, alpha=0.001))).reasons
    assert any("99.8 %" in line for line in reasons) and not any("100" in line for line in reasons)


def test_an_interval_for_many_strategies_does_not_hang_on_one_draw() -> None:
    """A class of nine texts: of some two thousand draws one may have none of them, which scores 0 in that class."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), [9, 200, 200])
    said = np.where(rng.random(409) < 0.05, (labels + 1) % 3, labels)
    ends = [
        example_interval(
            labels, said, classes=3, rng=np.random.default_rng(seed), level=1 - 0.05 / 18, resamples=resamples
        ).low
        for resamples in (1_999, None)
        for seed in range(4)
    ]
    assert np.ptp(ends[4:]) < np.ptp(ends[:4])
    cells = [with_predictions(make_cell(f"s{i}"), rng.random(400) < 0.1 + i / 1_000) for i in range(60)]
    # With so many, an end lies where two thousand draws have none.
    assert len(recommend(analyse(compare(cells, metric="mcc"))).alternatives) == 60
