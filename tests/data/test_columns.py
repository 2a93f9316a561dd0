"""Columns and labels: conventions, and every way they can fail."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunebench.data.columns import (
    LABEL_NAMES,
    TEXT_NAMES,
    check_texts,
    find_column,
    find_columns,
    is_empty,
)
from tunebench.data.reading import PassedOver
from tunebench.data.table import Table
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
    assert "1 of 16 texts are not strings (row 5)" in shown
    assert "13 of 16 texts are empty (rows 2, 3, 4, 7, 8, ...)" in shown
    assert "1 of 16 texts are not valid Unicode (half of a surrogate pair) (row 6)" in shown
    assert len(shown) < 1500


@pytest.mark.parametrize(
    "unseen", ["\u200b\u200b", "\u3164", "\xad", "\ufeff \u2060", "\u2800", "\u115f\u1160", "\ufe0f"]
)
def test_a_text_that_shows_nothing_is_empty(unseen: str) -> None:
    with pytest.raises(DataError, match=r"1 of 2 texts are empty \(row 2\)"):
        check_texts(["a", unseen], where="train")
    kept = f"{unseen}x"
    assert check_texts([kept], where="train") == [kept]


@pytest.mark.parametrize("value", [None, math.nan, ""])
def test_a_missing_text_is_empty(value: object) -> None:
    assert is_empty(value) and not is_empty("x") and not is_empty(0)


def test_only_the_wanted_rows_are_checked_and_keep_their_numbers() -> None:
    assert check_texts(["", "a", "b"], where="train", rows=[1, 2]) == ["a", "b"]
    with pytest.raises(DataError, match=r"1 of 4 texts are empty \(row 4\)"):
        check_texts(["", "a", "b", " "], where="train", rows=[1, 3])


def _table(**columns: list[object]) -> Table:
    return Table(tuple(columns), len(next(iter(columns.values()))), lambda name: list(columns[name]))


TEXTS: list[object] = [f"a text, number {i}" for i in range(8)]


def test_the_only_column_of_numbers_looks_likely() -> None:
    numbers: list[object] = [f"{i / 3:.3f}" for i in range(8)]
    with pytest.raises(DataError, match=r"--set data.label_column=mark \('mark' looks likely\)"):
        find_columns(_table(text=TEXTS, mark=numbers), inputs=None, label=None)


def test_a_column_of_objects_does_not_look_like_labels() -> None:
    objects: list[object] = [{"label": i % 2} for i in range(8)]
    with pytest.raises(DataError, match="label_column=NAME"):
        find_columns(_table(text=TEXTS, meta=objects), inputs=None, label=None)


def test_what_was_not_read_is_named_where_no_column_is_found() -> None:
    table = replace(_table(title=TEXTS), passed_over=(PassedOver("column 2", "it has no name"),))
    with pytest.raises(ErrorGroup) as refused:
        find_columns(table, inputs=None, label=None)
    assert all("column 2 (it has no name)" in str(error) for error in refused.value.errors)
