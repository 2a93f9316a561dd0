"""Training sizes of single strategies: which runs they give, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.errors import ConfigError, TunebenchError
from tunebench.study.config import StudyConfig
from tunebench.study.suite import check_suite
from tunebench.study.yaml_file import check_study

STUDY: dict[str, Any] = {
    "name": "s",
    "model": "m",
    "data": "d",
    "strategies": {"full": None, "few": {"kind": "lora", "train_sizes": [100]}},
    "train_sizes": [100, 200, "all"],
}


def sizes(study: StudyConfig) -> dict[str, tuple[Any, ...]]:
    return {label: study.sizes_of(strategy) for label, strategy in study.strategies.items()}


def test_a_strategy_trains_at_its_own_sizes_and_otherwise_at_all() -> None:
    study = check_study(STUDY)
    assert sizes(study) == {"full": (100, 200, "all"), "few": (100,)}
    assert StudyConfig.model_validate(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ({"full": {"train_sizes": [300]}, "lora": {}}, "sizes that are not the study's: 300"),
        ({"full": {"train_sizes": [100, "all"]}}, "no strategy trains with 200 labels"),
        ({"full": {"train_sizes": []}}, "this is empty"),
        ({"full": {"train_sizes": 100}}, r"write a list: strategies.full.train_sizes: \[100\]"),
        ({"full": {"train_sizes": [100, 100]}, "lora": {}}, "the same value twice"),
    ],
    ids=str,
)
def test_sizes_that_make_no_sense_are_refused(strategies: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_study(STUDY | {"strategies": strategies})


def test_other_sizes_leave_out_strategies_that_are_for_none_of_them_and_their_pairs() -> None:
    study = check_study(STUDY | {"pairs": [["full", "few"]]})
    found = study.with_train_sizes((200,))
    assert sizes(found) == {"full": (200,)}
    assert found.pairs == ()
    assert sizes(study.with_train_sizes((100,))) == {"full": (100,), "few": (100,)}
    with pytest.raises(ConfigError, match="No strategy trains at these sizes"):
        check_study(
            STUDY | {"train_sizes": [100], "strategies": {"few": {"kind": "lora", "train_sizes": [100]}}}
        ).with_train_sizes((200,))


def test_in_a_suite_a_strategy_may_be_for_sizes_that_only_some_data_sets_have() -> None:
    data = ["one", {"source": "two", "train_sizes": [200, 5000]}, {"source": "three", "train_sizes": [100]}]
    suite = check_suite(STUDY | {"data": data})
    assert {name: sizes(study) for name, study in suite.studies.items()} == {
        "one": {"full": (100, 200, "all"), "few": (100,)},
        "two": {"full": (200, 5000)},
        "three": {"full": (100,), "few": (100,)},
    }
    assert check_suite(suite.raw) == suite
    large = {"full": None, "lora": {"train_sizes": [5000]}}
    assert "lora" in check_suite(STUDY | {"data": data, "strategies": large}).studies["two"].strategies
    with pytest.raises(ConfigError, match="same value twice"):
        check_suite(STUDY | {"data": ["one", {"source": "two", "train_sizes": [100, 100]}]})
    with pytest.raises(TunebenchError, match="sizes that are not the study's: 101"):
        check_suite(STUDY | {"data": data, "strategies": {"full": None, "lora": {"train_sizes": [101]}}})
