"""Runs that were trained too little are found, named first, and told how to mend it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import HONEST, compare, make_cell, with_predictions
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.recommend import recommend
from tunebench.analysis.undertraining import Training, Undertrained, sentences
from tunebench.recipe import ENOUGH_STEPS, FEW_STEPS
from tunebench.report.words import recommendation_text
from tunebench.store.cell import Cell
from tunebench.strategies import STRATEGIES

N = 400


def cell(label: str, kind: str, errors: int, seed: int = 1, **spec: Any) -> Cell:
    """A run that is wrong on so many texts, spread over both classes."""
    rate = STRATEGIES[kind].default_learning_rate
    made = make_cell(label, kind=kind, size=200, seed=seed, test_size=N, learning_rate=rate, **HONEST, **spec)
    wrong = np.zeros(N, dtype=bool)
    wrong[np.random.default_rng(errors).permutation(N)[:errors]] = True
    return with_predictions(made, wrong, n=N)


def logged(one: Cell, *, steps: int, loss: float, best: int) -> Cell:
    """The run with a log of its own: so many steps, a level loss, and ten evaluations, of which one is the best."""
    assert one.record is not None and one.record.selected is not None
    marks = np.linspace(steps / 10, steps, 10).round().astype(int).tolist()
    history: list[dict[str, Any]] = [{"loss": loss, "step": s, "epoch": s / 10} for s in range(1, steps + 1)]
    history += [
        {"eval_macro_f1": 0.9 if k == best else 0.5, "step": s, "epoch": s / 10} for k, s in enumerate(marks)
    ]
    chosen = one.record.selected.model_copy(update={"by": "validation", "step": marks[best]})
    return replace(one, record=one.record.model_copy(update={"log_history": history, "selected": chosen}))


def study(*cells: Cell) -> Analysis:
    return analyse(compare(cells))


def test_a_run_that_has_hardly_left_guessing_is_the_first_doubt_everywhere() -> None:
    analysis = study(cell("tfidf", "tfidf", 60), logged(cell("full", "full", 190), steps=12, loss=0.68, best=9))
    (found,) = analysis.undertrained
    assert found.label == "full" and len(found.signs) == 4
    (line,) = sentences([found])
    assert "12 steps" in line and "0.68" in line and "0.69" in line
    assert "tfidf scores above it" in line and f"min_steps: {ENOUGH_STEPS}" in line
    answer = recommend(analysis)
    assert answer.strategy == "tfidf" and not answer.conclusive
    assert answer.doubts[0] == analysis.warnings[0] == line
    assert "Trained too little: full" in answer_of(analysis, answer).trust
    text = recommendation_text(analysis, answer)
    assert text.index("Doubts") < text.index(line)


def test_what_one_change_mends_is_one_sentence() -> None:
    longer = [Undertrained(label, 200, ("12 steps",), "Train longer.") for label in "abcdefg"]
    first, second = sentences([*longer, Undertrained("h", 200, ("900 steps",), "Add rates.")])
    assert first.count("12 steps") == 5 and first.endswith("and 2 more. Train longer.")
    assert second == "Trained too little: h at 200 labels (900 steps). Add rates."


def test_a_run_that_has_learned_is_not_doubted_for_one_sign_alone() -> None:
    for steps, best in ((FEW_STEPS - 10, 4), (FEW_STEPS + 50, 9)):
        analysis = study(
            cell("tfidf", "tfidf", 60), logged(cell("full", "full", 60), steps=steps, loss=0.1, best=best)
        )
        assert analysis.undertrained == []


def test_a_baseline_counts_only_where_its_whole_interval_is_above() -> None:
    def found(errors: int) -> bool:
        one = logged(cell("full", "full", errors), steps=FEW_STEPS - 10, loss=0.1, best=4)
        return bool(study(cell("tfidf", "tfidf", 60), one).undertrained)

    assert not found(62) and found(140)


def test_what_is_fitted_is_not_doubted_and_many_steps_without_learning_need_other_rates() -> None:
    analysis = study(
        cell("tfidf", "tfidf", 190), logged(cell("full", "full", 195), steps=2 * ENOUGH_STEPS, loss=0.69, best=2)
    )
    (one,) = analysis.undertrained
    assert one.label == "full" and "learning rates" in one.change and "min_steps" not in one.change


@given(
    steps=st.integers(1, 1000),
    share=st.floats(0, 1.2),
    last=st.booleans(),
    above=st.sampled_from([None, ("tfidf", "+3 points [+1, +5]")]),
)
def test_more_signs_never_make_a_run_less_doubtful(
    steps: int, share: float, last: bool, above: tuple[str, str] | None
) -> None:
    base = Training(steps, share * np.log(6), float(np.log(6)), last, above)
    worse = [
        replace(base, steps=min(steps, FEW_STEPS - 1)),
        replace(base, loss=1.3 * base.guessing),
        replace(base, best_is_last=True),
        replace(base, above=("tfidf", "+3 points [+1, +5]")),
    ]
    assert all(one.undertrained for one in worse) or not base.undertrained


def test_where_early_stopping_ended_a_run_more_steps_need_more_patience() -> None:
    base = Training(40, 1.7, float(np.log(6)), True, None)
    assert "patience" not in base.change
    assert "min_steps" in (change := replace(base, patience=2).change) and "patience: 4" in change


def test_accuracy_and_macro_f1_stand_beside_every_answer_and_few_test_texts_are_named() -> None:
    one = cell("tfidf", "tfidf", 60)
    answer = recommend(study(one, cell("full", "full", 70)))
    assert "accuracy" in answer.beside and "full" in answer.beside and "macro F1" not in answer.beside
    assert not any("fewer than 20" in doubt for doubt in answer.doubts)
    few = np.zeros(N, dtype=int)
    few[:9] = 1
    values = {**one.predictions(), "labels": few} if one.predictions else {}
    rare = recommend(study(replace(one, predictions=lambda: values)))
    assert any("pos (9)" in doubt for doubt in rare.doubts)


def test_another_metric_that_prefers_another_strategy_is_said() -> None:
    labels = np.zeros(N, dtype=int)
    labels[:40] = 1

    def of(label: str, kind: str, predicted: np.ndarray) -> Cell:
        made = cell(label, kind, 10)
        logits = np.eye(2, dtype=np.float32)[predicted] * 3
        values = {"logits": logits, "labels": labels, "indices": np.arange(N)}
        return replace(made, predictions=lambda: values)

    everything = np.zeros(N, dtype=int)  # accuracy .9, macro F1 .47
    half = labels.copy()
    half[40:130] = 1  # accuracy .775, macro F1 .67
    answer = recommend(study(of("tfidf", "tfidf", everything), of("full", "full", half)))
    assert answer.strategy == "full"
    assert any("By accuracy, tfidf is ahead of full" in doubt for doubt in answer.doubts)


@pytest.mark.parametrize("kind", ["setfit", "embeddings"])
def test_only_what_is_trained_on_the_loss_of_its_labels_is_judged_by_it(kind: str) -> None:
    one = logged(cell("other", kind, 190), steps=12, loss=0.68, best=9)
    assert study(one, cell("tfidf", "tfidf", 60)).undertrained == []
