"""The answer in words: what to choose, how the others stand to it, how sure it is, and what settling it costs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from factories import HONEST, compare, make_cell, seeds_that_chose, with_predictions
from report.studies import make_difference, make_recommendation
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.answer import STANDINGS, answer_of, shortened, standings, trust_of, verdict_of
from tunebench.analysis.doubling import doublings, more_labels
from tunebench.analysis.pairs import difference_of
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.analysis.wording import show_plan
from tunebench.report.words import alternatives_table
from tunebench.stats import Interval, Refusal, SeedsNeeded
from tunebench.stats.decisions import Verdict
from tunebench.tasks.metrics import METRICS


def with_verdicts(verdicts: dict[int, Verdict], count: int = 5, **changes: Any) -> Recommendation:
    found = make_recommendation(count, **changes)
    return replace(
        found,
        alternatives=tuple(
            replace(one, beside=make_difference(verdicts[i]) if i in verdicts else one.beside)
            for i, one in enumerate(found.alternatives)
        ),
    )


def analysis_of(*pairs: Any) -> Analysis:
    entry = SimpleNamespace(label="c0", design=None, seeds=(1,))
    comparison = SimpleNamespace(sizes=[1_000], cells=(), scored=())
    return cast(Analysis, SimpleNamespace(pairs=pairs, at=lambda size: [entry], comparison=comparison))


def pair(first: str, second: str, plan: SeedsNeeded | Refusal, size: int = 1_000) -> Any:
    return SimpleNamespace(
        first=SimpleNamespace(label=first, train_size=size, metric=METRICS["macro_f1"]),
        second=SimpleNamespace(label=second, train_size=size),
        new_study=plan,
    )


def test_the_verdict_names_what_to_choose_and_how_the_others_stand_to_it() -> None:
    found = with_verdicts({1: "equivalent", 3: "different", 4: "different"}, tie=("c0", "c1"))
    assert verdict_of(found) == "Choose c0; as good within 0.5 points: c1; too close to call: c2; worse: c3, c4."
    assert verdict_of(make_recommendation(1)) == "Choose c0; nothing else was compared."
    assert verdict_of(make_recommendation(9)).endswith("too close to call: c1, c2, c3 and 5 more.")


def test_a_small_but_real_difference_is_as_good_and_the_best_is_better_than_a_cheaper_choice() -> None:
    small: Verdict = "equivalent and different (small but real)"
    assert standings(with_verdicts({1: small}, 2)) == {"c1": "as good"}
    cheap = make_recommendation(2, strategy="c1", prefer="cost", goal="trains fastest")
    ahead = make_difference("different")
    ahead = replace(ahead, interval=Interval(0.01, 0.004, 0.016, 0.9, "t", "seeds"))
    better = replace(cheap, alternatives=(replace(cheap.alternatives[0], beside=ahead), cheap.alternatives[1]))
    assert standings(better) == {"c0": "better"}
    said = (
        "Choose c1: of those not shown to be worse by more than 0.5 points, it trains fastest; better, perhaps by "
        "more than 0.5 points: c0."
    )
    assert verdict_of(better) == said


def test_others_are_compared_with_what_is_chosen_and_not_with_the_best() -> None:
    """The best is shown to be ahead of the third; the second, which is chosen for its cost, is not."""
    cells = []
    rng = np.random.default_rng(0)
    hard = rng.random(4_000)
    for label, rate, seconds in (("full", 0.100, 90.0), ("lora", 0.112, 10.0), ("lora-r2", 0.124, 40.0)):
        for seed in (1, 2, 3):
            wrong = hard + rng.normal(0, 0.02, 4_000) < rate
            cell = with_predictions(make_cell(label, seed=seed), wrong, n=4_000)
            assert cell.record is not None and cell.record.timing is not None
            timing = cell.record.timing.model_copy(update={"train_seconds": seconds + seed / 10})
            cells.append(replace(cell, record=cell.record.model_copy(update={"timing": timing})))
    analysis = analyse(compare(cells, margin=1.0))
    by_score, by_cost = recommend(analysis), recommend(analysis, prefer="cost")
    assert (by_score.strategy, by_cost.strategy) == ("full", "lora")
    third = next(one for one in by_cost.alternatives if one.label == "lora-r2")
    assert third.difference is not None and third.beside is not None
    own = {entry.label: entry for entry in analysis.entries}
    expected = difference_of(own["lora-r2"], own["lora"])
    assert third.beside.interval.estimate == pytest.approx(expected.estimate)
    assert abs(third.beside.interval.estimate) < abs(third.difference.interval.estimate)
    rows = {row["strategy"]: row for row in alternatives_table(by_cost).rows}
    assert rows["lora"]["difference"] is None and rows["full"]["difference"].estimate > 0
    assert rows["lora-r2"]["difference"] is third.beside.joint
    # Where the corrected test by itself finds nothing, the interval that holds for all pairs holds 0.
    for test in (third.beside, third.difference):
        assert (test.p_value > 0.05) == (test.joint.low <= 0 <= test.joint.high)


@pytest.mark.parametrize("count", [1, 2, 18, 60])
def test_every_other_candidate_has_one_standing(count: int) -> None:
    found = standings(make_recommendation(count))
    assert list(found) == [f"c{i}" for i in range(1, count)]
    assert set(found.values()) <= set(STANDINGS)


def test_the_answer_is_a_few_lines_whatever_the_number_of_candidates() -> None:
    doubts = ("Trained too little: c4 at 1,000 labels (150 steps, " + "and so on, " * 40, "another one", "a third")
    for count in (2, 18, 60):
        found = make_recommendation(count, conclusive=False, doubts=doubts, beside="Beside it, nothing.")
        lines = answer_of(analysis_of(), found).lines
        assert len(lines) <= 6 and all(len(line) < 250 for line in lines)
        assert (
            lines[1]
            == "  c0: macro F1 0.9000 [0.8900, 0.9100] with 1,000 labels at learning rate 1e-4; 1.0 min to train"
        )
        assert "Not conclusive: Trained too little: c4 at 1,000 labels … 2 more doubts." in lines


def test_a_sentence_that_fits_is_whole_and_a_longer_one_ends_at_a_word() -> None:
    assert shortened("Short.") == "Short."
    for text in ("word " * 60, "One thing (" + "x" * 300):
        found = shortened(text, 40)
        assert len(found) <= 42 and found.endswith(" …") and text.startswith(found.removesuffix(" …"))
    assert trust_of(make_recommendation(2)).startswith("Conclusive")


def test_what_settling_costs_is_the_training_time_of_the_seeds_it_takes() -> None:
    found = make_recommendation(2, conclusive=False, doubts=("open",))

    def settling(plan: SeedsNeeded | Refusal, **where: Any) -> str | None:
        return answer_of(analysis_of(pair("c1", "c0", plan, **where)), found).settling

    four = SeedsNeeded(4, 3, 100, 0.001, 0.8, 0.05, "seeds")
    assert (
        settling(four)
        == "To settle c1 and c0: a new study with 4 seeds of each (power 80%), for about 8.1 min of training."
    )
    never = SeedsNeeded(None, None, 100, 0.055, 0.8, 0.05, "seeds", 9_000)
    said = settling(never)
    assert said is not None and "a new study with about 9,000 test texts or more (the present ones leave" in said
    said = settling(replace(never, examples=None))
    assert said is not None and said.endswith("more than 100 seeds of each: seeds vary too much for this margin.")
    assert settling(Refusal("why")) is settling(four, size=500) is None
    single = replace(found, alternatives=tuple(replace(one, seeds=1) for one in found.alternatives))
    said = answer_of(analysis_of(), single).settling
    assert (
        said
        == "To learn more: one more seed of c0 and c1 shows how much seeds vary, for about 2.0 min of training."
    )
    unknown = replace(single, alternatives=tuple(replace(one, costs={}) for one in single.alternatives))
    assert (
        answer_of(analysis_of(), unknown).settling
        == "To learn more: one more seed of c0 and c1 shows how much seeds vary."
    )
    assert answer_of(analysis_of(), make_recommendation(2)).settling is None


def test_a_difference_without_seeds_is_one_of_the_runs() -> None:
    found = with_verdicts({1: "different"}, 2)
    assert found.alternatives[1].beside is not None
    runs = replace(found.alternatives[1].beside, over="test examples")
    one_seed = replace(found, alternatives=(found.alternatives[0], replace(found.alternatives[1], beside=runs)))
    assert standings(found) == {"c1": "worse"} and standings(one_seed) == {"c1": "worse in these runs"}
    assert verdict_of(one_seed) == "Choose c0; worse in these runs: c1."


def test_what_twice_the_labels_would_bring_is_said_from_three_sizes_on() -> None:
    sizes = (1_000, 2_000, 4_000, 8_000)
    grid = [
        make_cell("full", size=size, seed=seed, f1=0.9 - 2 * size**-0.5 + 0.002 * seed, **HONEST)
        for size in sizes
        for seed in (0, 1, 2)
    ]
    analysis = analyse(compare(grid))
    said = more_labels(analysis, "full") or ""
    (one,) = doublings(analysis)
    assert said == one.sentence and "16,000 labels instead of 8,000 are expected to change macro F1" in said
    assert isinstance(one.gain, Interval) and isinstance(one.then, Interval) and one.now is not None
    assert one.gain.estimate == pytest.approx(one.then.estimate - one.now) and one.gain.low > 0
    assert one.gain.high - one.gain.low < one.then.high - one.then.low
    jumps = zip(sizes, (0.5, 0.9, 0.55, 0.91), strict=True)
    off = [make_cell("full", size=n, seed=s, f1=f1 + s / 1e4, **HONEST) for n, f1 in jumps for s in (0, 1, 2)]
    assert "cannot be said: macro F1 falls" in (more_labels(analyse(compare(off)), "full") or "")
    few = [cell for cell in grid if cell.spec.train_size in sizes[:2]]
    assert more_labels(analyse(compare(few)), "full") is None


@pytest.mark.parametrize(("name", "left"), [("macro_f1", "5.50 points"), ("log_loss", "0.0550 nats")])
def test_what_the_test_examples_leave_has_the_unit_of_the_margin(name: str, left: str) -> None:
    never, metric = SeedsNeeded(None, None, 100, 0.055, 0.8, 0.05, "seeds and test examples", 91_234), METRICS[name]
    said = f"about 91,000 test texts or more (the present ones leave +-{left}, however many seeds)"
    assert show_plan(never, metric) == said
    assert metric.show_margin(100 * never.left).split(" ")[1:] == left.split(" ")[1:]


def test_a_new_study_is_said_in_seeds() -> None:
    some = SeedsNeeded(7, None, 100, 0.001, 0.8, 0.05, "seeds")
    assert show_plan(some, METRICS["macro_f1"]) == (
        "7 seeds of each to find a difference as large as the margin, more than 100 to show equality if there is "
        "none (power 80%)"
    )
    said = show_plan(replace(some, examples=9_012), METRICS["macro_f1"])
    assert "7 seeds of each to find" in said and "about 9,000 test texts or more to show equality" in said
    assert show_plan(Refusal("one seed"), METRICS["macro_f1"]) == "one seed"


def test_the_settings_that_seeds_chose_stand_apart_from_the_costs() -> None:
    chosen = {1: 1e-5, 2: 1e-4, 3: 1e-4}
    cells = [cell for label in ("full", "lora") for cell in seeds_that_chose("learning_rate", chosen, label=label)]
    analysis = analyse(compare(cells, chosen_by_seed=["full", "lora"]))
    found = recommend(analysis)
    said = "(learning rates: 1e-4 in 2 runs, 1e-5 in 1 run)"
    for line in answer_of(analysis, found).lines[1:3]:
        assert f" with 64 labels {said}; " in line and line.count(";") == 2
    assert f"Use {found.strategy} {said}: macro F1 " in found.sentence


def test_what_seeds_chose_is_named_as_what_was_searched() -> None:
    cells = seeds_that_chose("epochs", {1: 1, 2: 3, 3: 3}, tuned=("epochs",))
    analysis = analyse(compare(cells, chosen_by_seed=["full"]))
    found = recommend(analysis)
    said = "(settings: 5e-5 with 3 epochs in 2 runs, 5e-5 with 1 epoch in 1 run)"
    assert said in answer_of(analysis, found).lines[1] and said in found.sentence
