"""Columns and labels: conventions, and every way they can fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data.columns import (
    LABEL_NAMES,
    TEXT_NAMES,
    check_texts,
    clean_labels,
    encode_labels,
    find_classes,
    find_column,
    name_classes,
)
from tunebench.errors import DataError, ErrorGroup


def _find(columns: list[str], wanted: str | None = None) -> str:
    return find_column(columns, wanted=wanted, names=TEXT_NAMES, role="text")


@pytest.mark.parametrize("name", [*TEXT_NAMES, "Text", "REVIEW"])
def test_text_column_is_found_by_convention(name: str) -> None:
    assert _find(["id", name, "label"]) == name


@pytest.mark.parametrize("name", [*LABEL_NAMES, "Label"])
def test_label_column_is_found_by_convention(name: str) -> None:
    assert find_column(["text", name], wanted=None, names=LABEL_NAMES, role="label") == name


def test_named_column_wins_over_convention() -> None:
    assert _find(["text", "title"], "title") == "title"


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        (["a", "b"], None, "No column looks like the text column"),
        (["text", "review", "b"], None, "More than one column looks like the text column"),
        (["Text", "text"], None, "More than one"),
        (["text", "b"], "c", "no such text column"),
    ],
)
def test_column_that_cannot_be_told_lists_the_columns(columns: list[str], wanted: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _find(columns, wanted)
    shown = str(caught.value)
    assert all(column in shown for column in columns if wanted or "More" not in message or column != "b")
    assert "text_column" in shown


def test_listing_of_columns_stays_short() -> None:
    with pytest.raises(DataError) as caught:
        _find([f"column_{i}_{'x' * 100}" for i in range(5000)])
    assert len(str(caught.value)) < 1000


def test_texts_come_back_unchanged() -> None:
    texts = [" a ", "NA", "😀", "\u2028x"]
    assert check_texts(texts, where="train") == texts


def test_bad_texts_are_counted_with_their_first_rows() -> None:
    values = ["good", "", None, " \n", 3, "\ud800", *[""] * 10]
    with pytest.raises(ErrorGroup) as caught:
        check_texts(values, where="train")
    shown = str(caught.value)
    assert "2 of 16 texts are not strings (rows 3, 5)" in shown
    assert "12 of 16 texts are empty (rows 2, 4, 7, 8, 9, ...)" in shown
    assert "1 of 16 texts are not valid Unicode (half of a surrogate pair) (row 6)" in shown
    assert len(shown) < 1500


def _classes(values: list[Any]) -> tuple[tuple[str | int, ...], list[int]]:
    labels = clean_labels(values, where="train")
    classes = find_classes(labels, where="train")
    return classes, encode_labels(labels, classes, where="train").tolist()


@pytest.mark.parametrize(
    ("values", "classes", "encoded"),
    [
        ([1, 0, 1], (0, 1), [1, 0, 1]),
        ([10, 9, -1], (-1, 9, 10), [2, 1, 0]),
        (["10", "9", "9"], (9, 10), [1, 0, 0]),
        (["10", "9", "x"], ("10", "9", "x"), [0, 1, 2]),
        (["pos", " neg ", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([True, False], (0, 1), [1, 0]),
        ([np.int8(1), np.float32(0), np.bool_(True)], (0, 1), [1, 0, 1]),
        ([1.0, 2.0], (1, 2), [0, 1]),
        (["01", "1", "2"], ("01", "1", "2"), [0, 1, 2]),
        (["--5", "1"], ("--5", "1"), [0, 1]),
        (["²", "1"], ("1", "²"), [1, 0]),
        (["1.0", "0.0"], ("0.0", "1.0"), [1, 0]),
    ],
)
def test_classes_and_their_order(values: list[Any], classes: tuple[str | int, ...], encoded: list[int]) -> None:
    assert _classes(values) == (classes, encoded)


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2).filter(lambda values: len(set(values)) > 1))
def test_labels_written_as_text_are_the_same_labels(values: list[int]) -> None:
    assert _classes(values) == _classes([str(value) for value in values])
    classes, encoded = _classes(values)
    assert [classes[i] for i in encoded] == values


@pytest.mark.parametrize("absent", [None, math.nan, np.float64("nan"), "", "  "])
def test_missing_labels_are_counted(absent: object) -> None:
    with pytest.raises(DataError, match=r"2 of 4 labels are missing \(rows 2, 4\)"):
        clean_labels([1, absent, 0, absent], where="train")


@pytest.mark.parametrize("odd", [0.5, math.inf, [1], b"x", {"a": 1}])
def test_values_that_are_no_labels_are_counted(odd: object) -> None:
    with pytest.raises(DataError, match=r"1 of 2 labels are neither strings nor integers \(row 2\)"):
        clean_labels([1, odd], where="train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a"], "single class"),
        ([1, 1], "single class"),
        (["1", 1, "x"], "mix strings and integers"),
        (list(range(100)), "does not look like labels"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: list[str | int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_classes(labels, where="train")
    assert len(str(caught.value)) < 800


def test_test_labels_may_be_written_otherwise() -> None:
    assert encode_labels(["1", 0], (0, 1), where="test").tolist() == [1, 0]


def test_labels_unknown_in_train_are_counted() -> None:
    with pytest.raises(DataError, match=r"3 of 4 labels are unknown in train \(2 distinct\)") as caught:
        encode_labels(["c", "a", "d", "c"], ("a", "b"), where="test")
    assert "c, d" in str(caught.value) and "a, b" in str(caught.value)


def test_names_of_classes() -> None:
    assert name_classes((0, 1), ("neg", "pos")) == ("neg", "pos")
    assert name_classes((0, 2), ("a", "b", "c")) == ("a", "c"), "a class may be missing from train"
    assert name_classes((0, 1), None) == ("0", "1")
    assert name_classes((1, 2), ("neg", "pos")) == ("1", "2"), "no index into the declaration"
    assert name_classes((-1, 0), ("neg", "pos")) == ("-1", "0")
    assert name_classes(("a", "b"), ("neg", "pos")) == ("a", "b")
