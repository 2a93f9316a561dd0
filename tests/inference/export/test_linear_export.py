"""Linear classifiers are exported, loaded, asked and served as all others are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import tunebench
from inference.conftest import run_of, run_tiny
from tunebench.cli import app
from tunebench.data import load_dataset
from tunebench.errors import ConfigError, ExportError, ModelError
from tunebench.formatting import file_size
from tunebench.inference.export import Exported, export_run
from tunebench.store.study_folder import StudyStore
from tunebench.web.serving.batching import MicroBatcher
from tunebench.web.serving.models import load_models

LABELS = ("tfidf", "characters", "both", "embeddings", "first", "static", "setfit")
STRATEGIES: dict[str, Any] = {
    "tfidf": {"min_documents": 1},
    "characters": {"kind": "tfidf", "analyzer": "char_wb", "char_ngrams": 3, "head": "svm", "c": [1.0]},
    "both": {"kind": "tfidf", "analyzer": "both", "c": [1.0]},
    "embeddings": {"max_length": 8},
    "first": {"kind": "embeddings", "pooling": "first", "head": "svm", "c": [1.0]},
    "static": {},
    "setfit": {"iterations": 1, "learning_rate": 1e-3},
    "full": {"learning_rate": 2e-3},
}


#: What the runs embedded in, where it is not what an export computes in on every machine.
COMPUTED: dict[str, Any] = {"embeddings": "bf16", "first": "bf16"}
#: How far the logits of a run and of its export may lie apart, where the run computed in bf16: it rounds
#: differently in other batches. SetFit trained in it, too, and its export computes in what is fast here.
CLOSE = {"setfit": 0.3, "embeddings": 0.01, "first": 0.01}


@pytest.fixture(scope="module")
def finished(lively_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("linear")
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEBENCH_CACHE", str(root / "cache"))
    folder = run_tiny(lively_model("bert"), root, classes=3, strategies=STRATEGIES, keep_head=False, epochs=1)
    patch.undo()
    return folder


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    root, made = tmp_path_factory.mktemp("exports"), dict[str, Exported]()

    def make(label: str) -> Exported:
        if label not in made:
            made[label] = export_run(finished, out=root / label, run_id=run_of(finished, label))
        return made[label]

    return make


def stored(study: Path, label: str) -> tuple[list[str], np.ndarray]:
    """Return the texts of the test part, and the logits the run stored for them."""
    store = StudyStore.open(study)
    predictions = store.run_folder(run_of(study, label)).read_predictions()
    texts = load_dataset(store.study().data).train.texts  # type: ignore[union-attr, arg-type]
    return [texts[i] for i in predictions["indices"]], predictions["logits"]


@pytest.mark.parametrize("label", LABELS)
def test_an_export_and_the_runs_own_folder_answer_as_the_run_did(
    finished: Path, exported: Callable[[str], Exported], label: str
) -> None:
    texts, logits = stored(finished, label)
    made = exported(label)
    assert made.facts["format"] == "linear" and made.facts["check"]["equal_predictions"] == 1
    precision = COMPUTED.get(label, "auto")
    for folder in (made.folder, finished / "runs" / run_of(finished, label)):
        predictor = tunebench.load(folder, precision=precision)
        assert predictor.format == "linear" and predictor.label_names == ("negative", "neutral", "positive")
        assert predictor.max_length == (24 if label == "setfit" else None)
        found = predictor.predict_logits(texts)
        np.testing.assert_allclose(found, logits, atol=CLOSE.get(label, 1e-3))
        assert predictor.predict_logits([]).shape == (0, 3)
        assert np.isfinite(predictor.predict_logits(["", "a"])).all()
    names = {path.name for path in made.folder.iterdir()}
    assert {"linear.json", "linear.safetensors", "export.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pkl", ".joblib", ".pickle", ".pt"))]


@pytest.mark.parametrize("label", LABELS)
def test_the_card_loads_it_without_tunebench(
    exported: Callable[[str], Exported], label: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = exported(label).folder
    card = ModelCard.load(folder / "README.md")
    assert card.data.tags is not None and "linear" in card.data.tags
    code = card.text.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(code.replace("PATH", str(folder)), found)
    assert found["found"] == tunebench.load(folder).predict(["a text"]).tolist()
    assert "newly initialized" not in capfd.readouterr().err
    spoken = card.text.lower()
    assert f"the folder holds {file_size(exported(label).facts['check']['bytes'])}." in card.text.replace(
        "The", "the"
    )
    assert ("base model" in spoken) == (label not in ("tfidf", "characters", "both"))
    assert ("whole texts are read" in spoken) == (label != "setfit")
    assert ("learning rate" in spoken) == (label == "setfit")


def test_the_command_line_exports_the_only_format_there_is_and_answers(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    done = CliRunner().invoke(app, ["export", str(finished), "--run", run_of(finished, "tfidf"), "--out", str(out)])
    assert done.exit_code == 0 and " kB)" in done.output, done.output
    answered = CliRunner().invoke(app, ["predict", str(out), "a superb film", "an awful film"])
    assert answered.exit_code == 0, answered.output
    labels = [json.loads(line)["label"] for line in answered.output.splitlines()]
    assert labels == ["positive", "negative"]


def test_it_is_served_beside_others(finished: Path, exported: Callable[[str], Exported]) -> None:
    models = [
        model
        for label in ("tfidf", "embeddings")
        for model in load_models([str(exported(label).folder)], threads=1, precision=COMPUTED.get(label, "auto"))
    ]
    batcher = MicroBatcher(waiting=100)
    try:
        for model in models:
            texts, logits = stored(finished, model.name)
            found = batcher.submit(model, texts[:40]).result(timeout=60)
            np.testing.assert_allclose(found, logits[:40], atol=CLOSE.get(model.name, 1e-3))
    finally:
        batcher.close()


@pytest.mark.parametrize(
    ("label", "format_", "said", "fix"),
    [
        ("tfidf", "adapter", "so there is no adapter format", "--format linear"),
        ("embeddings", "merged", "so there is no merged format", "--format linear"),
        ("setfit", "onnx", "so there is no onnx format", "--format linear"),
        ("full", "linear", "full trains a Transformers model", "--format merged"),
    ],
)
def test_a_format_that_does_not_apply_is_refused(
    finished: Path, tmp_path: Path, label: str, format_: str, said: str, fix: str
) -> None:
    with pytest.raises(ExportError) as caught:
        export_run(finished, out=tmp_path / "out", format=format_, run_id=run_of(finished, label))
    assert said in str(caught.value) and fix in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_damage_and_a_precision_that_does_not_apply_are_user_errors(
    exported: Callable[[str], Exported], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="computes in fp32"):
        tunebench.load(exported("tfidf").folder, precision="bf16")

    def broken(change: Callable[[Path], object], label: str = "tfidf") -> str:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(exported(label).folder, folder)
        change(folder)
        with pytest.raises(ModelError) as caught:
            tunebench.load(folder)
        return str(caught.value)

    def facts(**changes: Any) -> Callable[[Path], object]:
        def change(folder: Path) -> None:
            known = json.loads((folder / "linear.json").read_text())
            kept = {key: value for key, value in (known | changes).items() if value is not None}
            (folder / "linear.json").write_text(json.dumps(kept))

        return change

    assert "is damaged" in broken(lambda folder: (folder / "linear.json").write_text("{"))
    assert "is damaged" in broken(facts(label_names=["one"]))
    assert "another version" in broken(facts(version=2))
    assert "names 2 classes, and the weights have 3" in broken(facts(label_names=["a", "b"]))
    assert "does not fit" in broken(facts(ngrams=None))
    assert "do not belong together" in broken(lambda folder: (folder / "vocabulary.json").write_text('["a"]'))
    assert "cannot be read" in broken(lambda folder: (folder / "linear.safetensors").write_bytes(b"x"))
    broken(lambda folder: (folder / "model.safetensors").unlink(), "embeddings")


@pytest.mark.parametrize("strategy", ["tfidf", "embeddings", "static"])
def test_a_scikit_learn_classifier_of_them(
    lively_model: Callable[[str], Path], strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path))
    texts = [f"{'a superb and lovely film' if i % 2 else 'an awful and dull film'} {i}" for i in range(24)]
    labels = [bool(i % 2) for i in range(24)]
    model = tunebench.TextClassifier(strategy, model=str(lively_model("bert")), device="cpu", threads=1)
    assert model.fit(texts, labels).score(texts, labels) > 0.9
    assert model.predict(texts[:2]).dtype == bool
    assert model.record_.examples is not None and model.record_.examples.train == 24
    with pytest.raises(ValueError, match="has no learning rate"):
        tunebench.TextClassifier(strategy, learning_rate=0.1, model=str(lively_model("bert"))).fit(texts, labels)
