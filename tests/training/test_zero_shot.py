"""Labels as sentences: against the pipeline of Transformers, and in a study beside other strategies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import tunebench
from tunebench import run_study
from tunebench.errors import ConfigError, ModelError, TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.strategies.zero_shot import ZeroShotParams
from tunebench.study.config import StudyConfig
from tunebench.training.zero_shot.model import EntailmentClassifier

TEXTS = ["a superb film", "an awful film that was far too long", "it was"]
WORDS = {"neg": "bad", "pos": "a good film"}


@pytest.fixture(scope="module")
def nli(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A tiny random classifier of entailment with given labels."""

    def make(*names: str) -> Path:
        folder, base = tmp_path_factory.mktemp("nli"), tiny_model("bert")
        torch.manual_seed(0)
        labels = dict(enumerate(names))
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=len(names),
            id2label=labels,
            label2id={name: i for i, name in labels.items()},
            ignore_mismatched_sizes=True,
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.8)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("exclusive", [True, False])
def test_probabilities_are_those_of_the_pipeline_of_transformers(nli: Callable[..., Path], exclusive: bool) -> None:
    folder = nli("contradiction", "neutral", "ENTAILMENT")
    names = ["bad", "good", "a story of two men"]
    model = EntailmentClassifier(
        folder, "m", [f"This text is {name}." for name in names], exclusive=exclusive, max_length=64
    )
    asked: Any = pipeline("zero-shot-classification", model=str(folder), device=-1)
    logits = model.logits(TEXTS)
    found = softmax(logits, axis=1) if exclusive else expit(logits)
    for text, row in zip(TEXTS, found, strict=True):
        answer = asked(text, names, hypothesis_template="This text is {}.", multi_label=not exclusive)
        expected = dict(zip(answer["labels"], answer["scores"], strict=True))
        assert row == pytest.approx([expected[name] for name in names], abs=1e-4)
    assert np.ptp(found) > 0.01


def test_other_models_are_refused_with_what_is_needed(
    nli: Callable[..., Path], tiny_model: Callable[[str], Path]
) -> None:
    for folder in (nli("a", "b"), tiny_model("bert")):
        with pytest.raises(ModelError, match=r"no label of that name") as caught:
            EntailmentClassifier(folder, "m", ["x"], exclusive=True, max_length=64)
        assert "name such a model" in str(caught.value)
    with pytest.raises(ModelError, match="against entailment"):
        EntailmentClassifier(nli("entailment", "neutral"), "m", ["x"], exclusive=False, max_length=64)


@pytest.mark.parametrize("hypothesis", ["no label", "{} and {}", "{0} is {}", "{name}", "{} }"])
def test_a_sentence_without_one_place_for_the_label_is_refused(hypothesis: str) -> None:
    with pytest.raises(ValueError, match=r"must hold \{\} once"):
        ZeroShotParams(hypothesis=hypothesis)


def config(reviews: Path, model: Path, **strategy: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "t",
            "model": str(model),
            "data": str(reviews),
            "strategies": {"zero_shot": strategy, "tfidf": {"c": [1.0]}},
            "train_sizes": [30, 40],
            "max_length": 32,
        }
    )


def test_a_study_scores_it_beside_trained_strategies(
    reviews: Path, nli: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    folder = nli("entailment", "not_entailment")
    made = config(reviews, folder, words=WORDS, hypothesis="The film is {}.")
    result = run_study(made, tmp_path / "out", measure=False, execution=Execution(device="cpu", threads=1))
    assert not result.summary.failed
    cells = [cell for cell in StudyStore.open(tmp_path / "out").cells() if cell.spec.kind == "zero_shot"]
    plan = make_plan(made, execution=Execution(device="cpu", threads=1), measure=False)
    assert plan.dataset.test is not None
    sentences = [f"The film is {WORDS[name]}." for name in plan.dataset.label_names]
    model = EntailmentClassifier(folder, "m", sentences, exclusive=True, max_length=32)
    for cell in cells:
        assert cell.record is not None and cell.predictions is not None
        stored = cell.predictions()
        texts = [plan.dataset.test.texts[i] for i in stored["indices"]]
        np.testing.assert_allclose(stored["logits"], model.logits(texts), atol=1e-5)
        assert cell.record.parameters is not None and cell.record.parameters.trainable == 0
        assert cell.record.environment is not None and cell.record.cost is not None
        assert cell.record.environment.machine["zero_shot"] == {"hypotheses": sentences}
        assert cell.record.cost.train_flops == 0 and cell.record.cost.artifact_bytes is None
    with pytest.raises(ModelError, match="zero_shot trains nothing"):
        tunebench.load(tmp_path / "out" / "runs" / cells[0].spec.run_id)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "zero_shot" in page


def test_wrong_words_and_a_wrong_model_stop_the_plan(
    reviews: Path, tiny_model: Callable[[str], Path], nli: Callable[..., Path]
) -> None:
    execution = Execution(device="cpu", threads=1)
    with pytest.raises(TunebenchError, match="no label of that name"):
        make_plan(config(reviews, tiny_model("bert")), execution=execution, measure=False)
    folder = nli("entailment", "contradiction")
    with pytest.raises(ConfigError, match="labels that the data does not have"):
        make_plan(config(reviews, folder, words={"Pos": "good"}), execution=execution, measure=False)
