"""Weighted and focal losses against slow definitions, and against PyTorch's own where it has them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tunebench.engine.losses import WeightedLoss

WEIGHTS = torch.tensor([0.5, 1.0, 4.0])


def batch(several: bool, texts: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(texts)
    logits = 3 * torch.randn(texts, 3, generator=generator)
    labels = torch.randint(0, 2 if several else 3, (texts, 3) if several else (texts,), generator=generator)
    return logits, labels


def slow(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, gamma: float) -> float:
    """Return the loss, one text and label after the other, in double precision."""
    total = 0.0
    for row, truth in zip(logits.double().tolist(), labels.tolist(), strict=True):
        if isinstance(truth, int):
            p = math.exp(row[truth]) / sum(map(math.exp, row))
            total += (1 if weights is None else float(weights[truth])) * (1 - p) ** gamma * -math.log(p)
            continue
        for label, (z, y) in enumerate(zip(row, truth, strict=True)):
            p = 1 / (1 + math.exp(-z if y else z))
            weight = float(weights[label]) if weights is not None and y else 1.0
            total += weight * (1 - p) ** gamma * -math.log(p) / len(row)
    return total / len(logits)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_is_the_slow_definition(several: bool, gamma: float, weights: torch.Tensor | None) -> None:
    logits, labels = batch(several)
    assert float(WeightedLoss(weights, gamma)(logits, labels)) == pytest.approx(
        slow(logits, labels, weights, gamma), rel=1e-5
    )


def test_without_weights_and_gamma_it_is_pytorchs() -> None:
    logits, labels = batch(False)
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(WeightedLoss(smoothing=0.2)(logits, labels), expected)
    logits, labels = batch(True)
    expected = functional.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=WEIGHTS)
    torch.testing.assert_close(WeightedLoss(WEIGHTS)(logits, labels), expected)


def test_parts_of_a_batch_add_up_to_it() -> None:
    logits, labels = batch(False)
    loss = WeightedLoss(WEIGHTS, 2.0)
    parts = 3 * loss(logits[:3], labels[:3]) + 4 * loss(logits[3:], labels[3:])
    torch.testing.assert_close(loss(logits, labels), parts / 7)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("several", [False, True])
def test_gradients_are_finite_where_the_answer_is_certain(several: bool, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[1, 0, 1]]) if several else torch.tensor([0])
    WeightedLoss(WEIGHTS, gamma)(logits, labels).backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
