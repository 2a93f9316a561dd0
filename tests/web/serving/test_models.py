"""What is loaded, and that models in one batch answer as each does alone."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoHaConfig

import tunebench
from tunebench.errors import ConfigError, ModelError
from tunebench.inference.artifacts import describe
from tunebench.inference.predictor import from_model
from tunebench.inference.restore import restore_model
from tunebench.web.serving import adapters
from tunebench.web.serving import models as serving_models
from tunebench.web.serving.models import Alone, Mixed
from web.serving.conftest import adapter, lively

load_models = functools.partial(serving_models.load_models, threads=1)

TEXTS = ["a lovely film", "dull " * 60, "a\tb", "été 東京", "a film", "the story of two men", "no", "yes " * 9]


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "roberta", "modernbert"])
def test_adapters_in_one_batch_answer_as_each_alone(tmp_path: Path, model_type: str) -> None:
    """peft#1960 and #2136: the wrong head answers, or heads of different class counts do not fit."""
    base = lively(tmp_path / "base", model_type)
    paths = [
        adapter(base, tmp_path / f"v1.{seed}", seed=seed, classes=2 + seed % 2, r=2 + seed) for seed in range(3)
    ]
    loaded = load_models([str(path) for path in paths], precision="fp32")
    assert len({model.group for model in loaded}) == 1
    assert isinstance(loaded[0].group, Mixed)
    alone = [tunebench.load(path, precision="fp32") for path in paths]
    for order in ([0, 1, 2, 0, 1, 2, 0, 1], [2, 2, 2, 2, 0, 0, 1, 1], [1] * 8):
        chosen = [loaded[i] for i in order]
        rows = [model.predictor.encode([text])[0] for model, text in zip(chosen, TEXTS, strict=True)]
        found = chosen[0].group.logits(rows, chosen)
        for i, row, text in zip(order, found, TEXTS, strict=True):
            np.testing.assert_allclose(row, alone[i].predict_logits([text])[0], atol=2e-4)
    for model, other in zip(loaded, alone, strict=True):
        np.testing.assert_allclose(model.predictor.predict_logits(TEXTS), other.predict_logits(TEXTS), atol=2e-4)
        assert model.predictor.label_names == other.label_names
    # The adapters disagree, so a wrong one could not have passed.
    a, b = (model.predictor.predict_logits(TEXTS)[:, :2] for model in (loaded[0], loaded[2]))
    assert np.abs(a - b).max() > 0.05


def test_the_base_is_in_memory_once(models: dict[str, Path]) -> None:
    loaded = load_models([str(models[name]) for name in ("one", "two", "three")], precision="fp32")
    (group,) = {model.group for model in loaded}
    assert isinstance(group, Mixed)
    names = [name for name, _ in group.stack._model.named_parameters()]
    assert sum(name.endswith("word_embeddings.weight") for name in names) == 1
    assert len({id(model.predictor._tokenizer) for model in loaded}) == 1


def test_an_adapter_that_has_its_base_for_itself_is_merged(models: dict[str, Path]) -> None:
    (merged,) = load_models([str(models["one"])], precision="fp32")
    (beside,) = load_models([str(models["one"])], precision="fp32", merge_lone=False)
    assert isinstance(merged.group, Alone) and isinstance(beside.group, Mixed)
    np.testing.assert_allclose(
        merged.predictor.predict_logits(TEXTS), beside.predictor.predict_logits(TEXTS), atol=2e-4
    )


@pytest.mark.parametrize("kind", ["dora", "loha", "pissa", "bias"])
def test_what_cannot_be_mixed_has_its_own_base(tmp_path: Path, models: dict[str, Path], kind: str) -> None:
    base = models["one"].parent / "bert"
    options: dict[str, Any] = {
        "dora": {"use_dora": True},
        "pissa": {"init_lora_weights": "pissa"},
        "bias": {"bias": "all"},
        "loha": {"make": LoHaConfig},
    }[kind]
    other = adapter(base, tmp_path / kind, seed=5, **options)
    loaded = load_models([str(models["one"]), str(other), str(models["two"])], precision="fp32")
    assert loaded[0].group is loaded[2].group
    assert loaded[1].group is not loaded[0].group
    for model, path in zip(loaded, (models["one"], other, models["two"]), strict=True):
        # As PEFT loaded it, nothing merged.
        artifact = describe(path)
        expected = from_model(artifact, restore_model(artifact)[0], model.predictor._tokenizer)
        np.testing.assert_allclose(model.predictor.predict_logits(TEXTS), expected.predict_logits(TEXTS), atol=2e-4)


def test_bf16_is_near_fp32(models: dict[str, Path]) -> None:
    sources = [str(models["one"]), str(models["three"])]
    exact, rounded = (load_models(sources, precision=precision) for precision in ("fp32", "bf16"))  # type: ignore[arg-type]
    for a, b in zip(exact, rounded, strict=True):
        difference = np.abs(a.predictor.predict_logits(TEXTS) - b.predictor.predict_logits(TEXTS)).max()
        assert 0 < difference < 0.5


def test_a_base_held_in_bf16_answers_as_one_that_is_rounded_in_every_batch(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [str(models["one"]), str(models["three"])]
    held = load_models(sources, precision="bf16")
    assert isinstance(held[0].group, Mixed) and held[0].group is held[1].group
    layers = [p for n, p in held[0].group.stack._model.named_parameters() if ".layer." in n and p.ndim == 2]
    assert {p.dtype for p in layers} == {torch.bfloat16, torch.float32}, "the base is rounded, the adapters are not"
    monkeypatch.setattr(adapters, "_hold_in_bf16", lambda *args: None)
    for one, other in zip(held, load_models(sources, precision="bf16"), strict=True):
        assert np.array_equal(one.predictor.predict_logits(TEXTS), other.predictor.predict_logits(TEXTS))


def test_names(models: dict[str, Path], tmp_path: Path) -> None:
    odd = shutil.copytree(models["plain"], tmp_path / "a=b")
    loaded = load_models([f"first={models['plain']}", str(models["plain"]), str(odd)], precision="fp32")
    assert [model.name for model in loaded] == ["first", "distilbert", "a=b"]
    with pytest.raises(ConfigError, match="same name"):
        load_models([str(models["plain"]), str(models["plain"])])
    with pytest.raises(ModelError, match="no such folder"):
        load_models([str(models["plain"]), "x=nowhere"])


def test_a_model_that_does_not_answer_with_numbers_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = lively(tmp_path / "broken", "distilbert")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] = torch.tensor([0.0, torch.nan])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="finite"):
        load_models([str(folder)])
