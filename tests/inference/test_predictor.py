"""The loader over what others made: right answers in the right order, or a refusal; never a random head."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import tunebench
from inference.conftest import run_of
from thorough import mostly_thorough
from tunebench.errors import ConfigError, DataError, ModelError, StoreError, TunebenchError
from tunebench.inference.export import export_run
from tunebench.inference.predictor import Predictor
from tunebench.store.discard import discard_weights
from tunebench.tasks.outputs import ONE_LABEL

Model = Callable[[str], Path]
TEXTS = ["a lovely film", "dull " * 60, "", "the\x00 bell\x07\u2028 more\ttabs\r\n", "été 🎬 東京", "a film"]


@pytest.fixture(scope="module")
def merged(lively_model: Model) -> Predictor:
    return tunebench.load(lively_model("bert"), precision="fp32")


def plain_peft(base: Path, out: Path, *, classes: int = 2, **options: Any) -> PeftModel:
    """Make an adapter folder the way PEFT's documentation does, with weights that are not the initial ones."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=classes, ignore_mismatched_sizes=True
    )
    targets = ["q_lin", "v_lin"] if model.config.model_type == "distilbert" else ["query", "value"]
    adapted = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, target_modules=targets, **options))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    adapted.save_pretrained(out)
    return adapted.eval()


def plain_logits(model: Any, base: Path, texts: list[str]) -> np.ndarray:
    """One text at a time, so that nothing is padded."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = []
    with torch.inference_mode():
        for text in texts:
            rows.append(model(**tokenizer(text, truncation=True, max_length=128, return_tensors="pt")).logits[0])
    found: np.ndarray = torch.stack(rows).numpy()
    return found


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_folder_made_by_plain_peft_is_loaded(
    lively_model: Model, tmp_path: Path, model_type: str, classes: int
) -> None:
    base = lively_model(model_type)
    model = plain_peft(base, tmp_path / "adapter", classes=classes)
    found = tunebench.load(tmp_path / "adapter", precision="fp32")
    assert (found.format, len(found.label_names), found.max_length) == ("adapter", classes, 512)
    expected = plain_logits(model, base, TEXTS)
    np.testing.assert_allclose(found.predict_logits(TEXTS), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 0.01


def test_adapters_over_one_base_share_its_fingerprint(lively_model: Model, tmp_path: Path) -> None:
    for name, base in (("a", "bert"), ("b", "bert"), ("c", "distilbert")):
        plain_peft(lively_model(base), tmp_path / name)
    a, b, c = (tunebench.load(tmp_path / name).base_fingerprint for name in "abc")
    assert a == b != c
    assert tunebench.load(lively_model("bert")).base_fingerprint is None


@pytest.mark.parametrize("lost", ["classifier", "pre_classifier", "lora_B"])
def test_an_adapter_that_lost_a_part_is_refused(lively_model: Model, tmp_path: Path, lost: str) -> None:
    """peft#310 and #577: the head is missing after loading, and nobody says so."""
    base = tmp_path / "base"
    shutil.copytree(lively_model("distilbert"), base)
    AutoModel.from_pretrained(base).save_pretrained(base)  # a pretrained encoder, without any head
    plain_peft(base, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if f".{lost}." not in name}
    assert len(kept) < len(tensors)
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"would be random: .*{lost}"):
        tunebench.load(tmp_path / "adapter")


def test_a_head_module_that_plain_peft_did_not_save_is_refused(lively_model: Model, tmp_path: Path) -> None:
    """BERT's pooler is part of its head, and PEFT names the classifier only."""
    base = tmp_path / "base"
    shutil.copytree(lively_model("bert"), base)
    AutoModel.from_pretrained(base, add_pooling_layer=False).save_pretrained(base)
    plain_peft(base, tmp_path / "bad")
    with pytest.raises(ModelError, match=r"would be random: bert\.pooler"):
        tunebench.load(tmp_path / "bad")
    model = plain_peft(base, tmp_path / "good", modules_to_save=["pooler", "classifier"])
    found = tunebench.load(tmp_path / "good", precision="fp32").predict_logits(TEXTS)
    np.testing.assert_allclose(found, plain_logits(model, base, TEXTS), atol=1e-4)


def test_an_encoder_without_a_head_is_refused(lively_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(lively_model("distilbert"), folder)
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"without a classification head .classifier"):
        tunebench.load(folder)


