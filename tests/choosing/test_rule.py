"""The rule of ``choose`` with made-up costs: it keeps to the budget, grows with it, and names what it left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunebench.choosing import rule
from tunebench.choosing.candidates import CANDIDATES
from tunebench.choosing.rule import Cost, Design, Facts, Shape, design, total, usable_seconds
from tunebench.errors import PlanError
from tunebench.formatting import parse_duration
from tunebench.study.config import StudyConfig
from tunebench.study.parts import Search

#: Seconds a text and a pass, on a machine of a made-up speed.
EACH = {"tfidf": 0.0005, "embeddings": 0.005, "lora": 0.012, "full": 0.02}
BUDGETS = ["10m", "30m", "3h", "10h"]


def facts_of(labels: int, classes: int, *, refit: bool = True) -> Facts:
    return Facts(
        labels, classes, min(labels, max(100, 10 * classes)), {"m": 384}, round(1.25 * labels) if refit else None
    )


def cost_of(facts: Facts, speed: float = 1.0) -> Cost:
    """Costs with the passes that the rule plans: encoders take epochs, the others look at a text a few times."""

    def cost(label: str, sizes: Sequence[int], epochs: int) -> list[float]:
        found, embedded = [], 0
        for size in sizes:
            passes = facts.epochs(size, epochs) if label in ("lora", "full") else 1
            texts = max(0, size - embedded) if label == "embeddings" else size
            embedded = max(embedded, size)
            found.append((4 + EACH[label] * texts * passes) / speed)
        return found

    return cost


def tried(labels: int, classes: int, budget: float, speed: float = 1.0, refit: bool = True) -> Design | None:
    facts = facts_of(labels, classes, refit=refit)
    try:
        return design(facts, cost_of(facts, speed), budget)
    except PlanError:
        return None


@pytest.mark.parametrize(
    ("labels", "classes", "budget"), list(product((100, 1_000, 10_000, 100_000), (2, 77), BUDGETS))
)
def test_every_run_of_the_plan_and_the_last_training_fit_the_budget(labels: int, classes: int, budget: str) -> None:
    labels = max(labels, 10 * classes)
    facts, seconds = facts_of(labels, classes), parse_duration(budget)
    cost = cost_of(facts)
    found = design(facts, cost, seconds)
    study = study_of(found)
    # The slow definition: every cell that could run, were no rate stopped early, and the dearest last training.
    spent, last = 0.0, []
    assert facts.refit_labels is not None
    for label, strategy in study.strategies.items():
        *each, refit = cost(label, [*map(int, study.train_sizes), facts.refit_labels], study.epochs)
        spent += (len(strategy.learning_rate) + len(study.seeds) - 1) * sum(each)
        last.append(refit if found.shape.refit else 0.0)
    spent += max(last)
    assert rule.MARGIN * spent + rule.OVERHEAD <= seconds
    missing = set(CANDIDATES) - set(study.strategies)
    assert all(any(line.startswith(f"{label} is left out") for line in found.left_out) for label in missing)
    assert list(study.strategies) == list(CANDIDATES)[: len(study.strategies)] or missing


def study_of(found: Design) -> StudyConfig:
    return StudyConfig.model_validate({"name": "s", "model": "minilm", "data": "d", **found.settings})


@given(
    labels=st.integers(100, 200_000),
    classes=st.integers(2, 10),
    minutes=st.floats(1, 600),
    more=st.floats(1, 5),
    speed=st.sampled_from([0.1, 1.0, 20.0]),
    refit=st.booleans(),
)
# Twice the budget has room for a learning curve, which comes before five rates, and then none for the rates.
@example(labels=673, classes=2, minutes=438.0, more=2.0, speed=0.1, refit=False)
def test_a_larger_budget_compares_no_fewer_candidates(
    labels: int, classes: int, minutes: float, more: float, speed: float, refit: bool
) -> None:
    small = tried(labels, classes, 60 * minutes, speed, refit)
    large = tried(labels, classes, 60 * minutes * more, speed, refit)
    if small is None:
        return
    assert large is not None
    one, other = small.shape, large.shape
    assert len(other.labels) >= len(one.labels)
    if other.labels == one.labels:
        shapes = [(shape.refit, shape.epochs, shape.size) for shape in (one, other)]
        assert shapes[0] <= shapes[1]
        if shapes[0] == shapes[1]:
            assert bought(one) <= bought(other)


def bought(shape: Shape) -> list[bool]:
    """Return which upgrades a shape has, the one that comes first ahead."""
    return [getattr(shape, what) >= value for upgrade in rule._UPGRADES for what, value in upgrade.items()]


@given(labels=st.integers(100, 50_000), classes=st.integers(2, 10), minutes=st.floats(0.6, 60))
def test_the_first_shape_is_the_best_of_all_that_fit(labels: int, classes: int, minutes: float) -> None:
    facts = facts_of(labels, classes, refit=False)
    cost, usable = cost_of(facts), usable_seconds(60 * minutes)
    names = list(CANDIDATES)
    shapes = [
        Shape(tuple(names[:count]), labels // share, epochs)
        for count in range(1, len(names) + 1)
        for epochs in (1, 2, 3)
        for share in (1, 2, 4, 8)
        if labels // share >= facts.least
    ]
    fitting = [shape for shape in shapes if total(shape, facts, cost) <= usable]
    found = tried(labels, classes, 60 * minutes, refit=False)
    if not fitting:
        assert found is None
        return
    best = max(fitting, key=lambda shape: (len(shape.labels), shape.epochs, shape.size))
    assert found is not None
    assert (found.shape.labels, found.shape.epochs, found.shape.size) == (best.labels, best.epochs, best.size)


def test_what_is_spent_already_is_no_part_of_the_budget() -> None:
    facts = facts_of(1_000, 2)
    assert design(facts, cost_of(facts), 600, spent=300).shape == design(facts, cost_of(facts), 300).shape


@pytest.mark.parametrize("refit", [True, False])
def test_a_budget_that_is_too_small_is_refused_with_one_that_works(refit: bool) -> None:
    facts = facts_of(100_000, 2, refit=refit)
    with pytest.raises(PlanError, match="too small for anything") as caught:
        design(facts, cost_of(facts), 40)
    named = re.search(r"--budget (\d+)m", str(caught.value))
    assert named is not None
    found = design(facts, cost_of(facts), 60 * int(named[1]))
    assert found.shape.labels[0] == "tfidf"
    assert refit or "--no-refit" not in str(caught.value)


@pytest.mark.parametrize("labels", [1_000, 100_000])
@pytest.mark.parametrize("seconds", [1, 40, 60, 90, 120, 300])
def test_the_last_training_is_left_out_where_that_is_enough(labels: int, seconds: int) -> None:
    facts, alone = facts_of(labels, 2), facts_of(labels, 2, refit=False)
    try:
        design(facts, cost_of(facts), seconds)
    except PlanError as error:
        offered = "--no-refit" in str(error)
    else:
        return
    try:
        design(alone, cost_of(alone), seconds)
    except PlanError:
        assert not offered
    else:
        assert offered


def test_what_cannot_be_trained_on_all_labels_is_named_and_not_compared() -> None:
    found = tried(100_000, 2, parse_duration("30m"))
    assert found is not None and "full" not in found.shape.labels
    assert any("a run on all 100,000 labels takes at least about" in line for line in found.left_out)


def budget_for(seconds: float) -> float:
    return rule.OVERHEAD + rule.MARGIN * seconds


def test_fewer_epochs_are_better_than_a_candidate_less() -> None:
    facts = facts_of(20_000, 2)
    whole = cost_of(facts)("full", [25_000], 3)[0]
    found = design(facts, cost_of(facts), budget_for(whole))
    assert found.shape.labels == tuple(CANDIDATES) and found.settings["epochs"] == found.shape.epochs < 3
    assert any(line.startswith(f"Runs have {found.shape.epochs} epoch") for line in found.left_out)


def test_no_last_training_is_better_than_a_candidate_less() -> None:
    # So few labels that every run takes the fewest steps, and a last training as long as the comparison.
    facts = facts_of(2_000, 2)
    once = sum(cost_of(facts)(label, [2_000], 1)[0] for label in CANDIDATES)
    found = design(facts, cost_of(facts), budget_for(once))
    assert found.shape == Shape(tuple(CANDIDATES), 2_000, found.shape.epochs, refit=False)
    assert any("train the chosen method again on all labels" in line for line in found.left_out)
    twice = once + cost_of(facts)("full", [2_000, facts.refit_labels or 0], 3)[1]
    assert design(facts, cost_of(facts), budget_for(twice)).shape.refit


def test_texts_are_embedded_once_whatever_the_number_of_sizes() -> None:
    facts = facts_of(8_000, 2, refit=False)
    one, curve = (Shape(("embeddings",), 8_000, curve=several) for several in (False, True))
    assert total(curve, facts, cost_of(facts)) == pytest.approx(total(one, facts, cost_of(facts)) + 2 * 4)


def test_seeds_are_not_bought_where_they_change_nothing() -> None:
    facts = facts_of(5_000, 2, refit=False)

    def without_fine_tuning(label: str, sizes: Sequence[int], epochs: int) -> Sequence[float]:
        fine_tunes = label in ("lora", "full")
        return [1e9] * len(sizes) if fine_tunes else cost_of(facts)(label, sizes, epochs)

    found = design(facts, without_fine_tuning, parse_duration("10h"))
    assert found.shape.labels == ("tfidf", "embeddings")
    assert (found.shape.rates, found.shape.seeds, found.shape.curve) == (1, 1, True)
    assert "search" not in found.settings


def test_what_does_not_fit_is_passed_over_for_what_does() -> None:
    facts = facts_of(1_000, 2, refit=False)
    once = cost_of(facts)
    seeds = total(Shape(tuple(CANDIDATES), 1_000, seeds=2), facts, once)
    rates = total(Shape(tuple(CANDIDATES), 1_000, rates=3), facts, once)
    assert seeds < rates
    found = design(facts, once, budget_for((seeds + rates) / 2))
    assert (found.shape.rates, found.shape.seeds) == (1, 2)
    assert found.left_out == ("A larger budget would buy 3 learning rates of each strategy that has one.",)


def test_rates_lie_around_the_middle_and_the_middle_one_is_run_first() -> None:
    narrow, wide = (replace(facts_of(1_000, 2), widths={"m": width}) for width in (384, 768))
    assert narrow.rates("full", 1) == [1e-4]
    assert narrow.rates("full", 3) == [5e-5, 1e-4, 2e-4]
    assert wide.rates("lora", 5) == [1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3]


@given(labels=st.integers(100, 100_000), classes=st.integers(2, 100))
def test_runs_have_enough_steps_and_the_search_looks_after_the_warm_up(labels: int, classes: int) -> None:
    facts = facts_of(max(labels, 10 * classes), classes)
    shape = Shape(tuple(CANDIDATES), facts.labels, rates=3)
    settings: dict[str, Any] = rule.settings_of(shape, facts)
    per_epoch = -(-facts.labels // rule.BATCH_SIZE)
    epochs = max(settings["epochs"], -(-settings["min_steps"] // per_epoch))
    assert epochs * per_epoch >= max(300, 10 * classes)
    evaluations = epochs * settings["evaluations_per_epoch"]
    assert 10 <= evaluations
    assert Search(**settings["search"]).first_look > settings["warmup_ratio"]
    assert settings["patience"] >= 3


def test_several_models_are_candidates_with_each_method_and_the_dearest_goes_first() -> None:
    facts = replace(facts_of(1_000, 2, refit=False), widths={"hub/narrow": 384, "wide": 768})
    assert list(facts.candidates) == [
        "tfidf",
        *(f"{method}@{name}" for method in ("embeddings", "lora", "full") for name in ("narrow", "wide")),
    ]
    slower = {"narrow": 1.0, "wide": 2.5}

    def cost(label: str, sizes: Sequence[int], epochs: int) -> list[float]:
        method, _, name = label.partition("@")
        return [seconds * slower.get(name, 1.0) for seconds in cost_of(facts)(method, sizes, epochs)]

    by_cost = sorted(facts.candidates, key=lambda label: cost(label, [1_000], 3)[0])
    assert by_cost.index("full@narrow") < by_cost.index("lora@wide"), "or the order would be that of the methods"
    counts = set()
    for minutes in (3, 6, 10, 60):
        found = design(facts, cost, 60 * minutes)
        assert list(found.shape.labels) == by_cost[: len(found.shape.labels)]
        counts.add(len(found.shape.labels))
    assert len(counts) > 1, "the budgets differ in what they have room for"
    study = study_of(found)
    assert study.strategies["full@wide"].model == "wide" and study.strategies["tfidf"].model is None
    rates = {name: study.strategies[f"full@{name}"].learning_rate for name in slower}
    assert max(rates["wide"]) < max(rates["narrow"]), "a wider encoder takes smaller rates"
