"""Which model a name stands for, and by what it is pinned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tunebench.errors import ModelError
from tunebench.models.sources import resolve_model


def test_a_model_is_pinned_by_content_not_by_place(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    original = tiny_model("bert")
    copy = tmp_path / "elsewhere"
    shutil.copytree(original, copy)
    first, second = resolve_model(str(original)), resolve_model(str(copy))
    assert first.fingerprint == second.fingerprint
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert resolve_model(str(copy)).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no readable config.json"),
        (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": "gpt2"})), "not supported"),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": ["bert"]})), "not supported"),
        (lambda f: (f / "config.json").write_text(json.dumps({"architectures": None})), "not supported"),
        (lambda f: [p.unlink() for p in f.glob("[tv]o[kc]*")], "no tokenizer"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "are pickled .pytorch_model.bin"),
        (lambda f: (f / "model.safetensors").rename(f / "model.onnx"), "holds an ONNX graph"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    ],
)
def test_an_unusable_model_folder_is_refused(
    tiny_model: Callable[[str], Path], tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("bert"), folder)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        resolve_model(str(folder))


def test_a_missing_folder_and_an_unreachable_hub_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        resolve_model("./not/here")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be fetched from the Hub"):
        resolve_model("nobody/never-heard-of-it")
