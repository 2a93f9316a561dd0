"""A suite file: a study whose data is a list, checked for every data set at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunebench.data.reference import DataConfig
from tunebench.errors import ConfigError, TunebenchError
from tunebench.study.config import StudyConfig
from tunebench.study.suite import OWN_KEYS, check_suite, load_suite
from tunebench.study.yaml_file import load_study

RAW: dict[str, Any] = {
    "name": "ladder",
    "model": "minilm",
    "data": [
        "texts/trec.csv",
        "rotten-tomatoes",
        {"source": "a/imdb", "name": "films", "text_column": "review", "train_sizes": [100], "max_length": 64},
    ],
    "strategies": ["tfidf", "full"],
    "train_sizes": [200, "all"],
    "test_size": 50,
    "metric": "accuracy",
}


def test_every_data_set_has_an_ordinary_study() -> None:
    suite = check_suite(RAW)
    assert list(suite.studies) == ["trec", "rotten-tomatoes", "films"]
    films, trec = suite.studies["films"], suite.studies["trec"]
    assert (films.data.source, films.data.text_column) == ("a/imdb", "review")
    assert (films.train_sizes, films.max_length, films.metric) == ((100,), 64, "accuracy")
    assert (trec.train_sizes, trec.max_length, trec.name) == ((200, "all"), 256, "ladder-trec")
    assert all(study.strategies == trec.strategies for study in suite.studies.values())
    # It is the study that the same keys make by themselves.
    alone = {key: value for key, value in RAW.items() if key != "data"} | {
        "data": "texts/trec.csv",
        "name": "ladder-trec",
    }
    assert trec == StudyConfig.model_validate(alone)


def test_the_plain_values_make_the_same_suite_again() -> None:
    suite = check_suite(RAW)
    assert check_suite(suite.raw) == suite


def test_a_limit_of_its_own_stands_in_place_of_the_suites_test_size() -> None:
    suite = check_suite(RAW | {"data": ["a", {"source": "b", "test_limit": 20}]})
    sizes = {name: (study.test_size, study.test_limit) for name, study in suite.studies.items()}
    assert sizes == {"a": (50, None), "b": (None, 20)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "a suite has a list"),
        ([3], "entry 1 names no data set"),
        ([{"text_column": "t"}], "entry 1 names no data set"),
        (["a", {"source": "b", "seeds": [1]}], "the key seeds of entry 2 is the same for all data sets"),
        ([{"source": "a", "metric": "mcc"}], "the key metric of entry 1 is the same for all data sets"),
        ([{"source": "a", "text_colum": "t"}], "did you mean 'text_column'?"),
        (["x/one.csv", "y/ONE.tsv"], "two data sets have the same name"),
        ([{"source": "a", "name": "../up"}], "entry 1 has no valid name"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(data: list[Any], says: str) -> None:
    with pytest.raises(ConfigError, match=None) as caught:
        check_suite(RAW | {"data": data})
    assert says in str(caught.value)


def test_an_error_of_all_data_sets_is_stated_once_and_others_with_their_data_set() -> None:
    data = ["a", {"source": "b", "epochs": 0}]
    with pytest.raises(TunebenchError) as caught:
        check_suite(RAW | {"data": data, "batch_size": -1})
    text = str(caught.value)
    assert text.count("batch_size: this is out of range") == 1
    assert "b: epochs: this is out of range" in text
    assert "a: " not in text.replace("data: ", "")


def test_keys_of_data_and_keys_of_a_study_are_never_the_same() -> None:
    assert not OWN_KEYS & set(DataConfig.model_fields)
    assert set(StudyConfig.model_fields) >= OWN_KEYS


def test_files_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: minilm\nstrategies: [tfidf]\ntrain_sizes: [20]\ndata: [a.csv, b.csv]\n")
    suite = load_suite(str(path), overrides=["epochs=7"])
    assert suite.name == "mine"
    assert [study.epochs for study in suite.studies.values()] == [7, 7]
    with pytest.raises(ConfigError, match="This file holds a suite"):
        load_study(str(path))
    assert load_study(str(path), data="c.csv").data.source == "c.csv"


@pytest.mark.parametrize("changes", [{"looks": [3, 4], "seeds": [1, 2, 3, 4]}, {"design": "anytime"}])
def test_a_suite_is_read_once(changes: dict[str, Any]) -> None:
    with pytest.raises(TunebenchError, match="A suite is read once"):
        check_suite(RAW | changes)
