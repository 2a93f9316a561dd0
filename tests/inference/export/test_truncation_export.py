"""What is read of long texts: a run, its export in every format and a server read what training read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

import tunebench
from inference.conftest import run_of, run_tiny
from thorough import mostly_thorough, thorough
from tunebench.data import load_dataset
from tunebench.data.tokens import Cut
from tunebench.errors import ExportError, ModelError
from tunebench.inference.artifacts import describe
from tunebench.inference.export import EXPORTERS, export_run
from tunebench.inference.export.base import Tolerance
from tunebench.store.study_folder import StudyStore
from tunebench.web.serving.models import Mixed, load_models

LORA = {"kind": "lora", "rank": 4, "learning_rate": 1e-2}
TAIL = {"truncation": "tail"}
#: Neither rounds to the default share nor to a symmetric cut.
BOTH = {"truncation": "head_tail", "head_share": 0.4}
STRATEGIES: dict[str, Any] = {
    "head": {"kind": "full", "learning_rate": 2e-3},
    "tail": {"kind": "full", "learning_rate": 2e-3} | TAIL,
    "both": {"kind": "full", "learning_rate": 2e-3} | BOTH,
    "lora-tail": LORA | TAIL,
    "lora-both": LORA | BOTH,
    "prompt-both": {"kind": "prompt_tuning", "virtual_tokens": 4} | BOTH,
}
#: Of 12 tokens two are special: of the other ten, four are the first ones.
CUTS = {"head": Cut(11, 1), "tail": Cut(1, 11), "both": Cut(5, 7)}
CASES = [
    ("head", "merged"),
    ("tail", "merged"),
    ("both", "merged"),
    ("lora-tail", "adapter"),
    ("lora-both", "adapter"),
    ("prompt-both", "adapter"),
    ("tail", "onnx"),
    ("both", "onnx-int8"),
]
Exports = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def folder(lively_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cuts")
    return run_tiny(lively_model("bert"), root, strategies=STRATEGIES, max_length=12, precision="fp32")


@pytest.fixture(scope="module")
def exports(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Return a function that exports a strategy's run in a format, once.

    A quarter of these texts lie nearer to the border than int8 rounds, and which of them change sides depends on
    the machine. Here it is the logits that show what was read, so the labels may differ more than an export's may.
    """
    root = tmp_path_factory.mktemp("exports")

    def make(label: str, format_: str) -> Path:
        out = root / f"{label}-{format_}"
        if not out.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(EXPORTERS["onnx-int8"], "tolerance", Tolerance(None, 0.75, 1.0))
                export_run(folder, out=out, format=format_, run_id=run_of(folder, label))
        return out

    return make


@pytest.fixture(scope="module")
def texts(folder: Path) -> list[str]:
    """The texts of the test part, most of which are too long."""
    found = load_dataset(StudyStore.open(folder).study().data).train.texts
    return [found[i] for i in stored(folder, "head")["indices"]]


def stored(folder: Path, label: str) -> dict[str, np.ndarray]:
    return StudyStore.open(folder).run_folder(run_of(folder, label)).read_predictions()


def cut_of(label: str) -> Cut:
    return CUTS[label.rpartition("-")[2]]


@pytest.mark.parametrize("label", STRATEGIES)
def test_a_run_answers_as_it_did_when_it_was_tested(folder: Path, texts: list[str], label: str) -> None:
    found = tunebench.load(folder / "runs" / run_of(folder, label), precision="fp32")
    assert found.cut == cut_of(label)
    expected = stored(folder, label)["logits"]
    assert expected.std(axis=0).min() > 0.1, "a model that says one thing only proves nothing"
    logits = found.predict_logits(texts)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.array_equal(logits.argmax(1), expected.argmax(1))


@pytest.mark.parametrize(("label", "format_"), mostly_thorough(CASES, keep=lambda case: case in CASES[:5:2]))
def test_every_format_reads_what_its_run_read(
    folder: Path, exports: Exports, texts: list[str], label: str, format_: str
) -> None:
    out = exports(label, format_)
    found = tunebench.load(out, precision="auto" if "onnx" in format_ else "fp32")
    assert found.cut == cut_of(label)
    expected = stored(folder, label)["logits"]
    np.testing.assert_allclose(found.predict_logits(texts), expected, atol=0.5 if format_ == "onnx-int8" else 1e-3)
    facts = json.loads((out / "export.json").read_text())
    assert facts["truncation"] == {"head": "head", "tail": "tail", "both": "head_tail"}[label.rpartition("-")[2]]
    assert facts["head_share"] == (0.4 if "both" in label else None)


def test_long_texts_are_what_the_cuts_differ_by(folder: Path, texts: list[str]) -> None:
    """Without this, the tests above would pass with any cut."""
    run = tunebench.load(folder / "runs" / run_of(folder, "tail"), precision="fp32")
    wrong = tunebench.load(folder / "runs" / run_of(folder, "tail"), precision="fp32")
    wrong._encoder.cut = CUTS["head"]
    assert np.abs(run.predict_logits(texts) - wrong.predict_logits(texts)).max() > 0.1


