"""The recommendation and its tests agree, whichever runs are missing and however many strategies there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from factories import EIGHT, HONEST, compare, make_cell, with_predictions
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.answer import verdict_of
from tunebench.analysis.costs import SPENDS
from tunebench.analysis.outcome import outcome_of
from tunebench.analysis.pairs import difference_of
from tunebench.analysis.recommend import recommend
from tunebench.store.cell import Cell

N = 2_000
SEEDS = (1, 2, 3)


def cell_of(label: str, seed: int, rate: float, **spec: Any) -> Cell:
    """Return a run with errors on the hardest texts, and on a few more by luck."""
    wrong = np.zeros(N, dtype=bool)
    order = np.random.default_rng(0).permutation(N)
    wrong[order[: int(rate * N) + np.random.default_rng([seed, len(label)]).integers(3)]] = True
    return with_predictions(make_cell(label, seed=seed, test_size=N, **(HONEST | spec)), wrong, n=N)


def one_seed_lost() -> Analysis:
    """Return a study in which lora is 2 points better on each seed, and lacks the one with which full did well."""
    full = [cell_of("full", seed, 0.20 if seed < 5 else 0.04) for seed in range(1, 6)]
    lora = [cell_of("lora", seed, 0.18) for seed in range(1, 5)]
    return analyse(compare([*full, *lora, make_cell("lora", status="failed", seed=5, test_size=N, **HONEST)]))


@pytest.mark.parametrize("prefer", ["score", "cost", "size"])
def test_what_its_own_test_shows_to_be_worse_is_not_chosen_for_a_higher_mean(prefer: Any) -> None:
    analysis = one_seed_lost()
    means = {entry.label: entry.interval().estimate for entry in analysis.entries}
    (pair,) = analysis.pairs
    assert means["full"] > means["lora"] and pair.verdict.different and pair.difference.estimate < -0.015
    found = recommend(analysis, prefer=prefer)
    assert found.strategy == "lora" and [one.label for one in found.alternatives] == ["lora", "full"]
    assert verdict_of(found).endswith("; worse: full.")
    assert ", better than full on the seeds that both have" in found.sentence
    assert "the best of" not in found.sentence
    doubt = (
        "full has a better mean over all its seeds than lora, but is shown to be worse on the seeds that both "
        "have. The test decides."
    )
    assert doubt in found.doubts
    assert any(line.startswith("full minus lora at ") for line in outcome_of(analysis).said)


@pytest.mark.parametrize("strategies", [2, 5, 6])
def test_tests_are_corrected_for_all_pairs_of_all_sizes_however_many_strategies(strategies: int) -> None:
    sizes, labels = (200, 400, 800), list(EIGHT)[:strategies]
    cells = [
        cell_of(label, seed, 0.1 + 0.002 * place, size=size)
        for size in sizes
        for place, label in enumerate(labels)
        for seed in (1, 2)
    ]
    # One size has a strategy more, which makes its table another one.
    cells += [cell_of("last", seed, 0.15, size=800) for seed in (1, 2)]
    analysis = analyse(compare(cells))
    alone = [len(analysis.at(size)) for size in sizes]
    number = sum(count * (count - 1) // 2 for count in alone)
    assert alone == [strategies, strategies, strategies + 1]
    for size in sizes:
        best, *others = recommend(analysis, size=size).alternatives
        entries = {entry.label: entry for entry in analysis.at(size)}
        for other in others:
            assert other.difference is not None and other.difference.comparisons == number
            alone_p = difference_of(entries[other.label], entries[best.label]).p_value
            assert alone_p <= other.difference.p_value <= min(1.0, alone_p * number) * (1 + 1e-9)
            if strategies > 4:
                assert other.difference.p_value == pytest.approx(min(1.0, alone_p * number))


@pytest.mark.parametrize(("prefer", "goal"), [("cost", "trains fastest"), ("size", "has the smallest weights")])
def test_what_is_chosen_for_its_cost_is_said_to_cost_least_of_those_that_are_good_enough(
    prefer: Any, goal: str
) -> None:
    """Full fine-tuning costs more than LoRA here, which is far behind."""
    rates = {"full": 0.05, "lora": 0.25}
    analysis = analyse(compare([cell_of(name, seed, rate) for name, rate in rates.items() for seed in SEEDS]))
    found = recommend(analysis, prefer=prefer)
    costs = {one.label: one.costs[SPENDS[prefer]] for one in found.alternatives}
    assert found.strategy == "full" and costs["full"] > costs["lora"]
    among = "of those not shown to be worse by more than 0.5 points, it"
    assert verdict_of(found) == f"Choose full: {among} {goal}; worse: lora."
    assert found.sentence.endswith(f"the best of 2; {among} {goal}.")
    alone = recommend(analyse(compare([cell_of("full", seed, 0.05) for seed in SEEDS])), prefer=prefer)
    assert verdict_of(alone) == "Choose full; nothing else was compared."
