"""The first layers of an encoder are a model: it computes what the whole one computes up to there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY
from thorough import mostly_thorough
from tunebench.errors import ModelError
from tunebench.models.first_layers import split_source
from tunebench.models.loading import load_architecture, load_classifier
from tunebench.models.sources import model_folder, resolve_model
from tunebench.models.tokenizer import load_tokenizer

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", mostly_thorough(TINY, keep=("bert", "modernbert").__contains__))
def test_the_first_layer_computes_what_it_does_in_the_whole(
    tiny_model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path))
    whole, part = tiny_model(family), model_folder(f"{tiny_model(family)}:1")
    assert load_architecture(part).num_layers == 1 and load_architecture(whole).num_layers == 2
    ids = load_tokenizer(part)(["a short text"], return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    models = [load_classifier(folder, label_names=("a", "b")).base_model for folder in (whole, part)]
    with torch.no_grad():
        first, alone = (model(input_ids=ids, output_hidden_states=True).hidden_states for model in models)
    assert len(alone) == 2 and len(first) == 3
    # The last state of ModernBERT has passed a final norm.
    torch.testing.assert_close(alone[0], first[0])
    if family != "modernbert":
        torch.testing.assert_close(alone[1], first[1])


def test_it_is_made_once_and_pinned_by_its_content(
    tiny_model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    shutil.copytree(tiny_model("bert"), model)
    source = f"{model}:1"
    before = resolve_model(source)
    assert before.source == source and before.revision is None
    assert before.fingerprint != resolve_model(str(model)).fingerprint
    (made,) = (tmp_path / "cache" / "models").iterdir()
    assert model_folder(source) == made
    # Made again, elsewhere, it is the same model.
    shutil.rmtree(tmp_path / "cache")
    assert resolve_model(source) == before
    # A changed model has other first layers.
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    assert resolve_model(source).fingerprint != before.fingerprint


def test_what_is_no_number_of_layers(tiny_model: Tiny, tmp_path: Path) -> None:
    for layers in (0, 2, 99):
        with pytest.raises(ModelError, match="no part of the model's layers") as refused:
            model_folder(f"{tiny_model('bert')}:{layers}")
        assert "1 to 1" in str(refused.value)
    # A folder of that very name is itself.
    (tmp_path / "run:3").mkdir()
    assert split_source(str(tmp_path / "run:3")) == (str(tmp_path / "run:3"), None)
    assert split_source("minilm:3") == ("minilm", 3) and split_source("org/model") == ("org/model", None)
