"""Virtual tokens by their definition, and how long texts may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import set_seed

from faults.commands import refused, tunebench
from strategies.test_strategies import batch
from tunebench.models.loading import load_architecture, load_classifier
from tunebench.strategies import STRATEGIES

TOKENS = 3


def build(folder: Path, kind: str) -> Any:
    strategy = STRATEGIES[kind]
    set_seed(0)
    model = load_classifier(folder, label_names=("a", "b"))
    return strategy.prepare(model, strategy.params(virtual_tokens=TOKENS), load_architecture(folder)).eval()


@pytest.mark.parametrize("family", ["distilbert", "bert", "modernbert"])
def test_a_prompt_is_embeddings_before_the_texts(tiny_model: Callable[[str], Path], family: str) -> None:
    model = build(tiny_model(family), "prompt_tuning")
    texts = batch()
    prompt = model.prompt_encoder["default"].embedding.weight
    words = model.get_base_model().get_input_embeddings().weight
    assert all((row == words).all(1).any() for row in prompt), "it begins as words of the vocabulary"
    with torch.inference_mode():
        embedded = torch.cat([prompt.expand(6, -1, -1), words[texts["input_ids"]]], dim=1)
        mask = torch.cat([torch.ones(6, TOKENS, dtype=torch.long), texts["attention_mask"]], dim=1)
        expected = model.get_base_model()(inputs_embeds=embedded, attention_mask=mask).logits
        assert torch.allclose(model(**texts).logits, expected, atol=1e-6)


def test_a_prefix_is_keys_and_values_before_every_layers_own(tiny_model: Callable[[str], Path]) -> None:
    model = build(tiny_model("bert"), "prefix_tuning")
    attention = model.get_base_model().bert.encoder.layer[1].attention.self
    seen: dict[str, Any] = {}
    attention.register_forward_hook(
        lambda module, args, kwargs, output: seen.update(hidden=args[0], found=output[0]), with_kwargs=True
    )
    texts = batch()
    with torch.inference_mode():
        model(**texts)
        heads, width = 2, 16

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.view(6, -1, heads, width).transpose(1, 2)

        # PEFT lays a row out as layer, then keys and values, then heads.
        rows = model.prompt_encoder["default"].embedding.weight.view(TOKENS, 2, 2, heads, width)
        keys, values = (rows[:, 1, i].permute(1, 0, 2).expand(6, -1, -1, -1) for i in (0, 1))
        query, key, value = (split(getattr(attention, name)(seen["hidden"])) for name in ("query", "key", "value"))
        scores = query @ torch.cat([keys, key], dim=2).transpose(2, 3) / width**0.5
        hidden = torch.cat([torch.ones(6, TOKENS), texts["attention_mask"]], dim=1)[:, None, None] == 0
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        expected = (weights @ torch.cat([values, value], dim=2)).transpose(1, 2).reshape(6, -1, heads * width)
    assert torch.allclose(seen["found"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "strategy", "most"),
    [
        ("bert", "{head_only: {}}", 512),
        ("roberta", "{head_only: {}}", 513),
        ("distilbert", "{prompt_tuning: {virtual_tokens: 12}}", 500),
        ("deberta-v2", "{head_only: {}}", None),
    ],
)
def test_texts_longer_than_the_model_are_refused_in_the_plan(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, family: str, strategy: str, most: int | None
) -> None:
    study = tmp_path / "s.yaml"

    def plan(length: int) -> Any:
        study.write_text(
            f"model: {tiny_model(family)}\ndata: {reviews}\nstrategies: {strategy}\ntrain_sizes: [60]\n"
            f"max_length: {length}\n"
        )
        return tunebench("run", study, "--dry-run", "--no-measure", "--json")

    assert plan(most or 1000).code == 0
    if most is not None:
        assert (problem := refused(plan(most + 1), ["positions", "the model has"])) == "", problem
