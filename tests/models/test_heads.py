"""Heads whose outputs have a unit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from thorough import mostly_thorough
from tunebench.models.architectures import ARCHITECTURES, architecture_of
from tunebench.models.heads import ExactLinear, output_layer, restore_unit
from tunebench.models.loading import load_classifier
from tunebench.strategies import STRATEGIES
from tunebench.tasks.regression import REGRESSION
from tunebench.tasks.scale import Scale


@pytest.mark.parametrize(
    "family", mostly_thorough(sorted(ARCHITECTURES), lambda name: name in ("distilbert", "roberta"))
)
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_folded_scale_gives_the_numbers_in_their_unit(
    tiny_model: Callable[[str], Path], family: str, kind: str
) -> None:
    torch.manual_seed(0)
    model = load_classifier(tiny_model(family), label_names=("year",), problem_type=REGRESSION.problem_type)
    architecture, strategy = architecture_of(model.config), STRATEGIES[kind]
    model = strategy.prepare(model, strategy.params(), architecture).eval()
    ids = torch.arange(1, 25).reshape(3, 8)
    with torch.no_grad():
        before = model(input_ids=ids).logits.double()
        restore_unit(model, architecture, Scale(2000.0, 12.5))
        after = model(input_ids=ids).logits
        # Under autocast too an output has all the digits of fp32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(input_ids=ids).logits
    assert after.shape == (3, 1) and torch.allclose(after.double(), before * 12.5 + 2000, atol=1e-3)
    assert low.dtype == torch.float32 and (low - after).abs().max() < 12.5
    layer = output_layer(model, architecture)
    assert isinstance(layer, ExactLinear) and layer.weight.requires_grad


def test_heads_of_classes_are_left_as_they_are(tiny_model: Callable[[str], Path]) -> None:
    model = load_classifier(tiny_model("distilbert"), label_names=("a", "b"))
    layer = output_layer(model, architecture_of(model.config))
    before = layer.weight.clone()
    restore_unit(model, architecture_of(model.config), Scale())
    assert type(layer) is torch.nn.Linear and torch.equal(layer.weight, before)
