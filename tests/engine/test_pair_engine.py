"""Pairs of texts through the fast layers, packing, frozen layers and prompts: their segments reach the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from tunebench.data.pair_rows import TokenRows
from tunebench.data.text import Pair
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.engine.batching import Collator
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.engine.frozen_layers import FrozenPrefix
from tunebench.models.architectures import architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.tokenizer import load_tokenizer
from tunebench.strategies import STRATEGIES

PAIRS = [
    Pair("the film was a story of two men in paris", "two men"),
    Pair("fine", "a house in paris was the end of the story of the men"),
    Pair("years", "years"),
    Pair("a b c d e f g", "h"),
    Pair("the film was a story of two men in paris", "who met again after many years in a garden of the house"),
]
COLLATOR = Collator(pad_id=0, round_up_to=32)


def _model(folder: Path) -> Any:
    torch.manual_seed(1)
    model: Any = load_classifier(folder, label_names=("no", "yes"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1.0)
            elif isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return model


def _rows(tokenizer: PreTrainedTokenizerBase) -> TokenRows:
    return tokenize(
        PAIRS,
        tokenizer=tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        max_length=24,
        cache_dir=None,
    )


def _own_batch(tokenizer: PreTrainedTokenizerBase, width: int) -> dict[str, torch.Tensor]:
    """Return what the tokenizer itself gives the model."""
    first, second = zip(*PAIRS, strict=True)
    cut: Any = tokenizer(list(first), list(second), truncation=True, max_length=24)
    found: Any = tokenizer.pad(cut, padding="max_length", max_length=width, return_tensors="pt")
    return dict(found)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "deberta-v2", "modernbert"])
def test_every_family_computes_what_its_tokenizers_own_batch_gives(
    tiny_model: Callable[[str], Path], family: str
) -> None:
    folder = tiny_model(family)
    model, tokenizer = _model(folder).eval(), load_tokenizer(folder)
    rows = _rows(tokenizer)
    batch = COLLATOR.pad([rows[i] for i in range(len(rows))])
    expected = _own_batch(tokenizer, batch["input_ids"].shape[1])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert ("token_type_ids" in batch) == (getattr(model.config, "type_vocab_size", 0) > 1)
    with torch.inference_mode():
        torch.testing.assert_close(model(**batch).logits, model(**expected).logits)


@pytest.mark.parametrize("family", ["bert", "electra"])
@pytest.mark.parametrize("training", [False, True])
def test_fast_layers_read_the_segments(tiny_model: Callable[[str], Path], family: str, training: bool) -> None:
    folder = tiny_model(family)
    model, tokenizer = _model(folder).train(training), load_tokenizer(folder)
    architecture = architecture_of(model.config)
    assert supports(architecture, model) is None
    rows = _rows(tokenizer)
    batch = COLLATOR.pad([rows[i] for i in range(len(rows))])
    blind = {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    expected, without = model(**batch).logits.detach(), model(**blind).logits.detach()
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32)
    found = model(**batch).logits
    assert (fast.packing.layout is not None) or not torch.is_grad_enabled()
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-4)
    assert (without - expected).abs().max() > 1e-2


def test_frozen_layers_keep_pairs_apart_that_differ_in_segments_only(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny_model("bert")
    model, tokenizer = _model(folder), load_tokenizer(folder)
    architecture = architecture_of(model.config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(architecture.is_head(name))
    rows = _rows(tokenizer)
    batch = COLLATOR.pad([rows[i] for i in range(len(rows))])
    blind = {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    expected, without = model(**batch).logits.detach(), model(**blind).logits.detach()
    first = model.get_submodule(architecture.layers)[0]
    calls: list[bool] = []
    inner = first.forward
    first.forward = lambda *args, **kwargs: [calls.append(True), inner(*args, **kwargs)][1]
    prefix = FrozenPrefix(model, architecture, layers=2, fast=None, autocast=None, fingerprint="f")
    assert prefix.open(tmp_path, limit=1 << 30) is not None
    lengths = prefix.fill(rows, COLLATOR)
    assert lengths is not None and len(lengths) == len(PAIRS)
    calls.clear()
    found = model(**batch).logits.detach()
    assert not calls, "the states were there, and were computed again"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # The same ids in one segment are another text, and are computed.
    torch.testing.assert_close(model(**blind).logits.detach(), without, rtol=1e-4, atol=1e-4)
    assert calls and (without - expected).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["lora", "prompt_tuning", "prefix_tuning", "bitfit"])
def test_strategies_train_on_pairs_and_read_their_segments(tiny_model: Callable[[str], Path], kind: str) -> None:
    folder = tiny_model("bert")
    base, tokenizer = _model(folder), load_tokenizer(folder)
    architecture, strategy = architecture_of(base.config), STRATEGIES[kind]
    model: Any = strategy.prepare(base, strategy.params(), architecture)
    rows = _rows(tokenizer)
    batch = COLLATOR([{"input_ids": rows[i], "labels": i % 2} for i in range(len(rows))])
    blind = {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    output = model(**batch)
    output.loss.backward()
    assert any(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in model.parameters())
    assert (output.logits - model(**blind).logits).abs().max() > 1e-3
