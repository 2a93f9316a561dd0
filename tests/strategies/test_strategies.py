"""Every strategy of the registry on every family: what it trains, that it learns, and that it can be had back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import set_seed
from typer.testing import CliRunner

from conftest import TINY
from thorough import mostly_thorough
from tunebench.cli import app
from tunebench.data.tokens import TokenizedTexts
from tunebench.engine import checkpoint as checkpoints
from tunebench.engine.batching import Collator
from tunebench.engine.evaluator import merged_adapters, predict_logits
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.errors import TunebenchError
from tunebench.models.architectures import Architecture, count_parameters
from tunebench.models.loading import load_architecture, load_classifier
from tunebench.strategies import STRATEGIES

#: A variant a line: strategy and parameters, as in a study file.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "full-decay": ("full", {"layer_decay": 0.8}),
    "head_only": ("head_only", {}),
    "head_only-mean": ("head_only", {"pooling": "mean"}),
    "last_k": ("last_k", {"layers": 1}),
    "bitfit": ("bitfit", {}),
    "ia3": ("ia3", {}),
    "vera": ("vera", {"rank": 16}),
    "oft": ("oft", {"block_size": 16, "placement": "attention"}),
    "adalora": ("adalora", {"initial_rank": 6, "target_rank": 3}),
    "prefix": ("prefix_tuning", {"virtual_tokens": 5}),
    "prompt": ("prompt_tuning", {"virtual_tokens": 5}),
    "prompt-random": ("prompt_tuning", {"virtual_tokens": 5, "init": "random"}),
    "lora": ("lora", {"dropout": 0.0, "placement": "attention"}),
    "lora-top": ("lora", {"dropout": 0.0, "placement": "mlp", "top_layers": 1}),
    "lora-rslora": ("lora", {"dropout": 0.0, "rslora": True, "placement": "all_linear"}),
    "lora-dora": ("lora", {"dropout": 0.0, "dora": True, "placement": "attention"}),
    "lora-pissa": ("lora", {"dropout": 0.0, "init": "pissa", "placement": "attention", "rank": 4}),
    "lora-olora": ("lora", {"dropout": 0.0, "init": "olora", "placement": "attention", "rank": 4}),
    "lora-orthogonal": ("lora", {"dropout": 0.0, "init": "orthogonal", "placement": "attention", "rank": 4}),
    "lora-eva": ("lora", {"dropout": 0.0, "init": "eva", "placement": "attention", "rank": 4}),
    "lora-gaussian": ("lora", {"dropout": 0.0, "init": "gaussian", "placement": "attention"}),
}
#: Where the tests' common learning rate goes too far on tiny random models.
RATES = {"prompt": 2e-4, "prompt-random": 3e-4}
#: The first variant of each strategy.
FIRST = {kind: variant for variant, (kind, _) in reversed(VARIANTS.items())}.values()
CASES = [(variant, family) for variant in VARIANTS for family in TINY]


def usual(case: tuple[str, str]) -> bool:
    """Keep each variant on BERT, each strategy on another family in turn, and the simplest on all of them."""
    variant, family = case
    others = [name for name in TINY if name != "bert"]
    turn = others[list(VARIANTS).index(variant) % len(others)]
    return family == "bert" or variant in ("full", "lora") or (family == turn and variant in FIRST)


def test_every_strategy_is_tested() -> None:
    encoders = {name for name, strategy in STRATEGIES.items() if strategy.adapts_classifier}
    assert {kind for kind, _ in VARIANTS.values()} == encoders


def build(folder: Path, variant: str) -> tuple[Any, Architecture]:
    """Prepare a model, or skip the test where the family refuses, checking that the plan would say why."""
    kind, given = VARIANTS[variant]
    strategy, architecture = STRATEGIES[kind], load_architecture(folder)
    params = strategy.params(**given)
    reason = strategy.refusal(params, architecture)
    if reason is not None:
        assert architecture.model_type in reason
        pytest.skip(reason)
    set_seed(0)
    model = load_classifier(folder, label_names=("a", "b"))
    return strategy.prepare(model, params, architecture).eval(), architecture


def stir_biases(model: torch.nn.Module) -> None:
    """Draw all biases: fresh ones are 0, which hides what is done to them."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 4_000, (6, 12), generator=generator)
    ids[:, 0] = 101
    mask = torch.ones_like(ids)
    mask[3:, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": (torch.arange(6) % 3 == 0).long()}


@pytest.mark.parametrize(("variant", "family"), mostly_thorough(CASES, keep=usual))
def test_it_trains_what_it_says_learns_and_leaves_the_rest_alone(
    tiny_model: Callable[[str], Path], tmp_path: Path, variant: str, family: str
) -> None:
    model, architecture = build(tiny_model(family), variant)
    total, adapter, head = count_parameters(model, architecture)
    if hasattr(model, "get_nb_trainable_parameters"):
        assert model.get_nb_trainable_parameters() == (adapter + head, total)
    assert adapter + head == sum(p.numel() for p in model.parameters() if p.requires_grad) > 0
    assert head > 0
    before = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATES.get(variant, 5e-3))
    losses = []
    for _ in range(8):
        loss = model(**batch()).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    after = dict(model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    # Saved, and put into a model built anew.
    with torch.inference_mode():
        wanted = model(**batch()).logits
        with merged_adapters(model.modules()):
            assert torch.allclose(model(**batch()).logits, wanted, atol=1e-4)
        assert torch.equal(model(**batch()).logits, wanted)
    checkpoints.save_weights(tmp_path / "w.safetensors", model)
    again, _ = build(tiny_model(family), variant)
    checkpoints.load_weights(tmp_path / "w.safetensors", again)
    with torch.inference_mode():
        assert torch.equal(again(**batch()).logits, wanted)
    # Merging changes nothing for good, where there is something to change.
    stir_biases(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        wanted = model(**batch()).logits
        with merged_adapters(model.modules()):
            assert torch.allclose(model(**batch()).logits, wanted, atol=1e-3)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("variant", "family"), mostly_thorough(itertools.product(VARIANTS, TINY), keep=usual))
def test_the_fast_layers_give_its_gradients_or_decline(
    tiny_model: Callable[[str], Path], variant: str, family: str
) -> None:
    model, architecture = build(tiny_model(family), variant)
    if reason := supports(architecture, model):
        assert reason
        return
    model(**batch()).loss.backward()
    wanted = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    other, _ = build(tiny_model(family), variant)
    FastEncoder(other, architecture, seed=0, dtype=torch.float32)
    other(**batch()).loss.backward()
    for name, parameter in other.named_parameters():
        if parameter.requires_grad and wanted[name] is not None:
            assert parameter.grad is not None, name
            assert torch.allclose(parameter.grad, wanted[name], atol=1e-5, rtol=1e-4), name  # type: ignore[arg-type]


@pytest.mark.parametrize("family", mostly_thorough(["distilbert", "bert"], keep=lambda family: family == "bert"))
@pytest.mark.parametrize("variant", VARIANTS)
def test_in_bf16_the_fast_layers_stay_close_and_scoring_leaves_no_trace(
    tiny_model: Callable[[str], Path], variant: str, family: str
) -> None:
    model, architecture = build(tiny_model(family), variant)
    if supports(architecture, model):
        return
    model.eval()
    stir_biases(model)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter), alpha=0.02)  # most adapters begin as nothing at all
    ids = batch()["input_ids"].numpy()
    texts = TokenizedTexts(ids.astype(np.int32).ravel(), np.arange(len(ids) + 1) * ids.shape[1])
    plain = predict_logits(model, texts, collator=Collator(pad_id=0), device="cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.bfloat16)
    found = predict_logits(model, texts, collator=Collator(pad_id=0), device="cpu", fast=fast)
    assert np.abs(found - plain).max() < 0.05 * np.abs(plain).max() + 0.02
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", TINY)
def test_depth_orders_the_parameters_from_embeddings_to_head(
    tiny_model: Callable[[str], Path], family: str
) -> None:
    folder = tiny_model(family)
    architecture = load_architecture(folder)
    model = load_classifier(folder, label_names=("a", "b"))
    depths = {name: architecture.depth(name) for name, _ in model.named_parameters()}
    assert set(depths.values()) == {0, 1, 2, 3}
    assert all(depth == 0 for name, depth in depths.items() if "embeddings" in name)
    assert all((depth == 3) == architecture.is_head(name) for name, depth in depths.items())
    assert all(depth == 2 for name, depth in depths.items() if f"{architecture.layers}.1." in name)


def test_layer_decay_and_unfreezing_set_the_learning_rates(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    from training.test_encoder import make_spec, train

    strategy = {"full": {"learning_rate": 1e-3, "layer_decay": 0.5, "unfreeze": 0.6}}
    spec, dataset = make_spec(tiny_model("distilbert"), reviews, strategies=strategy, epochs=1)
    whole, *_ = train(spec, dataset, tmp_path / "a")
    assert whole.scores is not None
    architecture = load_architecture(tiny_model("distilbert"))
    full = STRATEGIES["full"]
    params = full.params(**spec.params)
    paces = {
        d: full.multiplier(name, params, architecture)
        for d, name in enumerate(
            (
                "distilbert.embeddings.x",
                "distilbert.transformer.layer.0.x",
                "distilbert.transformer.layer.1.x",
                "classifier.x",
            )
        )
    }
    assert [paces[d][0] for d in range(4)] == [0.125, 0.25, 0.5, 1.0]
    assert [round(paces[d][1], 9) for d in range(4)] == [0.6, 0.4, 0.2, 0.0]


def test_a_study_that_a_family_cannot_do_is_refused_in_the_plan(
    tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    from tunebench.execution.plan import make_plan
    from tunebench.machine.settings import Execution
    from tunebench.study.config import StudyConfig

    study = StudyConfig.model_validate(
        {
            "name": "s",
            "model": str(tiny_model("modernbert")),
            "data": str(reviews),
            "strategies": {
                "ia3": None,
                "lora": {"placement": "query_value"},
                "named": {"kind": "lora", "placement": ["attn.Wo", "no.such"]},
                "deep": {"kind": "last_k", "layers": 9},
                "full": None,
            },
            "train_sizes": [40],
        }
    )
    with pytest.raises(TunebenchError) as caught:
        make_plan(study, execution=Execution(device="cpu"), measure=False)
    message = str(caught.value)
    for label in ("ia3", "lora", "named", "deep"):
        assert f"strategy {label!r}" in message
    assert "'full'" not in message and "9" in message


def test_the_listing_is_complete_and_counts_what_is_trained() -> None:
    result = CliRunner().invoke(app, ["strategies", "--model", "minilm", "--json"])
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == set(STRATEGIES)
    assert rows["full"]["share"] == 1.0
    for row in rows.values():
        assert row["summary"] and row["source"]
        if row["trainable"]:
            assert row["adapter"] + row["head"] == row["trainable"] <= row["total"]
    assert np.isclose(rows["head_only"]["head"], rows["lora"]["head"])
