"""Labels of a split: which are missing or no labels, and which are merged, left out and refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data import TextDataset, load_dataset
from tunebench.data.labels import clean_labels
from tunebench.data.reference import DataConfig, LabelChoices, TextChoices
from tunebench.data.visible import alike, is_blank
from tunebench.errors import ConfigError, DataError, ErrorGroup
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import check_study, load_data_config, load_study


def _jsonl(path: Path, rows: list[tuple[Any, Any]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def _load(path: Path, **data: Any) -> TextDataset:
    return load_dataset(DataConfig.model_validate({"source": str(path), **data}))


# --- one label in several formats ----------------------------------------------------------------


@pytest.mark.parametrize("train", ["bool", "words", "parquet"])
@pytest.mark.parametrize("test", ["bool", "words"])
def test_truth_values_agree_across_formats(tmp_path: Path, train: str, test: str) -> None:
    for part, kind in (("train", train), ("test", test)):
        if kind == "bool":
            _jsonl(tmp_path / f"{part}.jsonl", [(f"{part} a", True), (f"{part} b", False)])
        elif kind == "words":
            (tmp_path / f"{part}.csv").write_text(f"text,label\n{part} a,true\n{part} b,FALSE\n")
        else:
            table = pa.table({"text": [f"{part} a", f"{part} b"], "label": [True, False]})
            pq.write_table(table, tmp_path / f"{part}.parquet")
    dataset = _load(tmp_path)
    assert dataset.label_names == ("False", "True") and dataset.test is not None
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([Decimal("0"), Decimal("1")]), ("0", "1")),
        (pa.array(["neg", "pos"]).dictionary_encode(), ("neg", "pos")),
        (pa.array([0.0, 1.0]), ("0", "1")),
    ],
)
def test_values_of_parquet_count_as_what_they_hold(
    tmp_path: Path, column: pa.Array, names: tuple[str, ...]
) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": column}), tmp_path / "x.parquet")
    assert _load(tmp_path / "x.parquet").label_names == names


# --- missing labels and values that are none ----------------------------------------------------


@pytest.mark.parametrize("absent", [None, math.nan, np.float64("nan"), Decimal("nan"), "", "  ", "\u200b"])
def test_missing_labels_are_counted_or_left_out(absent: object) -> None:
    values = [1, absent, 0, absent]
    with pytest.raises(DataError, match=r"2 of 4 labels are missing \(rows 2, 4\)") as caught:
        clean_labels(values, where="train")
    assert "--set data.labels.missing=drop" in str(caught.value.fix)
    found = clean_labels(values, where="train", choices=LabelChoices(missing="drop"))
    assert (found.values, found.rows) == ([1, 0], [0, 2])
    assert [item.what for item in found.left_out] == ["2 of 4 rows of train"]


def test_a_split_without_any_label_is_told_so() -> None:
    with pytest.raises(DataError, match="2 of 2 labels are missing") as caught:
        clean_labels([None, float("nan")], where="test")
    assert "drop" not in str(caught.value.fix) and "remove" in str(caught.value.fix)


@pytest.mark.parametrize("odd", [0.5, math.inf, b"x", {"a": 1}, Decimal("0.5"), Decimal("inf")])
def test_values_that_are_no_labels_are_counted(odd: object) -> None:
    with pytest.raises(DataError, match=r"1 of 2 labels are neither strings nor integers \(row 2\)"):
        clean_labels([1, odd], where="train")


@pytest.mark.parametrize("several", [["work", "home"], [1], [], (1, 2), np.array([0, 1])])
def test_lists_of_labels_are_refused_as_such(several: object) -> None:
    with pytest.raises(DataError, match=r"1 of 2 labels are lists \(row 2\), and the task has one") as caught:
        clean_labels(["work", several], where="train")
    assert "--set data.task=multi_label" in str(caught.value.fix)
    with pytest.raises(DataError, match="are lists") as caught:
        clean_labels(["work", several], where="test")
    assert "as train has them" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["a\nb", "x" * 201, "\ud800"])
def test_labels_that_cannot_be_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="1 of 2 labels cannot be class names"):
        clean_labels(["a", name], where="train")


# --- merged and left out ------------------------------------------------------------------------

ROWS = [("a", "Pos"), ("b", "pos"), ("c", "neg"), ("d", "nan"), ("e", "pos"), ("f", None), ("\u200b", "neg")]
TIDY = {"labels": {"drop": ["nan"], "merge": {"Pos": "pos"}, "missing": "drop"}, "texts": {"empty": "drop"}}


def test_what_is_merged_and_left_out_is_counted_and_the_fingerprint_follows(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", ROWS)
    with pytest.raises(ErrorGroup, match="labels are missing") as caught:
        _load(path)
    assert "1 of 7 texts are empty (row 7)" in str(caught.value)
    found = _load(path, **TIDY)
    assert found.train.texts == ["a", "b", "c", "e"] and found.label_names == ("neg", "pos")
    assert found.train.labels.tolist() == [1, 1, 0, 1]
    clean = _jsonl(tmp_path / "y.jsonl", [("a", "pos"), ("b", "pos"), ("c", "neg"), ("e", "pos")])
    assert found.fingerprint == _load(clean).fingerprint
    assert found.reading.lines()[2:] == [
        "passed over: 1 of 7 rows of train (the label is missing; left out by data.labels.missing: drop)",
        "passed over: 1 of 7 rows of train (the label is 'nan'; left out by data.labels.drop)",
        "passed over: 1 of 7 rows of train (the text is empty; left out by data.texts.empty: drop)",
        "note: train: 1 labels 'Pos' count as 'pos' (data.labels.merge).",
    ]


def test_a_row_left_out_for_its_label_needs_no_text(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [("a", "pos"), ("", "nan"), ("c", "neg")])
    assert _load(path, labels={"drop": "nan"}).train.texts == ["a", "c"]


def test_alike_takes_the_commonest_name_and_reaches_the_test_split(tmp_path: Path) -> None:
    _jsonl(tmp_path / "train.jsonl", [("a", "Pos"), ("b", "pos"), ("c", "pos"), ("d", "neg")])
    _jsonl(tmp_path / "test.jsonl", [("e", "POS\u200b"), ("f", "neg")])
    found = _load(tmp_path, labels={"merge": "alike"})
    assert found.label_names == ("neg", "pos") and found.test is not None
    assert found.train.labels.tolist() == [1, 1, 1, 0] and found.test.labels.tolist() == [1, 0]
    assert found.reading.notes == ("train: 'Pos' (1) count as 'pos' (data.labels.merge: alike).",)


def test_numbers_are_merged_and_left_out_however_they_are_spelled(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [("a", "1.0"), ("b", 0), ("c", -1), ("d", 2)])
    assert _load(path, labels={"drop": [-1], "merge": {2: 1}}).train.labels.tolist() == [1, 0, 1]
    named = _load(path, labels={"drop": [-1, 2], "merge": {1: "yes", 0: "no!"}})
    assert named.label_names == ("no!", "yes")
    assert _load(path, labels={"drop": [-1], "merge": {2: "other"}}).label_names == ("0", "1", "other")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"drop": ["nam"]}, ["'nam'", "does not hold"]),
        ({"merge": {"POS": "pos"}}, ["'POS'", "did you mean 'Pos'"]),
        ({"drop": ["nan", "Pos", "pos", "neg"], "missing": "drop"}, ["every row is left out"]),
    ],
)
def test_choices_that_do_not_fit_the_data_are_refused(
    tmp_path: Path, choices: dict[str, Any], words: list[str]
) -> None:
    path = _jsonl(tmp_path / "x.jsonl", [row for row in ROWS if row[1] and row[0] != "\u200b"])
    with pytest.raises(DataError) as caught:
        _load(path, labels=choices)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.labels.drop=[no]", "write true, no and the like in quotes"),
        ("data.labels.merge={no: neg}", "in quotes"),
        ("data.labels.merge={Pos:pos}", "blank after each colon"),
        ("data.labels.merge={a: b, b: c}", "on both sides"),
        ("data.labels={drop: [a], merge: {a: b}}", "both dropped and merged"),
        ("data.labels.merge=case", "alike"),
        ("data.labels.missing=keep", "refuse, drop"),
        ("epochs=3", "Only keys of data"),
    ],
)
def test_bad_choices_are_explained(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_data_config("x.csv", overrides=[override])
    assert words in str(caught.value)


def test_choices_are_set_by_override_stored_and_read_again() -> None:
    sets = ["data.labels.drop=[nan, -1]", "data.labels.merge={Pos: pos, 1: 0}", "data.texts.empty=drop"]
    study = load_study("quickstart", overrides=sets, data="mine.csv")
    assert study.data.labels == LabelChoices(drop=("nan", "-1"), merge={"Pos": "pos", "1": "0"})
    assert study.data.texts == TextChoices(empty="drop")
    assert check_study(study.model_dump(mode="json")) == study
    assert load_data_config("mine.csv", overrides=sets) == study.data
    other = StudyConfig.model_validate(study.model_dump(mode="json"))
    assert other.data == study.data


SPELLINGS = ["pos", "Pos", "POS ", "neg", "n\u200beg", "nan", "Nan", None, math.nan, "", "x"]
TEXTS = ["a", "b", "", "\u200b", " \xad", None]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(SPELLINGS)), max_size=12),
    st.booleans(),
    st.sampled_from([(), ("nan",), ("x", "nan")]),
)
def test_rows_and_classes_written_are_those_read_and_those_reported(
    tmp_path_factory: pytest.TempPathFactory,
    extra: list[tuple[str | None, Any]],
    merge: bool,
    drop: tuple[str, ...],
) -> None:
    rows: list[tuple[Any, Any]] = [("one", "pos"), ("two", "neg"), ("three", "nan"), ("four", "x"), *extra]
    path = _jsonl(tmp_path_factory.mktemp("rows") / "x.jsonl", rows)
    choices = {"drop": drop, "missing": "drop", "merge": "alike" if merge else None}
    found = _load(path, labels=choices, texts={"empty": "drop"})
    reported = sum(int(item.what.split()[0]) for item in found.reading.passed_over)
    assert len(found.train) + reported == len(rows)
    # The slow definition of what is left: row by row, with the classes by hand.
    left: list[tuple[str, str]] = []
    for text, label in rows:
        if not isinstance(label, str) or not label.strip() or label.strip() in drop:
            continue
        if text is not None and not is_blank(text):
            left.append((text, label.strip()))
    assert found.train.texts == [text for text, _ in left]
    names = [found.label_names[i] for i in found.train.labels]
    if merge:
        assert [alike(name) for name in names] == [alike(label) for _, label in left]
        # Every class that is gone has a note that names it.
        gone = {label for _, label in left} - set(found.label_names)
        assert all(any(ascii(name) in note or repr(name) in note for note in found.reading.notes) for name in gone)
    else:
        assert Counter(names) == Counter(label for _, label in left)
