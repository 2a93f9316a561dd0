"""``models`` in a study: each strategy once with each model."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.errors import ConfigError
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import check_study

STUDY: dict[str, Any] = {
    "name": "s",
    "data": "d",
    "train_sizes": [10],
    "models": ["minilm", "org/Big.Encoder", "minilm:3"],
}


def models_of(**changes: Any) -> dict[str, str | None]:
    study = check_study(STUDY | changes)
    return {label: strategy.model for label, strategy in study.strategies.items()}


def test_every_strategy_with_an_encoder_meets_every_model() -> None:
    assert models_of(strategies={"full": {"epochs": 2}, "tfidf": None, "emb": {"kind": "embeddings"}}) == {
        "full@minilm": "minilm",
        "full@Big.Encoder": "org/Big.Encoder",
        "full@minilm-3": "minilm:3",
        "tfidf": None,
        "emb@minilm": "minilm",
        "emb@Big.Encoder": "org/Big.Encoder",
        "emb@minilm-3": "minilm:3",
    }
    assert models_of(strategies=["head_only"]).keys() == {
        f"head_only@{m}" for m in ("minilm", "Big.Encoder", "minilm-3")
    }
    study = check_study(STUDY | {"strategies": {"full": {"epochs": 2}}})
    assert study.model == "minilm"
    assert {s.recipe["epochs"] for s in study.strategies.values()} == {2}


def test_a_strategy_may_name_its_models_or_one_of_its_own() -> None:
    found = models_of(strategies={"full": {"models": ["minilm:3"]}, "lora": {"model": "elsewhere"}})
    assert found == {"full@minilm-3": "minilm:3", "lora": "elsewhere"}


def test_pairs_are_compared_on_each_model() -> None:
    strategies = {"full": None, "lora": {"models": ["minilm", "minilm:3"]}, "tfidf": None}
    study = check_study(STUDY | {"strategies": strategies, "pairs": [["full", "lora"], ["tfidf", "lora"]]})
    assert study.pairs == (
        ("full@minilm", "lora@minilm"),
        ("full@minilm-3", "lora@minilm-3"),
        ("tfidf", "lora@minilm"),
        ("tfidf", "lora@minilm-3"),
    )


def test_what_is_written_out_reads_the_same_again() -> None:
    study = check_study(STUDY | {"strategies": ["full", "tfidf"]})
    assert StudyConfig.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "minilm"}, "model and models are both given"),
        ({"models": "minilm"}, "models is a list"),
        ({"models": []}, "models is a list"),
        ({"models": ["minilm", "minilm"]}, "the same model twice"),
        ({"models": ["a/x", "b/x"]}, "two of the models are called x"),
        ({"strategies": {"full": {"models": ["other"]}}}, "names none of the models: other"),
        ({"strategies": {"tfidf": {"models": ["minilm"]}}}, "models"),
        ({"strategies": {"tfidf": {"model": "minilm"}}}, "tfidf trains without a model"),
        ({"strategies": {"full": {"model_revision": "abc"}}}, "give the key model too"),
        ({"pairs": [["full", "nothing"]]}, "nothing"),
    ],
    ids=str,
)
def test_models_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_study(STUDY | {"strategies": ["full"]} | changes)


def test_what_is_wrong_with_a_strategy_is_said_once_where_it_is_written() -> None:
    with pytest.raises(ConfigError) as caught:
        check_study(STUDY | {"strategies": {"full": {"epoch": 2}}})
    assert caught.value.what == "strategies.full.epoch: unknown key."
    assert caught.value.fix == "did you mean 'epochs'?"
    assert "models" in (caught.value.allowed or "")
