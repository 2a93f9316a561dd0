"""Training some rows of the word embeddings gives what training all of them gives."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR
from transformers import BertConfig, BertForSequenceClassification

from tunebench.data.tokens import TokenizedTexts
from tunebench.engine import checkpoint
from tunebench.engine.trained_rows import TrainedRows

VOCABULARY = 60
#: Tokens of four training texts; 0 is padding.
ROWS = [[2, 5, 9, 3], [2, 7, 3], [2, 5, 5, 41, 3], [2, 41, 3]]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def texts() -> TokenizedTexts:
    lengths = [len(row) for row in ROWS]
    return TokenizedTexts(np.concatenate(ROWS).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))


def batch(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.arange(len(rows)) % 2}


def optimiser(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)


def steps(model: nn.Module, optimizer: Any, *, to: int, begin: int = 0, clip: float = 0.0) -> None:
    for i in range(begin, to):
        model(**batch([ROWS[i % 4], ROWS[(i + 1) % 4]])).loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        model.zero_grad()


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for name, parameter in one.state_dict().items():
        assert torch.equal(parameter, other.state_dict()[name]), name


def test_the_weights_are_those_of_training_all_rows(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    steps(other, optimiser(other), to=8)
    rows = TrainedRows.of(model, texts(), pad_id=0)
    assert rows is not None
    assert rows.counts == (7, VOCABULARY)  # 0, 2, 3, 5, 7, 9 and 41
    steps(model, optimiser(model), to=8)
    rows.restore()
    assert_equal(model, other)


def test_clipping_sees_the_same_norm(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    steps(other, optimiser(other), to=8, clip=0.01)
    rows = TrainedRows.of(model, texts(), pad_id=0)
    assert rows is not None
    steps(model, optimiser(model), to=8, clip=0.01)
    rows.restore()
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(parameter, other.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def test_other_tokens_are_refused_in_training_and_right_with_all_rows(model: nn.Module) -> None:
    unseen = batch([[2, 50, 3]])
    expected = model(**unseen).logits
    rows = TrainedRows.of(model, texts(), pad_id=0)
    assert rows is not None
    with pytest.raises(IndexError):
        model(**unseen)
    with rows.whole(), rows.whole():
        assert torch.equal(model(**unseen).logits, expected)
        model.get_input_embeddings().weight.data[5] = 7.0  # type: ignore[operator]
    assert (model.get_input_embeddings().weight == 7.0).all(1).sum() == 1  # type: ignore[operator]
    rows.restore()
    assert model.get_input_embeddings().weight[5, 0] == 7.0  # type: ignore[operator]


@pytest.mark.parametrize("resumes_with_some", [True, False])
def test_a_checkpoint_has_all_rows(model: nn.Module, tmp_path: Path, resumes_with_some: bool) -> None:
    resumed = copy.deepcopy(model)
    rows = TrainedRows.of(model, texts(), pad_id=0)
    assert rows is not None
    optimizer = optimiser(model)
    steps(model, optimizer, to=5)
    saved = checkpoint.save_checkpoint(
        tmp_path,
        step=5,
        model=model,
        optimizer=optimizer,
        scheduler=ConstantLR(optimizer, factor=1.0),
        state={},
        trainer_state="",
        rows=rows,
    )
    steps(model, optimizer, begin=5, to=10)
    rows.restore()

    again = TrainedRows.of(resumed, texts(), pad_id=0) if resumes_with_some else None
    with nullcontext() if again is None else again.whole():
        checkpoint.load_weights(saved / "weights.safetensors", resumed)
    optimizer = optimiser(resumed)
    checkpoint.load_optimizer(
        saved, model=resumed, optimizer=optimizer, scheduler=ConstantLR(optimizer, factor=1.0), rows=again
    )
    steps(resumed, optimizer, begin=5, to=10)
    if again is not None:
        again.restore()
    assert_equal(resumed, model)


def test_all_rows_are_trained_where_the_embedding_is_not_a_plain_one(model: nn.Module) -> None:
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    embedding.max_norm = 1.0
    assert TrainedRows.of(model, texts(), pad_id=0) is None
    embedding.max_norm = None
    model.tied = nn.Linear(16, VOCABULARY, bias=False)
    model.tied.weight = embedding.weight
    assert TrainedRows.of(model, texts(), pad_id=0) is None
    del model.tied
    embedding.weight.requires_grad = False
    assert TrainedRows.of(model, texts(), pad_id=0) is None
    embedding.weight.requires_grad = True
    assert TrainedRows.of(model, texts(), pad_id=0) is not None