def test_a_server_reads_for_each_model_what_its_run_read(folder: Path, texts: list[str]) -> None:
    """Two adapters over one base and one tokenizer, in one batch, cut in different ways."""
    labels = ("lora-tail", "lora-both", "tail")
    runs = [str(folder / "runs" / run_of(folder, label)) for label in labels]
    loaded = load_models(runs, precision="fp32", threads=1)
    assert isinstance(loaded[0].group, Mixed) and loaded[0].group is loaded[1].group
    assert loaded[0].predictor._tokenizer is loaded[1].predictor._tokenizer
    for model, label in zip(loaded, labels, strict=True):
        rows = model.predictor.encode(texts)
        found = np.stack(model.group.logits(rows, [model] * len(rows)))
        np.testing.assert_allclose(found, stored(folder, label)["logits"], atol=1e-3)
    chosen = [loaded[i % 2] for i in range(len(texts))]
    rows = [model.predictor.encode([text])[0] for model, text in zip(chosen, texts, strict=True)]
    found = np.stack(loaded[0].group.logits(rows, chosen))
    for i, label in enumerate(labels[:2]):
        np.testing.assert_allclose(found[i::2], stored(folder, label)["logits"][i::2], atol=1e-3)


@thorough
def test_the_cards_code_reads_what_the_run_read(
    folder: Path, exports: Exports, texts: list[str], lively_model: Callable[[str], Path]
) -> None:
    """Without tunebench, in a fresh process."""
    script, checked = f"import json\ntexts = json.loads({json.dumps(texts)!r})\nfound = []\n", CASES[1:]
    for label, format_ in checked:
        out = exports(label, format_)
        card = (out / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
        code = code.replace("PATH", str(out)).replace("path/to/bert", str(lively_model("bert")))
        script += code.replace('["a text"]', "texts")
        if "classify" in code:
            script += (
                "\nlogits = [[a['score'] for a in sorted(row, key=lambda a: a['label'])] "
                "for row in classify(texts, truncation=True, top_k=None, function_to_apply='none')]"
            )
        script += "\nfound.append([[float(x) for x in row] for row in logits])\n"
        words = " ".join(card.split())
        assert ("the first 5 and the last 7 are read" if "both" in label else "only the end is read") in words
    command = [sys.executable, "-W", "ignore", "-c", f"{script}print(json.dumps(found))"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    for (label, format_), found in zip(checked, json.loads(run.stdout.splitlines()[-1]), strict=True):
        expected = stored(folder, label)["logits"]
        np.testing.assert_allclose(found, expected, atol=0.5 if format_ == "onnx-int8" else 1e-3)


def test_the_saved_tokenizer_cuts_where_it_can(exports: Exports, texts: list[str]) -> None:
    for label in ("head", "tail"):
        out = exports(label, "merged")
        theirs = AutoTokenizer.from_pretrained(out)(texts, truncation=True)["input_ids"]
        assert theirs == [row.tolist() for row in tunebench.load(out).encode(texts)]


def test_an_older_export_reads_the_beginning(exports: Exports, tmp_path: Path) -> None:
    """Its tokenizer's side is whatever the base's was; training did not ask it."""
    out = shutil.copytree(exports("tail", "merged"), tmp_path / "out")
    facts = json.loads((out / "export.json").read_text())
    older = {key: value for key, value in facts.items() if key not in ("truncation", "head_share")}
    (out / "export.json").write_text(json.dumps(older))
    assert (describe(out).truncation, tunebench.load(out).cut) == ("head", CUTS["head"])


def test_a_folder_of_others_is_cut_where_its_tokenizer_cuts(exports: Exports, tmp_path: Path) -> None:
    for label in ("head", "tail"):
        out = shutil.copytree(exports(label, "merged"), tmp_path / label)
        (out / "export.json").unlink()
        assert (describe(out).truncation, tunebench.load(out).cut) == (label, CUTS[label])


@pytest.mark.parametrize("wrong", [{"truncation": "middle"}, {"truncation": "head_tail", "head_share": 1.5}])
def test_a_cut_that_is_not_known_is_refused(exports: Exports, tmp_path: Path, wrong: dict[str, Any]) -> None:
    out = shutil.copytree(exports("tail", "merged"), tmp_path / "out")
    facts = json.loads((out / "export.json").read_text())
    (out / "export.json").write_text(json.dumps(facts | wrong))
    with pytest.raises(ModelError, match="way to shorten texts"):
        tunebench.load(out)


def test_an_export_that_reads_other_tokens_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.inference.artifacts.stated_truncation", lambda facts, tokens: ("head", 0.25))
    with pytest.raises(ExportError, match="reads another part"):
        export_run(folder, out=tmp_path / "out", run_id=run_of(folder, "both"))
    assert list(tmp_path.iterdir()) == []


def test_every_format_is_tried_with_another_cut_than_the_beginning() -> None:
    assert {format_ for label, format_ in CASES if label != "head"} == set(EXPORTERS) - {"linear"}