@pytest.mark.parametrize("model_type", mostly_thorough(["bert", "distilbert"], keep=lambda it: it == "distilbert"))
def test_our_adapters_hold_every_module_of_the_head(
    study: Callable[[str], Path], tmp_path: Path, model_type: str
) -> None:
    """peft#3755: DistilBERT's pre_classifier must not be there by the accident of its name."""
    folder = study(model_type)
    out = export_run(folder, out=tmp_path / "out", format="adapter", run_id=run_of(folder, "lora-qv")).folder
    named = json.loads((out / "adapter_config.json").read_text())["modules_to_save"]
    head = {"bert": {"bert.pooler", "classifier"}, "distilbert": {"pre_classifier", "classifier"}}[model_type]
    assert head <= set(named)
    with safe_open(out / "adapter_model.safetensors", framework="np") as file:
        names = set(file.keys())
    for module in head:
        assert any(f".{module}." in name for name in names), module


def test_an_export_over_a_changed_base_is_refused(
    study: Callable[[str], Path], lively_model: Model, tmp_path: Path
) -> None:
    folder, base = study("bert"), lively_model("bert") / "config.json"
    out = export_run(folder, out=tmp_path / "out", format="adapter", run_id=run_of(folder, "lora-qv")).folder
    before = base.read_text()
    try:
        base.write_text(before + " ")
        with pytest.raises(ModelError, match="not the one this was trained on"):
            tunebench.load(out)
    finally:
        base.write_text(before)


def test_an_export_of_an_adapter_may_be_loaded_over_by_another_adapter_without_harm(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    """Order of loading changes nothing: no state is shared between predictors."""
    folder = study("bert")
    outs = [
        export_run(folder, out=tmp_path / label, format="adapter", run_id=run_of(folder, label)).folder
        for label in ("lora-qv", "lora-all")
    ]
    alone = [tunebench.load(out).predict_logits(TEXTS) for out in outs]
    together = [tunebench.load(out) for out in reversed(outs)]
    for one, other in zip(alone, reversed(together), strict=True):
        assert np.array_equal(one, other.predict_logits(TEXTS))
    assert not np.allclose(alone[0], alone[1], atol=1e-3)


def test_a_run_folder_answers_as_it_did(study: Callable[[str], Path]) -> None:
    folder = study("distilbert")
    for label, format_ in (("full", "merged"), ("lora-all", "adapter")):
        found = tunebench.load(folder / "runs" / run_of(folder, label))
        assert (found.format, found.max_length, found.name) == (format_, 24, run_of(folder, label))
        assert (found.base_fingerprint is None) == (format_ == "merged")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=12), tokens=st.integers(1, 300))
def test_any_text_in_any_batch_gets_the_answer_it_gets_alone(
    merged: Predictor, texts: list[str], tokens: int
) -> None:
    found = merged.predict_logits(texts, batch_tokens=tokens)
    assert found.shape == (len(texts), 2)
    assert found.dtype == np.float32
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, merged.predict_logits([text])[0], atol=1e-4)


def test_labels_and_probabilities_follow_from_logits(merged: Predictor) -> None:
    logits, shares = merged.predict_logits(TEXTS), merged.predict_proba(TEXTS)
    np.testing.assert_allclose(shares, torch.from_numpy(logits).softmax(-1).numpy(), atol=1e-6)
    assert merged.predict(TEXTS).tolist() == [merged.label_names[i] for i in logits.argmax(1)]
    assert merged.predict([]).shape == (0,)
    assert merged.predict_proba([]).shape == (0, 2)
    assert ONE_LABEL.probabilities(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]


