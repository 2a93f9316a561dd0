"""The answer in words: what to choose, how the others stand to it, how sure it is, and what settling it costs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from factories import HONEST, compare, make_cell
from report.studies import make_difference, make_recommendation
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.answer import STANDINGS, answer_of, shortened, standings, trust_of, verdict_of
from tunebench.analysis.doubling import doublings, more_labels
from tunebench.analysis.recommend import Recommendation
from tunebench.analysis.wording import show_plan
from tunebench.stats import Refusal, SeedsNeeded
from tunebench.stats.decisions import Verdict
from tunebench.tasks.metrics import METRICS


def with_verdicts(verdicts: dict[int, Verdict], count: int = 5, **changes: Any) -> Recommendation:
    found = make_recommendation(count, **changes)
    return replace(
        found,
        alternatives=tuple(
            replace(one, difference=make_difference(verdicts[i]) if i in verdicts else one.difference)
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
    assert standings(with_verdicts({1: small}, 2, tie=("c0", "c1"))) == {"c1": "as good"}
    assert standings(with_verdicts({1: "different"}, 2, strategy="c1", prefer="cost")) == {"c0": "better"}
    assert standings(with_verdicts({}, 2, strategy="c1", prefer="cost")) == {"c0": "too close to call"}


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
    never = SeedsNeeded(None, None, 100, 0.055, 0.8, 0.05, "seeds")
    said = settling(never)
    assert said is not None and "the test examples alone leave +-5.50 points; a larger test part" in said
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
    assert found.alternatives[1].difference is not None
    runs = replace(found.alternatives[1].difference, over="test examples")
    one_seed = replace(found, alternatives=(found.alternatives[0], replace(found.alternatives[1], difference=runs)))
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
    jumps = zip(sizes, (0.5, 0.9, 0.55, 0.91), strict=True)
    off = [make_cell("full", size=n, seed=s, f1=f1 + s / 1e4, **HONEST) for n, f1 in jumps for s in (0, 1, 2)]
    assert "cannot be said: the score falls" in (more_labels(analyse(compare(off)), "full") or "")
    few = [cell for cell in grid if cell.spec.train_size in sizes[:2]]
    assert more_labels(analyse(compare(few)), "full") is None


@pytest.mark.parametrize(("name", "left"), [("macro_f1", "5.50 points"), ("log_loss", "0.0550 nats")])
def test_what_the_test_examples_leave_has_the_unit_of_the_margin(name: str, left: str) -> None:
    never, metric = SeedsNeeded(None, None, 100, 0.055, 0.8, 0.05, "seeds and test examples"), METRICS[name]
    assert show_plan(never, metric) == f"more than 100 seeds of each: the test examples alone leave +-{left}"
    assert metric.show_margin(100 * never.left).split(" ")[1:] == left.split(" ")[1:]


def test_a_new_study_is_said_in_seeds() -> None:
    some = SeedsNeeded(7, None, 100, 0.001, 0.8, 0.05, "seeds")
    assert show_plan(some, METRICS["macro_f1"]) == (
        "7 seeds of each to find a difference as large as the margin, more than 100 to show equality if there is "
        "none (power 80%)"
    )
    assert show_plan(Refusal("one seed"), METRICS["macro_f1"]) == "one seed"
