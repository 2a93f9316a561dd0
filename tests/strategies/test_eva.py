"""LoRA that begins with what the training texts vary in: the directions are those of an SVD of all inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thorough import mostly_thorough
from training.test_encoder import LORA, make_spec, stop_after, train
from tunebench.engine.batching import Batches
from tunebench.models.architectures import unwrap
from tunebench.training.attempt import Interrupted
from tunebench.training.encoder.prepare import make_datasets, prepare_model
from tunebench.training.parts import run_parts

RANK = 4


def explained(inputs: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the inputs' variance that lies in the space of some rows."""
    basis, _ = np.linalg.qr(rows.T)
    return float(((inputs @ basis) ** 2).sum() / (inputs**2).sum())


def test_the_lower_factors_hold_most_of_what_the_layers_read(
    tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    strategies = {"lora": LORA | {"init": "eva", "rank": RANK, "placement": "attention"}}
    spec, dataset = make_spec(tiny_model("bert"), reviews, "lora", strategies=strategies, engine="reference")
    parts = run_parts(spec, dataset)
    train_set, _, _, collator = make_datasets(spec, dataset, parts)
    batches = Batches(train_set.texts, collator, 16)
    assert [len(b["input_ids"]) for b in batches] == [16] * 6 + [12]
    assert torch.equal(next(iter(batches))["input_ids"], next(iter(batches))["input_ids"])
    drawn = prepare_model(spec, device="cpu").model
    begun = prepare_model(spec, device="cpu", batches=batches).model.eval()

    seen: dict[str, list[np.ndarray]] = {}
    layers = {name: m for name, m in unwrap(begun).named_modules() if hasattr(m, "lora_A")}
    mask: Any = None
    for name, module in layers.items():

        def look(module: Any, args: Any, name: str = name) -> None:
            seen.setdefault(name, []).append(args[0][mask].numpy())

        module.register_forward_pre_hook(look)
    with torch.inference_mode(), begun.disable_adapter():
        for batch in batches:
            mask = batch["attention_mask"].bool()
            begun(**batch)
    others = dict(unwrap(drawn).named_modules())
    for name, module in layers.items():
        inputs = np.concatenate(seen[name]).astype(np.float64)
        inputs -= inputs.mean(axis=0)  # PEFT's is a principal component analysis
        found = explained(inputs, module.lora_A["default"].weight.detach().numpy())
        best = explained(inputs, np.linalg.svd(inputs, full_matrices=False)[2][:RANK])
        random = explained(inputs, others[name].lora_A["default"].weight.detach().numpy())
        # It goes over batches, and stops when it hardly moves any more.
        assert found > 0.9 * best > random, (name, found, best, random)
        assert torch.equal(module.lora_B["default"].weight, torch.zeros_like(module.lora_B["default"].weight))


@pytest.mark.parametrize("engine", mostly_thorough(["fast", "reference"], keep=lambda engine: engine == "fast"))
def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, engine: str
) -> None:
    strategies = {"lora": LORA | {"init": "eva", "rank": RANK, "placement": "attention"}}
    spec, dataset = make_spec(tiny_model("bert"), reviews, "lora", strategies=strategies, engine=engine, epochs=1)
    whole, first, _ = train(spec, dataset, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(spec, dataset, tmp_path / "cut", stop_after(5))
    _, second, _ = train(spec, dataset, tmp_path / "cut")
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert (whole.environment.machine["fast_layers"]) == (engine == "fast")
