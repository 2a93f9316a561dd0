"""Settings of training that contradict each other, or that have no effect."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.study.config import StudyConfig

STUDY: dict[str, Any] = {
    "name": "s",
    "model": "minilm",
    "data": "imdb-reviews",
    "train_sizes": [20],
    "strategies": {"full": {}},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"head_share": 0.5},
        {"strategies": {"full": {"head_share": 0.5}}},
        {"strategies": {"full": {"head_share": 0.5, "truncation": "tail"}, "b": {"truncation": "head_tail"}}},
    ],
)
def test_a_share_without_effect_is_refused(changes: dict[str, Any]) -> None:
    if "b" in changes.get("strategies", {}):
        changes["strategies"]["b"]["kind"] = "full"
    with pytest.raises(ValueError, match=r"head_share.*no effect"):
        StudyConfig.model_validate(STUDY | changes)


def test_randomness_without_effect_is_refused() -> None:
    taking: dict[str, Any] = {"kind": "full", "randomness": "fast_engine"}
    strategies = {"a": taking, "b": taking | {"engine": "reference"}}
    with pytest.raises(ValueError, match="randomness has no effect without engine: reference"):
        StudyConfig.model_validate(STUDY | {"randomness": "fast_engine"})
    with pytest.raises(ValueError, match=r"randomness \(strategy a\) has no effect without engine: reference"):
        StudyConfig.model_validate(STUDY | {"strategies": strategies})
    strategies["a"] = {"kind": "full"}
    StudyConfig.model_validate(STUDY | {"strategies": strategies})


def test_patience_without_validation_names_the_strategies_that_it_reaches() -> None:
    study = STUDY | {"strategies": {"tfidf": {}, "full": {}}, "patience": 2, "selection": "last"}
    with pytest.raises(ValueError, match=r"patience \(full\) stops training"):
        StudyConfig.model_validate(study)
    StudyConfig.model_validate(study | {"strategies": {"tfidf": {}}})
