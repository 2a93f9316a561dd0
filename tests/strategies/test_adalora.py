"""Ranks that move: the same as PEFT's own loop, and to their target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from strategies.test_strategies import batch
from tunebench.models.loading import load_architecture, load_classifier
from tunebench.strategies import STRATEGIES

GIVEN = {
    "target_rank": 2,
    "initial_rank": 4,
    "alpha": 16,
    "placement": "attention",
    "initial_share": 0.1,
    "final_share": 0.3,
}
STEPS = 20


def kept_ranks(model: Any) -> list[int]:
    return [int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name]


def learn(model: Any, after: Callable[[int], None]) -> list[int]:
    """Take some steps, and return the ranks that are left after each."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    ranks = []
    for step in range(1, STEPS + 1):
        model(**batch()).loss.backward()
        optimizer.step()
        after(step)
        optimizer.zero_grad()
        ranks.append(sum(kept_ranks(model)))
    return ranks


def test_it_is_pefts_own_loop_and_ends_at_the_target(tiny_model: Callable[[str], Path]) -> None:
    from peft import AdaLoraConfig, TaskType, get_peft_model

    folder = tiny_model("bert")
    strategy, architecture = STRATEGIES["adalora"], load_architecture(folder)
    params = strategy.params(**GIVEN)
    set_seed(0)
    ours = strategy.prepare(load_classifier(folder, label_names=("a", "b")), params, architecture).eval()
    hook = strategy.step_hook(ours, params, steps=STEPS)
    assert hook is not None
    ranks = learn(ours, hook.after_update)
    set_seed(0)
    theirs = get_peft_model(
        load_classifier(folder, label_names=("a", "b")),
        AdaLoraConfig(
            task_type=TaskType.SEQ_CLS,
            target_modules=list(architecture.projections("attention")),
            modules_to_save=list(architecture.head),
            target_r=2,
            init_r=4,
            lora_alpha=16,
            lora_dropout=0.0,
            tinit=2,
            tfinal=6,
            total_step=STEPS,
        ),
    ).eval()
    assert learn(theirs, lambda step: theirs.base_model.update_and_allocate(step)) == ranks
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    matrices = len(kept_ranks(ours))
    assert ranks[1] == 4 * matrices and ranks[-1] == 2 * matrices
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(kept_ranks(ours))) > 1, "ranks did not move between matrices"


def test_a_step_that_overflowed_leaves_the_scores_finite(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    strategy, params = STRATEGIES["adalora"], STRATEGIES["adalora"].params(**GIVEN)
    set_seed(0)
    model: Any = strategy.prepare(
        load_classifier(folder, label_names=("a", "b")), params, load_architecture(folder)
    ).eval()
    hook = strategy.step_hook(model, params, steps=STEPS)
    assert hook is not None

    def after(step: int) -> None:
        if step == 3:
            spoilt = next(p for name, p in model.named_parameters() if "lora_A" in name and p.grad is not None)
            spoilt.grad[:] = torch.nan
        hook.after_update(step)
        if step == 3:
            scores = [value for name, value in hook.state().items() if "lora_A" in name]
            assert scores and all(value.isfinite().all() for value in scores)

    ranks = learn(model, after)
    assert ranks[-1] == 2 * len(kept_ranks(model))
