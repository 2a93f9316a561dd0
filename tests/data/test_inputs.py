"""Several columns as texts: pairs and joined texts, found by name or named, from every kind of source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench.data import Split, TextDataset, load_dataset
from tunebench.data.inputs import Inputs, template_columns
from tunebench.data.reference import DataConfig, DataRef
from tunebench.data.text import Pair, by_side, together
from tunebench.data.types import texts_digest
from tunebench.errors import DataError, ErrorGroup, TunebenchError
from tunebench.study.yaml_file import load_data_config

ROWS = [("a b", "c d", "x"), ("e f", "g h", "y"), ("i j", "k l", "x")]
PAIRS = [Pair(first, second) for first, second, _ in ROWS]


def _csv(folder: Path, header: str, rows: list[tuple[str, ...]] = ROWS) -> Path:
    path = folder / "x.csv"
    path.write_text("\n".join([header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]) + "\n")
    return path


def _load(source: Path, **options: Any) -> TextDataset:
    return load_dataset(DataConfig.model_validate({"source": str(source)} | options))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_pairs_are_the_same_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    names = ("premise", "hypothesis", "label")
    columns = {name: [row[i] for row in ROWS] for i, name in enumerate(names)}
    path = tmp_path / f"train.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(columns), path)
    elif ending == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in ROWS))
    else:
        separator = "," if ending == "csv" else "\t"
        path.write_text("\n".join(separator.join(row) for row in [names, *ROWS]) + "\n")
    dataset = _load(path)
    assert list(dataset.train.texts) == PAIRS and dataset.inputs == Inputs(columns=names[:2])
    assert dataset.fingerprint == _load(_csv(tmp_path, "premise,hypothesis,label")).fingerprint


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("premise", "hypothesis"),
        ("Sentence1", "Sentence2"),
        ("question1", "question2"),
        ("question", "sentence"),
        ("text_a", "text_b"),
    ],
)
def test_usual_pairs_are_found_in_their_own_order_and_said(tmp_path: Path, first: str, second: str) -> None:
    turned = [(b, a, label) for a, b, label in ROWS]
    dataset = _load(_csv(tmp_path, f"{second},{first},label", turned))
    assert list(dataset.train.texts) == PAIRS
    account = "\n".join(dataset.reading.lines())
    assert f"first text from '{first}'; second text from '{second}'" in account
    assert f"--set data.text_column={second} reads one column alone" in account


@pytest.mark.parametrize("name", ["text", "body", "content"])
def test_title_and_text_are_joined_and_said(tmp_path: Path, name: str) -> None:
    dataset = _load(_csv(tmp_path, f"title,{name},label"))
    assert list(dataset.train.texts) == [f"{a}\n{b}" for a, b in PAIRS]
    assert f"joined text from '{{title}}\\n{{{name}}}'" in "\n".join(dataset.reading.lines())


def test_one_column_can_be_taken_alone(tmp_path: Path) -> None:
    dataset = _load(_csv(tmp_path, "premise,hypothesis,label"), text_column="hypothesis")
    assert list(dataset.train.texts) == [second for _, second in PAIRS] and dataset.inputs is None
    assert "passed over: column 'premise' ('hypothesis' is read" in "\n".join(dataset.reading.lines())


def test_usual_text_beside_a_pair_is_read_alone(tmp_path: Path) -> None:
    rows = [(*row[:2], f"t{i}", row[2]) for i, row in enumerate(ROWS)]
    dataset = _load(_csv(tmp_path, "premise,hypothesis,text,label", rows))
    assert list(dataset.train.texts) == ["t0", "t1", "t2"]


def test_several_pairs_are_refused_until_one_is_named(tmp_path: Path) -> None:
    rows = [(*row[:2], *row[:2], row[2]) for row in ROWS]
    path = _csv(tmp_path, "premise,hypothesis,text_a,text_b,label", rows)
    with pytest.raises(DataError, match="More than one pair of columns") as caught:
        _load(path)
    (named,) = [line for line in str(caught.value).splitlines() if "fix:" in line]
    setting = named.partition("--set ")[2].strip("'")
    config = load_data_config(str(path), overrides=[setting])
    assert load_dataset(config).inputs == Inputs(columns=("premise", "hypothesis"))


def test_template_joins_columns_whatever_their_number(tmp_path: Path) -> None:
    dataset = _load(_csv(tmp_path, "a,my b,label"), join="{my b}: {a}. {{{a}}}")
    assert list(dataset.train.texts) == [f"{b}: {a}. {{{a}}}" for a, b in PAIRS]
    assert dataset.inputs is not None and dataset.inputs.columns == ("my b", "a")


def test_missing_part_of_a_joined_text_is_said_and_a_text_without_any_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, "title,text,label", [("", "b", "x"), ("c", "d", "y"), ("", " ", "x")])
    with pytest.raises(DataError, match=r"train: 1 of 3 texts are empty \(row 3\)"):
        _load(path)
    dataset = _load(path, texts={"empty": "drop"})
    assert list(dataset.train.texts) == ["\nb", "c\nd"]
    assert "train: 1 of 2 texts have no 'title' (row 1)" in "\n".join(dataset.reading.lines())


def test_empty_side_of_a_pair_is_refused_or_dropped(tmp_path: Path) -> None:
    path = _csv(tmp_path, "premise,hypothesis,label", [("a", "", "x"), (" ", "d", "y"), *ROWS])
    with pytest.raises(ErrorGroup, match="in 'premise' are empty") as caught:
        _load(path)
    assert "1 of 5 texts in 'hypothesis' are empty (row 1)" in str(caught.value)
    dataset = _load(path, texts={"empty": "drop"})
    assert list(dataset.train.texts) == PAIRS
    assert "2 of 5 rows of train (a text of the pair is empty" in "\n".join(dataset.reading.lines())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_columns": ["premise", "hypotesis"]}, "did you mean 'hypothesis'"),
        ({"join": "{premise} {other}"}, "name columns that are there in data.join"),
        ({"text_columns": ["premise", "label"]}, "cannot be the same column"),
        ({"text_columns": ["premise", "hypothesis"], "group_column": "premise"}, "is the column of texts"),
    ],
)
def test_columns_that_cannot_be_read_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TunebenchError, match=message):
        _load(_csv(tmp_path, "premise,hypothesis,label"), **options)


def test_part_that_lacks_a_side_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("premise,hypothesis,label\na,b,x\nc,d,y\n")
    (tmp_path / "test.csv").write_text("premise,label\na,x\nc,y\n")
    with pytest.raises(DataError, match="test split lacks a column that train has"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.text_columns=[a,b,c]"], r"join: '{a} {b} {c}'"),
        (["data.text_columns=[a,a]"], "names the same column twice"),
        (["data.text_columns=a,b"], r"write a list of names, as in \[a, b\]"),
        (["data.text_columns=[a,b]", "data.text_column=a"], "text_column takes one column alone"),
        (["data.text_columns=[a,b]", "data.join='{a} {c}'"], "join names a, c, and text_columns a, b"),
        (["data.join=a and b"], "names no column"),
        (["data.join='{a'"], "is no template"),
        (["data.join='{} x'"], "braces without the name"),
    ],
)
def test_settings_that_make_no_text_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(TunebenchError, match=message):
        load_data_config("x.csv", overrides=settings)


def test_study_that_was_begun_with_one_column_keeps_it(tmp_path: Path) -> None:
    path, config = _csv(tmp_path, "title,text,label"), DataConfig(source=str(tmp_path / "x.csv"))
    old = DataRef(source=str(path), fingerprint="", label_names=("x", "y"))
    dataset = load_dataset(config, recorded=old)
    assert list(dataset.train.texts) == [text for _, text in PAIRS] and dataset.inputs is None
    assert "The study was begun when one column was read" in "\n".join(dataset.reading.lines())
    new = load_dataset(config)
    pinned = old.model_copy(update={"inputs": new.inputs})
    assert load_dataset(config, recorded=pinned).fingerprint == new.fingerprint != dataset.fingerprint


texts = st.lists(
    st.one_of(st.text(max_size=4), st.builds(Pair, st.text(max_size=4), st.text(max_size=4))), max_size=4
)


@given(first=texts, second=texts)
def test_digests_are_equal_only_for_equal_texts(first: list[Any], second: list[Any]) -> None:
    same = [(type(text), text) for text in first] == [(type(text), text) for text in second]
    assert (texts_digest(first) == texts_digest(second)) == same


def test_single_texts_have_the_digest_they_always_had() -> None:
    assert texts_digest(["a", "bc"]).hex().startswith("99171f")


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_columns_and_pairs_are_inverse(values: list[tuple[str, str]]) -> None:
    pairs = [Pair(*value) for value in values]
    assert together(by_side(pairs)) == pairs
    with pytest.raises(ValueError, match="some texts are pairs"):
        by_side([*pairs, "single"])


def test_copies_are_copies_of_both_texts() -> None:
    split = Split([Pair("a", "b"), Pair("b", "a"), Pair("a", "b"), Pair("ab", "")], np.zeros(4, dtype=np.int64))
    assert TextDataset("", None, ("x",), split, None).copies_of.tolist() == [0, 1, 0, 3]


def test_names_in_a_template_may_hold_what_formats_use() -> None:
    assert template_columns("{q:1} {a!r} {q:1}") == ("q:1", "a!r")


@pytest.mark.parametrize(
    ("begun", "now"), [("premise,hypothesis,label", "a,text,label"), ("a,text,label", "premise,hypothesis,label")]
)
def test_other_data_than_a_study_was_begun_with_is_read_as_new(tmp_path: Path, begun: str, now: str) -> None:
    # The store then refuses it, as it is another study.
    config = DataConfig(source=str(_csv(tmp_path, begun)))
    recorded = DataRef(
        source=config.source, fingerprint="", label_names=("x", "y"), inputs=load_dataset(config).inputs
    )
    _csv(tmp_path, now)
    assert load_dataset(config, recorded=recorded).fingerprint == load_dataset(config).fingerprint
