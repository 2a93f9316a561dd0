"""Ranks that move: the same as PEFT's own loop, to their target, and across a stop in every phase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import set_seed

from test_strategies import batch
from test_train import make_spec, stop_after, train
from tunebench.errors import ConfigError
from tunebench.models import load_architecture, load_classifier
from tunebench.progress import Interrupted
from tunebench.strategies import STRATEGIES
from tunebench.study_file import check_study

GIVEN = {"rank": 2, "initial_rank": 4, "placement": "attention", "initial_share": 0.1, "final_share": 0.3}
STEPS = 20


def kept_ranks(model: Any) -> list[int]:
    return [int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name]


def learn(model: Any, after: Callable[[int, Any], None]) -> list[int]:
    """Take some steps, and return the ranks that are left after each."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    ranks = []
    for step in range(1, STEPS + 1):
        model(**batch()).loss.backward()
        optimizer.step()
        after(step, optimizer)
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
    after = strategy.after_step(ours, params, total_steps=STEPS)
    assert after is not None
    ranks = learn(ours, after)
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
    assert learn(theirs, lambda step, _: theirs.base_model.update_and_allocate(step)) == ranks
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    matrices = len(kept_ranks(ours))
    assert ranks[1] == 4 * matrices and ranks[-1] == 2 * matrices
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(kept_ranks(ours))) > 1, "ranks did not move between matrices"


def test_a_run_stopped_in_every_phase_ends_where_an_undisturbed_one_does(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    strategies = {"adalora": GIVEN | {"learning_rate": 5e-3, "dropout": 0.1}}
    spec, dataset = make_spec(tiny_model("bert"), reviews, "adalora", strategies=strategies, selection="last")
    whole, first, _ = train(spec, dataset, tmp_path / "whole")
    # Of 28 steps ranks are moved in those from 3 to 20.
    for steps in (1, 8, 9, 4):
        with pytest.raises(Interrupted):
            train(spec, dataset, tmp_path / "cut", stop_after(steps))
    cut, second, _ = train(spec, dataset, tmp_path / "cut")
    assert cut.timing and cut.timing.resumed == 4
    assert cut.scores == whole.scores
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert np.array_equal(first.read_predictions()["logits"], second.read_predictions()["logits"])
    losses = [[e["loss"] for e in record.log_history if "loss" in e] for record in (whole, cut)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 4}, "initial_rank must be larger"),
        ({"initial_share": 0.7}, "no time"),
        ({"label_smoothing": 0.1}, "label_smoothing"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    strategies = {"adalora": GIVEN | changes}
    study = {"name": "x", "model": "minilm", "data": "imdb-reviews", "train_sizes": [100]}
    with pytest.raises(ConfigError, match=message):
        check_study(study | {"strategies": strategies})
