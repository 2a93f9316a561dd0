"""Pairs of texts from a study to its exports, predictions and server, over one tiny model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import tunebench
from conftest import leave_report_out
from tunebench.api import run_study
from tunebench.cli import app
from tunebench.data.text import Pair
from tunebench.engine.batching import Collator
from tunebench.errors import DataError
from tunebench.execution.display import PlainDisplay
from tunebench.inference.export import export_run
from tunebench.inference.reading import read_texts
from tunebench.study.yaml_file import check_study
from tunebench.web.serving.app import create_app
from tunebench.web.serving.models import load_models

WORDS = "men paris years story film day house garden".split()
TEXTS = [Pair("the men met in paris", "they met"), Pair("a story of years", "no film was made of the house")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose class is whether the second text holds the first one's noun."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name, count in (("train", 80), ("test", 24)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["premise", "hypothesis", "label"])
            for i in range(count):
                one, other = rng.choice(WORDS, 2, replace=False)
                rows.writerow([f"the {one} was fine {i}", f"a {one if i % 2 else other} is here", "yn"[i % 2]])
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, lively_model: Callable[[str], Path], data: Path) -> Path:
    """A study of pairs with every kind of backend that reads them."""
    folder = tmp_path_factory.mktemp("study") / "out"
    config = check_study(
        {
            "name": "pairs",
            "model": str(lively_model("bert")),
            "data": str(data),
            "strategies": {
                "full": {"learning_rate": 1e-3},
                "lora": None,
                "tfidf": None,
                "both": {"kind": "tfidf", "analyzer": "both", "c": [1.0]},
                "embeddings": None,
                "static": {"c": [1.0]},
            },
            "train_sizes": [60],
            "epochs": 1,
            "batch_size": 16,
            "max_length": 24,
            "precision": "fp32",
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        leave_report_out(patch)
        result = run_study(config, folder, measure=False, display=PlainDisplay(io.StringIO()))
    assert not result.summary.failed
    return folder


def _run(study: Path, kind: str) -> Path:
    (found,) = (study / "runs").glob(f"{kind}-*")
    return found


@pytest.fixture(scope="module")
def merged(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full run, exported as a merged folder."""
    out = tmp_path_factory.mktemp("exports") / "merged"
    export_run(study, out=out, format="merged", run_id=_run(study, "full").name, texts=16)
    return out


