"""Families that merge, families that do not, and pooling that no configuration can state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tunebench
from inference.conftest import run_of, run_tiny
from thorough import mostly_thorough
from tunebench.errors import ExportError
from tunebench.inference.export import export_run
from tunebench.inference.predictor import Precision
from tunebench.store.study_folder import StudyStore
from tunebench.web.serving.models import load_models

STRATEGIES = {
    "adalora": {"initial_rank": 4, "target_rank": 2, "learning_rate": 1e-2},
    "prefix": {"kind": "prefix_tuning", "virtual_tokens": 4},
    "prompt": {"kind": "prompt_tuning", "virtual_tokens": 4},
    "mean": {"kind": "head_only", "pooling": "mean", "learning_rate": 1e-2},
    "lora-mean": {"kind": "lora", "pooling": "mean", "learning_rate": 1e-2},
    "prefix-mean": {"kind": "prefix_tuning", "virtual_tokens": 4, "pooling": "mean"},
}
WORKS = {
    "adalora": {"adapter", "merged", "onnx"},
    "prefix": {"adapter"},
    "prompt": {"adapter"},
    "mean": {"onnx"},
    "lora-mean": {"onnx"},
    "prefix-mean": set(),
}


@pytest.fixture(scope="module")
def folder(lively_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_tiny(lively_model("bert"), tmp_path_factory.mktemp("families"), strategies=STRATEGIES)


def stored(folder: Path, label: str) -> tuple[list[str], np.ndarray]:
    from tunebench.data import load_dataset

    store = StudyStore.open(folder)
    predictions = store.run_folder(run_of(folder, label)).read_predictions()
    texts = load_dataset(store.study().data).train.texts
    return [texts[i] for i in predictions["indices"]], predictions["logits"]


@pytest.mark.parametrize("precision", mostly_thorough(["fp32", "auto"], keep=lambda precision: precision == "auto"))
@pytest.mark.parametrize("label", STRATEGIES)
def test_a_runs_folder_predicts_what_the_run_did(folder: Path, label: str, precision: Precision) -> None:
    texts, logits = stored(folder, label)
    path = StudyStore.open(folder).run_folder(run_of(folder, label)).path
    found = tunebench.load(path, precision=precision).predict_logits(texts)
    assert logits.std(axis=0).min() > 0.05, "a model that says one thing only proves nothing"
    assert np.abs(found - logits).max() < 0.1


@pytest.mark.parametrize(
    ("label", "format_"),
    mostly_thorough(
        [(label, f) for label in STRATEGIES for f in ("adapter", "merged", "onnx")],
        keep=lambda case: case[1] != "onnx" or case[0] in ("mean", "lora-mean"),
    ),
)
def test_what_a_format_can_hold_makes_the_round_trip_and_the_rest_is_refused(
    folder: Path, tmp_path: Path, label: str, format_: str
) -> None:
    out, run_id = tmp_path / "out", run_of(folder, label)
    if format_ not in WORKS[label]:
        with pytest.raises(ExportError, match=r"cannot be merged|mean pooling|no adapter") as refused:
            export_run(folder, out=out, format=format_, run_id=run_id)
        assert refused.value.fix
        assert not out.exists()
        return
    export_run(folder, out=out, format=format_, run_id=run_id)
    texts, logits = stored(folder, label)
    found = tunebench.load(out, precision="auto" if format_ == "onnx" else "fp32").predict_logits(texts)
    assert np.abs(found - logits).max() < 0.1


def test_virtual_tokens_take_their_positions_from_the_texts(folder: Path, tmp_path: Path) -> None:
    """Without an export's own note of its longest text, as plain PEFT writes them."""
    out = tmp_path / "prompt"
    export_run(folder, out=out, format="adapter", run_id=run_of(folder, "prompt"))
    (out / "export.json").unlink()
    settings = json.loads((out / "tokenizer_config.json").read_text())
    (out / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 10**30}))
    predictor = tunebench.load(out)
    assert predictor.max_length == 508
    assert np.isfinite(predictor.predict_logits(["word " * 2000])).all()


def test_an_exported_adalora_keeps_pruned_ranks_as_zeros(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "adalora"
    export_run(folder, out=out, format="adapter", run_id=run_of(folder, "adalora"))
    tensors = load_file(out / "adapter_model.safetensors")
    values = [value for name, value in tensors.items() if name.endswith("lora_E")]
    assert len(values) == 6 and all(value.shape == (4, 1) for value in values)
    assert any((value == 0).any() for value in values)


def test_modernberts_own_configuration_states_the_pooling(
    lively_model: Callable[[str], Path], tmp_path: Path
) -> None:
    study = run_tiny(lively_model("modernbert"), tmp_path, strategies={"mean": STRATEGIES["mean"]})
    export_run(study, out=tmp_path / "merged", format="merged", run_id=run_of(study, "mean"))
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["classifier_pooling"] == "mean"
    texts, logits = stored(study, "mean")
    found = tunebench.load(tmp_path / "merged", precision="fp32").predict_logits(texts)
    assert np.abs(found - logits).max() < 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_server_holds_them_beside_each_other(folder: Path, precision: Precision) -> None:
    """None of them is plain LoRA, so each has a base of its own, and none is taken for another."""
    store = StudyStore.open(folder)
    paths = {label: store.run_folder(run_of(folder, label)).path for label in STRATEGIES}
    served = load_models([f"{label}={path}" for label, path in paths.items()], precision=precision)
    assert [model.name for model in served] == list(STRATEGIES)
    assert len({id(model.group) for model in served}) == len(STRATEGIES)
    for model in served:
        texts, logits = stored(folder, model.name)
        assert np.abs(model.predictor.predict_logits(texts) - logits).max() < 0.1
