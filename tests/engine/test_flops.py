"""Our count against torch's counter on the plain attention path, and against the closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tunebench.engine.flops import count
from tunebench.models.architectures import architecture_of
from tunebench.models.loading import load_classifier
from tunebench.strategies import STRATEGIES

WAYS: list[tuple[str, dict[str, Any]]] = [
    ("full", {}),
    ("lora", {"placement": "query_value"}),
    ("lora", {"placement": "all_linear"}),
    ("ia3", {}),
    ("vera", {}),
    ("oft", {"block_size": 2}),  # small, as rotations are made once a step and count for nothing
    ("prompt_tuning", {"virtual_tokens": 6}),
    ("prefix_tuning", {"virtual_tokens": 6}),
]


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta"])
@pytest.mark.parametrize(("kind", "params"), WAYS)
def test_the_count_is_torchs(
    tiny_model: Callable[[str], Path], family: str, kind: str, params: dict[str, Any]
) -> None:
    model = load_classifier(tiny_model(family), label_names=("a", "b"))
    model.config._attn_implementation = "eager"  # torch counts nothing for the fused CPU kernel
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    if strategy.refusal(strategy.params(**params), architecture):
        pytest.skip("the family cannot do this")
    prepared = strategy.prepare(model, strategy.params(**params), architecture).train()
    workload = count(prepared, architecture)
    ids = torch.randint(1000, 2000, (3, 17))
    with FlopCounterMode(display=False) as forward:
        loss = prepared(input_ids=ids, labels=torch.tensor([0, 1, 0])).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert workload.forward(texts=3, length=17) == pytest.approx(forward.get_total_flops(), rel=0.01)
    total = forward.get_total_flops() + backward.get_total_flops()
    assert workload.step(texts=3, length=17) == pytest.approx(total, rel=0.02)


def test_the_closed_forms_of_the_study_on_distilbert() -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig())
    workload = count(model, architecture_of(model.config))
    linear = 42_467_328  # 6 layers of 4 d^2 + 2 d * 4 d, d = 768
    length = 208
    per_token = workload.step(texts=1, length=length) / length
    assert per_token == pytest.approx(6 * linear + 12 * 6 * 768 * length, rel=0.01)


def test_the_first_token_only_saves_a_sixth_of_six_layers() -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig())
    workload = count(model, architecture_of(model.config))
    share = workload.step(texts=8, length=208, first_token_only=True) / workload.step(texts=8, length=208)
    # Keys and values of the last layer, a sixth of its weights, are still needed.
    assert share == pytest.approx(5 / 6 + 1 / 6 / 6, abs=0.01)


def test_lora_costs_about_two_thirds() -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    model = DistilBertForSequenceClassification(DistilBertConfig(n_layers=3, vocab_size=100))
    architecture = architecture_of(model.config)
    full = count(model.requires_grad_(True), architecture).step(texts=1, length=208)
    strategy = STRATEGIES["lora"]
    lora = strategy.prepare(model, strategy.params(rank=2), architecture)
    assert count(lora, architecture).step(texts=1, length=208) / full == pytest.approx(2 / 3, abs=0.06)