def _plain_logits(folder: Path, pairs: list[Pair]) -> np.ndarray:
    """Return the logits of plain Transformers, which is given both texts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer(
        [pair.first for pair in pairs],
        [pair.second for pair in pairs],
        truncation=True,
        padding=True,
        return_tensors="pt",
    )
    assert int(batch["token_type_ids"].max()) == 1
    with torch.inference_mode():
        return np.asarray(model(**batch).logits)


def test_merged_folder_is_what_transformers_makes_of_both_texts(merged: Path) -> None:
    long = [*TEXTS, Pair("the men met " * 20, "they met in a house " * 3)]
    found = tunebench.load(merged, precision="fp32").predict_logits(long)
    np.testing.assert_allclose(found, _plain_logits(merged, long), atol=1e-4)
    swapped = tunebench.load(merged).predict_logits([Pair(*pair[::-1]) for pair in long])
    assert np.abs(found - swapped).max() > 0.05


@pytest.mark.parametrize(("kind", "format_"), [("lora", "adapter"), ("full", "onnx"), ("tfidf", "linear")])
def test_exports_predict_as_their_run(study: Path, tmp_path: Path, kind: str, format_: str) -> None:
    if format_ == "onnx":
        pytest.importorskip("onnxruntime")
    run, out = _run(study, kind), tmp_path / "export"
    export_run(study, out=out, format=format_, run_id=run.name, texts=16)
    first, second = tunebench.load(run, precision="auto"), tunebench.load(out)
    assert second.inputs == first.inputs and second.artifact.reads_pairs
    np.testing.assert_allclose(first.predict_logits(TEXTS), second.predict_logits(TEXTS), atol=2e-2)
    card = (out / "README.md").read_text()
    assert "`premise` and `hypothesis`" in card and "its second text" in card


@pytest.mark.parametrize("kind", ["tfidf", "both", "embeddings", "static"])
def test_linear_card_loads_the_export_without_tunebench(
    study: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "export"
    export_run(study, out=out, run_id=_run(study, kind).name, texts=16)
    card = (out / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0].replace("PATH", str(out))
    names: dict[str, Any] = {}
    exec(code, names)
    predictor = tunebench.load(out, precision="fp32")
    logits = predictor.predict_logits([("a text", "its second text")])
    scores = np.asarray(names["scores"], dtype=np.float32)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], scores[:, 0], atol=1e-4)
    assert names["found"] == predictor.predict([("a text", "its second text")]).tolist()


def test_embeddings_of_a_pair_are_those_of_its_texts(study: Path) -> None:
    model: Any = tunebench.load(_run(study, "embeddings")).text_model  # type: ignore[attr-defined]
    u, v = (model.embedder.vectors(model.embedder.tokens([side])) for side in TEXTS[0])
    expected = model.head.logits(np.hstack([u, v, np.abs(u - v), u * v]))
    np.testing.assert_allclose(model.logits_of(model.encode(TEXTS[:1]), batch_tokens=64), expected, atol=1e-4)


def test_single_text_is_refused_by_a_model_of_pairs_and_the_reverse(merged: Path, study: Path) -> None:
    predictor = tunebench.load(merged)
    with pytest.raises(DataError, match=r"Text 2 is a single text, and this model reads pairs \(premise, hypo"):
        predictor.predict([TEXTS[0], "alone"])
    with pytest.raises(DataError, match="Text 1 is not a pair"):
        predictor.predict([("a", "b", "c")])
    facts = json.loads((merged / "export.json").read_text())
    (merged / "export.json").write_text(json.dumps(facts | {"inputs": None}))
    try:
        with pytest.raises(DataError, match="Text 1 is a pair, and this model reads single texts"):
            tunebench.load(merged).predict(TEXTS)
    finally:
        (merged / "export.json").write_text(json.dumps(facts))


def _predict(*arguments: str, given: str | None = None) -> list[str]:
    result = CliRunner().invoke(app, ["predict", *arguments], input=given)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_every_way_to_give_pairs_has_the_same_answers(merged: Path, tmp_path: Path) -> None:
    expected = _predict(str(merged), *(side for pair in TEXTS for side in pair))
    objects = "\n".join(json.dumps({"id": 1, "premise": a, "hypothesis": b}) for a, b in TEXTS)
    lists = "\n".join(json.dumps(pair) for pair in TEXTS)
    (tmp_path / "x.jsonl").write_text(objects, encoding="utf-8-sig")  # as some editors save it
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["q", "s"], *TEXTS])
    assert len(expected) == len(TEXTS)
    assert _predict(str(merged), "-", given=objects) == expected == _predict(str(merged), "-", given=lists)
    assert _predict(str(merged), "--jsonl", str(tmp_path / "x.jsonl")) == expected
    assert _predict(str(merged), "--csv", str(tmp_path / "x.csv"), "--columns", "q,s") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": ["a", "b", "c"]}, "the last text has no second one"),
        ({"texts": ["-"], "stdin": b"no json"}, "Line 1 is no JSON"),
        ({"texts": ["-"], "stdin": b"[" * 100_000}, "Line 1 is no JSON"),
        ({"texts": ["-"], "stdin": b'{"premise": "a"}'}, "Line 1: The model reads a pair of texts"),
        ({"texts": ["-"], "stdin": b'{"premise": "a", "hypothesis": 3}'}, "Line 1 holds no text"),
        ({"texts": ["-"], "stdin": b'{"a": "b"}', "columns": ["a"]}, "not made of one column"),
        ({"texts": ["-"], "stdin": b'{"a": "b"}', "columns": ["a", "x"]}, "no such text column"),
    ],
)
def test_input_that_holds_no_pairs_is_refused(merged: Path, options: dict[str, Any], message: str) -> None:
    stdin = io.BytesIO(options.pop("stdin", b""))
    with pytest.raises(DataError, match=message):
        list(read_texts(tunebench.load(merged).inputs, stdin=stdin, **options))


@pytest.fixture(scope="module")
def client(merged: Path) -> Iterator[TestClient]:
    """A server of the merged export."""
    with TestClient(create_app(load_models([str(merged)])), base_url="http://127.0.0.1") as made:
        yield made


def test_server_answers_pairs(client: TestClient, merged: Path) -> None:
    answer = client.post("/v1/predict", json={"texts": [list(pair) for pair in TEXTS]})
    assert answer.status_code == 200, answer.text
    expected = tunebench.load(merged).predict_proba(TEXTS).max(axis=1)
    np.testing.assert_allclose([p["probability"] for p in answer.json()["predictions"]], expected, atol=1e-3)
    (model,) = client.get("/v1/models").json()["models"]
    assert model["pair"] == ["premise", "hypothesis"]


@pytest.mark.parametrize("texts", ["alone", ["alone"], [["a", "b", "c"]], [["a", ""]], [["a", 3]], [[["a"], "b"]]])
def test_server_refuses_what_is_no_pair(client: TestClient, texts: Any) -> None:
    answer = client.post("/v1/predict", json={"texts": texts})
    assert answer.status_code == 422 and answer.json()["problems"]


def test_batches_hold_segments_only_where_there_are_any() -> None:
    single, pair = np.array([5, 6, 7]), np.array([5, 6 + (1 << 24)])
    collator = Collator(pad_id=0)
    assert "token_type_ids" not in collator.pad([single])
    batch = collator.pad([single, pair])
    assert batch["token_type_ids"].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 6, 0]]
