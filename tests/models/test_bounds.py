"""Models that claim more than they hold, or that would not end: each is refused before anything is built."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

import tunebench
from conftest import TINY
from tunebench.errors import ModelError
from tunebench.models import bounds
from tunebench.models.bounds import check_bounds, check_patterns
from tunebench.models.sources import model_folder, resolve_model

Model = Callable[[str], Path]


@pytest.fixture
def copy(tiny_model: Model, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("bert"), tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def refused(folder: Path) -> str:
    """Return what both doors say: that of training, and that of answers."""
    said = []
    for door in (resolve_model, tunebench.load):
        began = time.monotonic()
        with pytest.raises(ModelError) as caught:
            door(str(folder))
        assert time.monotonic() - began < 30
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


@pytest.mark.parametrize("family", sorted(TINY))
def test_models_as_they_are_lie_within_the_bounds(family: str, tiny_model: Model) -> None:
    check_bounds(tiny_model(family))


def test_the_packaged_model_lies_within_the_bounds() -> None:
    check_bounds(model_folder("minilm"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**6),
        ("num_hidden_layers", 999),
        ("vocab_size", 10**7),
        ("hidden_size", 10**7),
        ("intermediate_size", 10**9),
        ("max_position_embeddings", 10**12),
        ("num_labels", 10**9),
        ("type_vocab_size", 10**4000),
        ("text_config", {"num_layers": [10**6]}),
        ("id2label", {str(number): "x" for number in range(100_001)}),
    ],
)
def test_a_configuration_larger_than_its_weights_is_refused(key: str, value: Any, copy: Path) -> None:
    change(copy / "config.json", **{key: value})
    assert "config" in refused(copy)


def test_a_tokenizer_larger_than_any_is_refused(copy: Path) -> None:
    change(copy / "tokenizer_config.json", added_tokens_decoder={str(n): {} for n in range(10_001)})
    assert "more added tokens than any" in refused(copy)
    (copy / "tokenizer_config.json").unlink()
    change(copy / "added_tokens.json", **{f"token{n}": n for n in range(10_001)})
    assert "more added tokens than any" in refused(copy)
    (copy / "added_tokens.json").unlink()
    with (copy / "tokenizer.json").open("ab") as file:
        file.truncate(79_000_000)
    assert "79,000,000 bytes" in refused(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="these files are of Unix")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "extra.txt"])
def test_a_pipe_or_a_device_is_refused(name: str, copy: Path) -> None:
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    assert "no file" in refused(copy)
    (copy / name).unlink()
    (copy / name).symlink_to("/dev/zero")
    assert "no file" in refused(copy)


def adapter(folder: Path, base: Path, **values: Any) -> Path:
    model = AutoModelForSequenceClassification.from_pretrained(base)
    get_peft_model(model, LoraConfig(target_modules=["query"], modules_to_save=["classifier"])).save_pretrained(
        folder
    )
    change(folder / "adapter_config.json", **values)
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target_modules", r"(([a-z.]+)*[0-9.]*)*\.self\.queries"),
        ("rank_pattern", {r"(\w+\.?)+!": 4}),
        ("layers_pattern", r"(\w+\.?)+!"),
    ],
)
def test_a_pattern_without_end_is_ended(
    key: str, value: Any, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PATTERN_SECONDS", 1.0)
    folder = adapter(tmp_path / "adapter", copy, **{key: value})
    began = time.monotonic()
    with pytest.raises(ModelError, match="takes too long to be matched"):
        tunebench.load(folder)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("key", "value"),
    [("r", 10**8), ("layer_replication", [[0, 10**6]]), ("rank_pattern", {"query": 10**8})],
)
def test_an_adapter_of_an_impossible_size_is_refused(key: str, value: Any, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than in any model"):
        tunebench.load(adapter(tmp_path / "adapter", copy, **{key: value}))


def test_patterns_and_numbers_of_real_adapters_pass(copy: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", copy, target_modules=r".*\.(query|key)$", total_step=10**7)
    check_bounds(folder)
    names = [f"bert.encoder.layer.{layer}.attention.self.query.weight" for layer in range(48)]
    check_patterns(folder, names)
    change(folder / "adapter_config.json", target_modules="(unclosed")
    check_patterns(folder, names)  # PEFT says what is wrong with it
