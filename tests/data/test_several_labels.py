"""Texts with several labels: a column of lists, a delimiter, 0/1 columns; and what is refused or said."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tunebench.data import TextDataset, load_dataset
from tunebench.data.audit import audit
from tunebench.data.reference import DataConfig
from tunebench.errors import DataError, TunebenchError
from tunebench.study.yaml_file import load_data_config

SETS = [["joy"], ["joy", "love"], ["anger"], ["love"], ["anger", "joy"], ["love"]]
EXPECTED = [[0, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]]


def lists(folder: Path, sets: list[Any], name: str = "data.jsonl") -> Path:
    rows = [{"text": f"text number {i}", "labels": labels} for i, labels in enumerate(sets)]
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def joined(folder: Path, sets: list[list[str]], sign: str = "|") -> Path:
    path = folder / "data.csv"
    lines = ["text,labels", *(f"text number {i},{sign.join(labels)}" for i, labels in enumerate(sets))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def columns(folder: Path, sets: list[list[str]]) -> Path:
    names, path = ("anger", "joy", "love"), folder / "wide.csv"
    rows = [",".join([f"text number {i}", *(str(int(n in own)) for n in names)]) for i, own in enumerate(sets)]
    path.write_text("\n".join(["text,anger,joy,love", *rows]) + "\n", encoding="utf-8")
    return path


def load(source: Path, **settings: Any) -> TextDataset:
    return load_dataset(DataConfig.model_validate({"source": str(source), **settings}))


def test_three_ways_to_write_labels_are_one(tmp_path: Path) -> None:
    wide = {"label_columns": ["anger", "joy", "love"]}
    found = [
        load(lists(tmp_path, SETS)),
        load(joined(tmp_path, SETS), label_delimiter="|"),
        load(columns(tmp_path, SETS), **wide),
    ]
    for dataset in found:
        assert dataset.task.name == "multi_label" and dataset.label_names == ("anger", "joy", "love")
        assert dataset.train.labels.tolist() == EXPECTED
        assert any("task: multi_label" in line for line in dataset.reading.lines())
    assert len({dataset.fingerprint for dataset in found}) == 1


def test_texts_without_a_label_are_allowed_where_that_is_asked_for(tmp_path: Path) -> None:
    sets = [*SETS, [], []]
    for source, settings in (
        (lists(tmp_path, sets), {}),
        (joined(tmp_path, sets), {"label_delimiter": "|"}),
        (columns(tmp_path, sets), {"label_columns": ["anger", "joy", "love"]}),
    ):
        with pytest.raises(DataError, match="2 of 8 texts have no label \\(rows 7, 8\\)"):
            load(source, **settings)
        kept = load(source, labels={"none": "keep"}, **settings)
        assert kept.train.labels.tolist() == [*EXPECTED, [0, 0, 0], [0, 0, 0]]
        assert any("2 texts have no label; they are kept" in line for line in kept.reading.lines())
        dropped = load(source, labels={"none": "drop"}, **settings)
        assert dropped.train.labels.tolist() == EXPECTED
        assert any("the text has no label" in line for line in dropped.reading.lines())


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([*SETS, "joy"], "1 of 7 rows hold no list of labels \\(row 7\\)"),
        ([*SETS, None], "the labels of 1 of 7 texts are missing \\(row 7\\)"),
        ([*SETS, ["joy", None]], "1 of 10 labels are missing \\(row 7\\)"),
        ([*SETS, ["joy", ["love"]]], "1 of 10 labels are lists \\(row 7\\)"),
        ([["joy"]] * 6, "a single class"),
        ([[]] * 6, "no text has a label"),
    ],
)
def test_what_names_no_labels_is_refused(tmp_path: Path, sets: list[Any], message: str) -> None:
    with pytest.raises(TunebenchError, match=message):
        load(lists(tmp_path, sets))


def test_labels_are_merged_dropped_and_counted_once_with_a_word(tmp_path: Path) -> None:
    source = lists(tmp_path, [*SETS, ["Joy", "joy"], ["joy", "anger"]])
    found = load(source, labels={"merge": {"Joy": "joy"}, "drop": ["love"], "none": "drop"})
    assert found.label_names == ("anger", "joy")
    assert found.train.labels.tolist() == [[0, 1], [0, 1], [1, 0], [1, 1], [0, 1], [1, 1]]
    said = "\n".join(found.reading.lines())
    assert "the label 'love' is taken off 3 texts" in said and "1 text has a label more than once" in said
    assert "2 of 8 rows of train" in said


def test_a_missing_label_in_a_list_is_left_out_with_a_word(tmp_path: Path) -> None:
    dataset = load(lists(tmp_path, [*SETS, ["joy", None]]), labels={"missing": "drop"})
    assert dataset.train.labels.tolist() == [*EXPECTED, [0, 1, 0]]
    assert any("train: 1 label in a list is missing; it is left out" in line for line in dataset.reading.lines())


def test_labels_of_test_have_to_be_known_and_those_of_columns_to_occur(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    lists(folder, SETS, "train.jsonl")
    lists(folder, [["joy", "grief"]], "test.jsonl")
    with pytest.raises(DataError, match="test: 1 of 2 labels do not occur in train"):
        load(folder)
    wide = load(
        columns(tmp_path, [[n for n in own if n != "anger"] or ["joy"] for own in SETS]),
        label_columns=["anger", "joy", "love"],
    )
    assert wide.label_names == ("joy", "love")
    assert any("no text with the label anger" in line for line in wide.reading.lines())


def test_columns_have_to_be_there_and_hold_0_and_1(tmp_path: Path) -> None:
    source = columns(tmp_path, SETS)
    with pytest.raises(DataError, match="no such label columns"):
        load(source, label_columns=["anger", "pride"])
    source.write_text(source.read_text(encoding="utf-8").replace("0,1,0", "0,2,0", 1), encoding="utf-8")
    with pytest.raises(DataError, match="neither 0 nor 1 \\(row 1\\)"):
        load(source, label_columns=["anger", "joy"])


@pytest.mark.parametrize(
    "settings",
    [
        {"label_delimiter": "|", "label_columns": ["a", "b"]},
        {"label_column": "a", "label_columns": ["a", "b"]},
        {"label_delimiter": "|", "task": "single_label"},
        {"label_columns": ["a", "a"]},
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate({"source": "x", **settings})


def test_the_task_can_be_named_and_has_to_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs several labels a text"):
        load(joined(tmp_path, SETS), task="multi_label")
    with pytest.raises(TunebenchError, match=r"are lists .*, and the task has one label per text"):
        load(lists(tmp_path, SETS), task="single_label")
    single = load(joined(tmp_path, SETS * 4))
    assert single.task.name == "single_label"
    assert any("set data.label_delimiter: '|'" in line for line in single.reading.lines())


@pytest.mark.parametrize("sign", ["|", "; "])
def test_a_sign_after_the_last_label_hides_no_combination(tmp_path: Path, sign: str) -> None:
    ended = load(joined(tmp_path, [[*labels, ""] for labels in SETS * 4], sign))
    name = sign.strip()
    assert any(f"set data.label_delimiter: {name!r}" in line for line in ended.reading.lines())
    single = load(joined(tmp_path, [["joy", ""], ["anger", ""]] * 6, sign))
    assert not any("label_delimiter" in line for line in single.reading.lines())


def test_columns_of_0_and_1_are_offered_as_labels(tmp_path: Path) -> None:
    source = columns(tmp_path, SETS)
    with pytest.raises(DataError) as refused:
        load(source)
    (offered,) = re.findall(r"--set (data\.label_columns=.*)", refused.value.fix or "")
    config = load_data_config(str(source), overrides=shlex.split(offered))
    assert load_dataset(config).label_names == ("anger", "joy", "love")
    source.write_text("text,rank\na,1\nb,0\n")
    with pytest.raises(DataError, match=r"label_column=NAME$"):
        load(source)


def test_declared_names_of_lists_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["love", "joy", "anger"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.Sequence(names)})
    table = {"text": [f"text number {i}" for i in range(6)], "labels": SETS}
    path = tmp_path / "data.parquet"
    datasets.Dataset.from_dict(table, features=features).to_parquet(str(path))
    found = load(path)
    assert found.label_names == ("love", "joy", "anger")
    assert found.train.labels.tolist() == np.array(EXPECTED)[:, [2, 1, 0]].tolist()


def test_the_audit_counts_labels_of_texts(tmp_path: Path) -> None:
    found = audit(load(lists(tmp_path, [*SETS, SETS[0]])))
    split = found.splits["train"]
    assert split.per_class == {"anger": 2, "joy": 4, "love": 3} and split.labels_per_text == {1: 5, 2: 2}
    assert split.share["joy"] == 4 / 7