def test_loading_leaves_the_random_generators_alone(lively_model: Model, study: Callable[[str], Path]) -> None:
    folder = study("bert")
    for path in (lively_model("bert"), folder / "runs" / run_of(folder, "lora-qv")):
        random.seed(7), torch.manual_seed(7)
        expected = random.random(), torch.rand(1).item()
        random.seed(7), torch.manual_seed(7)
        tunebench.load(path)
        assert (random.random(), torch.rand(1).item()) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "A list of texts"),
        (["fine", None], "Text 2 is not a string"),
        (["fine", "fine", "half \ud83c"], "Text 3 is not valid Unicode"),
    ],
)
def test_what_is_no_text_is_refused(merged: Predictor, texts: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        merged.predict(texts)


def test_texts_are_cut_at_the_end(lively_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(lively_model("bert"), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    predictor = tunebench.load(folder)
    assert predictor.max_length == 16
    rows = predictor.encode(["one two three " * 20, "a"])
    assert [len(row) for row in rows] == [16, 3]
    assert np.array_equal(rows[0], predictor.encode(["one two three " * 6])[0])


def _text(folder: Path, name: str, content: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)


def _pickled(folder: Path) -> None:
    _text(folder, "adapter_config.json", '{"base_model_name_or_path": "minilm", "peft_type": "LORA"}')
    _text(folder, "adapter_model.bin", "x")


BAD: list[tuple[Callable[[Path], Any], str]] = [
    (lambda folder: None, "There is no such folder"),
    (lambda folder: folder.write_text("x"), "There is no such folder"),
    (lambda folder: folder.mkdir(), "holds no classifier"),
    (lambda folder: _text(folder, "plan.json", "{}"), "This is the folder of a study"),
    (lambda folder: _text(folder, "adapter_config.json", "{}"), "does not name its base"),
    (_pickled, "pickled weights"),
    (lambda folder: _text(folder, "model.onnx", "x"), "no config.json"),
    (lambda folder: _text(folder, "export.json", "{"), "cannot be read"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_what_is_no_classifier_is_refused(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "it")
    with pytest.raises(TunebenchError, match=message):
        tunebench.load(tmp_path / "it")


def test_regression_and_damaged_folders_are_refused(lively_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(lively_model("bert"), folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot be read"):
        tunebench.load(folder)
    config = json.loads((folder / "config.json").read_text()) | {"id2label": {"0": "stars"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="single output"):
        tunebench.load(folder)


def test_a_damaged_run_is_refused(study: Callable[[str], Path], tmp_path: Path) -> None:
    run = study("bert") / "runs" / run_of(study("bert"), "full")
    shutil.copytree(run, tmp_path / run.name)
    weights = tmp_path / run.name / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(StoreError, match="damaged"):
        tunebench.load(tmp_path / run.name)
    (tmp_path / run.name / "record.json").unlink()
    with pytest.raises(StoreError, match="not complete"):
        tunebench.load(tmp_path / run.name)


def test_a_run_whose_weights_were_discarded_is_refused_and_still_in_the_tables(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study("bert"), folder)
    rows = tunebench.load_comparison(folder).rows()
    run = run_of(folder, "full")
    assert run in discard_weights(folder).runs
    with pytest.raises(StoreError, match="discarded"):
        tunebench.load(folder / "runs" / run)
    assert tunebench.load_comparison(folder).rows() == rows


def write_graph(folder: Path, summed: Sequence[str]) -> None:
    """Make a folder's model a graph whose outputs are the sums of its inputs, those that are named."""
    import onnx
    from onnx import TensorProto, helper

    (folder / "model.safetensors").unlink()
    names = dict.fromkeys(["input_ids", *summed])
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in names]
    nodes = [helper.make_node("ReduceSum", [name, "axis"], [f"{name}_sum"], keepdims=1) for name in summed]
    nodes += [
        helper.make_node("Concat", [f"{name}_sum" for name in summed], ["all"], axis=1),
        helper.make_node("Cast", ["all"], ["logits"], to=TensorProto.FLOAT),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", len(summed)])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "g", inputs, [output], [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("summed", "message"),
    [
        (["attention_mask", "position_ids"], "inputs that a tokenizer does not give(.|\\n)*position_ids"),
        (["attention_mask"], "not one number for each class(.|\\n)*texts x 2"),
    ],
)
def test_an_onnx_graph_that_is_no_classifier_of_these_classes_is_refused(
    lively_model: Model, tmp_path: Path, summed: list[str], message: str
) -> None:
    shutil.copytree(lively_model("bert"), tmp_path / "it")
    write_graph(tmp_path / "it", summed)
    with pytest.raises(ModelError, match=message):
        tunebench.load(tmp_path / "it")


def test_onnx_of_another_exporter_that_wants_segment_ids(lively_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(lively_model("bert"), folder)
    # logits: (number of tokens, sum of segment ids)
    write_graph(folder, ["attention_mask", "token_type_ids"])
    found = tunebench.load(folder)
    assert found.predict_logits(["one two three", "one"]).tolist() == [[5.0, 0.0], [3.0, 0.0]]
    with pytest.raises(ConfigError, match="run on the CPU"):
        tunebench.load(folder, device="cuda")
    with pytest.raises(ConfigError, match="runs in the precision of its export"):
        tunebench.load(folder, precision="bf16")


def test_bf16_is_near_fp32(lively_model: Model) -> None:
    exact = tunebench.load(lively_model("distilbert"), precision="fp32").predict_logits(TEXTS)
    rounded = tunebench.load(lively_model("distilbert"), precision="bf16").predict_logits(TEXTS)
    assert 0 < np.abs(exact - rounded).max() < 0.1
    with pytest.raises(ConfigError, match="no such precision"):
        tunebench.load(lively_model("distilbert"), precision="fp16")  # type: ignore[arg-type]
