"""Folders that are no model, or not the model that they seem: the same reason at every door."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tunebench
from tunebench.errors import ModelError
from tunebench.inference.artifacts import describe
from tunebench.models.sources import resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.web.serving.models import load_models

Model = Callable[[str], Path]
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
#: Every door at which a trained classifier is read.
ANSWERS: dict[str, Callable[[str], object]] = {
    "load": lambda path: tunebench.load(path, device="cpu"),
    "serve": lambda path: load_models([path], device="cpu"),
}
#: And those at which a base is.
DOORS = ANSWERS | {"train": resolve_model}


@pytest.fixture
def copy(tiny_model: Model, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a tiny classifier, with its config.json changed."""

    def build(model_type: str = "bert", **config: Any) -> Path:
        folder = shutil.copytree(tiny_model(model_type), tmp_path / "it")
        found = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps({key: v for key, v in found.items() if v is not None}))
        return folder

    return build


def refusal(door: Callable[[str], object], folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        door(str(folder))
    return str(caught.value)


def adapter(folder: Path, base: Path) -> Path:
    """Write a plain PEFT adapter of two classes."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"])).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_model_without_its_tokenizer_is_refused_at_every_door(copy: Callable[..., Path], door: str) -> None:
    folder = copy()
    for name in TOKENIZER:
        (folder / name).unlink()
    assert "no tokenizer" in refusal(DOORS[door], folder)
    # Settings alone are no tokenizer, and neither is half of one.
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "vocab.json").write_text("{}")
    assert "no tokenizer" in refusal(DOORS[door], folder)
    # The reader of this kind of vocabulary is a package of its own.
    (folder / "sentencepiece.bpe.model").write_bytes(b"\n\x05no\n")
    said = refusal(DOORS[door], folder) if door in ANSWERS else refusal(lambda f: load_tokenizer(Path(f)), folder)
    assert "sentencepiece" in said or "cannot be loaded" in said
    assert "save_pretrained() wrote" not in said


def test_an_adapter_with_half_a_tokenizer_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", tiny_model("bert"))
    tunebench.load(folder, device="cpu")
    (folder / "tokenizer_config.json").write_text("{}")
    for door in ANSWERS.values():
        assert "no tokenizer" in refusal(door, folder)


def test_a_vocabulary_without_words_is_refused(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    for door in ANSWERS.values():
        assert "holds no words" in refusal(door, folder)


def test_a_longest_text_that_is_no_number_is_refused(copy: Callable[..., Path]) -> None:
    folder = copy()
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": "512"}))
    for door in ANSWERS.values():
        assert "model_max_length '512'" in refusal(door, folder)


@pytest.mark.filterwarnings("ignore:aLoRA")
def test_an_adapter_that_cannot_be_merged_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", tiny_model("bert"))
    file = folder / "adapter_config.json"
    # An activated LoRA works from some tokens on, and PEFT cannot merge it, whichever they are.
    changes = {"alora_invocation_tokens": [1, 2]}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert "cannot be merged" in refusal(lambda place: tunebench.load(place), folder)


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_token_ids_must_have_an_embedding(copy: Callable[..., Path], extra: int) -> None:
    folder = copy()
    tokenizer = load_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens([f"newword{i}" for i in range(extra)])
    tokenizer.save_pretrained(folder)
    if not extra:
        assert tunebench.load(folder, device="cpu").predict(["newword0"]).shape == (1,)
        return
    for door in (*ANSWERS.values(), lambda path: load_tokenizer(Path(path))):
        said = refusal(door, folder)
        assert f"up to {rows - 1 + extra}" in said
        assert f"{rows} rows (ids 0 to {rows - 1})" in said
        assert f"newword0 = {rows}" in said


def test_a_study_is_refused_before_training_where_ids_have_no_embedding(
    copy: Callable[..., Path], reviews: Path
) -> None:
    from tunebench.execution.plan import make_plan
    from tunebench.machine.settings import Execution
    from tunebench.study.config import StudyConfig

    folder = copy()
    tokenizer = load_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["zebra soup"])
    tokenizer.save_pretrained(folder)
    study = StudyConfig.model_validate(
        {"name": "it", "model": str(folder), "data": str(reviews), "strategies": ["full"], "train_sizes": [40]}
    )
    with pytest.raises(ModelError, match=f"{rows} rows"):
        make_plan(study, execution=Execution(device="cpu"), measure=False)


def test_other_problems_are_not_answered_by_softmax(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy(problem_type="regression")
    over = adapter(tmp_path / "adapter", folder)
    graph = shutil.copytree(folder, tmp_path / "graph", ignore=shutil.ignore_patterns("*.safetensors"))
    (graph / "model.onnx").write_bytes(b"never read")
    for door in (*ANSWERS.values(), describe):
        for place in (folder, graph, over):
            assert "predicts 2 numbers for each text" in refusal(door, place)
    # As a base it is as good as any: the head is new.
    assert resolve_model(str(folder)).fingerprint


def test_a_model_of_others_that_predicts_a_number_answers_with_it(copy: Callable[..., Path]) -> None:
    folder = copy(problem_type="regression", id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0}, num_labels=1)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"], tensors["classifier.bias"] = torch.zeros(1, 32), torch.full((1,), 2001.5)
    save_file(tensors, folder / "model.safetensors")
    assert tunebench.load(folder, device="cpu").predict(["a film", "two"]).tolist() == [2001.5, 2001.5]


def test_classes_without_names_are_counted_by_the_head(copy: Callable[..., Path]) -> None:
    folder = copy(id2label=None, label2id=None, num_labels=3)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"], tensors["classifier.bias"] = torch.randn(3, 32), torch.randn(3)
    save_file(tensors, folder / "model.safetensors")
    loaded = tunebench.load(folder, device="cpu")
    assert loaded.label_names == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert loaded.predict_proba(["a film"]).shape == (1, 3)
    config = json.loads((folder / "config.json").read_text()) | {"id2label": {"0": "a", "1": "b"}}
    (folder / "config.json").write_text(json.dumps(config))
    for door in ANSWERS.values():
        assert "names 2 classes, and the head has 3" in refusal(door, folder)


def test_an_encoder_alone_and_a_setfit_model_say_what_they_are(copy: Callable[..., Path]) -> None:
    folder = copy()
    tensors = load_file(folder / "model.safetensors")
    save_file({n: x for n, x in tensors.items() if "classifier" not in n}, folder / "model.safetensors")
    for door in ANSWERS.values():
        said = refusal(door, folder)
        assert "encoder without a classification head" in said
        assert "PEFT" not in said
    (folder / "model_head.pkl").write_bytes(b"never read")
    for door in ANSWERS.values():
        said = refusal(door, folder)
        assert "SetFit" in said
        assert "encoder without" not in said
    assert resolve_model(str(folder)).fingerprint


def test_pickled_weights_are_named_at_every_door(copy: Callable[..., Path]) -> None:
    folder = copy()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for door in DOORS.values():
        said = refusal(door, folder)
        assert "pickled (pytorch_model.bin)" in said
        assert "tunebench export" not in said


def test_of_a_trainers_output_the_checkpoints_are_named(tiny_model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in (50, 100, 1000):
        shutil.copytree(tiny_model("bert"), out / f"checkpoint-{step}")
    for door in DOORS.values():
        said = refusal(door, out)
        assert "checkpoint-50, checkpoint-100, checkpoint-1000" in said
        assert f"{out}/checkpoint-1000 (the last)" in said
        assert "the best" not in said
    state = {"best_model_checkpoint": "C:\\elsewhere\\out\\checkpoint-100"}
    (out / "checkpoint-1000" / "trainer_state.json").write_text(json.dumps(state))
    for door in DOORS.values():
        assert f"{out}/checkpoint-100 (the best" in refusal(door, out)
    # A model in the folder itself is the model.
    shutil.copytree(tiny_model("bert"), out, dirs_exist_ok=True)
    assert resolve_model(str(out)).fingerprint


def test_an_adapter_is_no_base_and_its_base_must_be_here(tiny_model: Model, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", tiny_model("bert"))
    said = refusal(resolve_model, folder)
    assert "PEFT adapter" in said
    assert str(tiny_model("bert")) in said
    # What it proposes works.
    merged = tmp_path / "merged"
    tunebench.load(folder).model.save_pretrained(merged)  # type: ignore[union-attr]
    load_tokenizer(tiny_model("bert")).save_pretrained(merged)
    assert resolve_model(str(merged)).fingerprint
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/content/drive/base"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for door in ANSWERS.values():
        said = refusal(door, folder)
        assert "/content/drive/base" in said
        assert "base_model_name_or_path" in said
        assert str(folder / "adapter_config.json") in said
