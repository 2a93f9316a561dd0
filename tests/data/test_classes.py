"""Classes of training labels, and which labels belong to them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data.classes import Classes, encode_labels, find_classes
from tunebench.data.labels import clean_labels
from tunebench.errors import DataError


def _classes(values: list[Any], **options: Any) -> tuple[tuple[str | int, ...], list[int]]:
    labels = clean_labels(values, where="train").values
    classes = find_classes(labels, where="train", **options)
    return classes.values, encode_labels(labels, classes, where="train").tolist()


def _of(*values: str | int) -> Classes:
    return find_classes(values, where="train")


@pytest.mark.parametrize(
    ("values", "classes", "encoded"),
    [
        ([1, 0, 1], (0, 1), [1, 0, 1]),
        ([10, 9, -1], (-1, 9, 10), [2, 1, 0]),
        (["10", "9", "9"], (9, 10), [1, 0, 0]),
        (["10", "9", "x"], ("10", "9", "x"), [0, 1, 2]),
        (["pos", " neg ", "pos"], ("neg", "pos"), [1, 0, 1]),
        ([np.int8(1), np.float32(0), np.int64(1)], (0, 1), [1, 0, 1]),
        ([1.0, 2.0], (1, 2), [0, 1]),
        ([Decimal("1.00"), Decimal(2)], (1, 2), [0, 1]),
        (["01", "1", "2"], ("01", "1", "2"), [0, 1, 2]),
        (["--5", "1"], ("--5", "1"), [0, 1]),
        (["²", "1"], ("1", "²"), [1, 0]),
        (["1.0", "0.0"], (0, 1), [1, 0]),
        (["1", "0.0", 1.0, 0, Decimal(1), "1."], (0, 1), [1, 0, 1, 0, 1, 1]),
        (["1.0", "x", "1"], ("1", "x"), [0, 1, 0]),
        (["1.0", "1.1", "2.0"], ("1.0", "1.1", "2.0"), [0, 1, 2]),
        ([True, False], ("False", "True"), [1, 0]),
        ([np.bool_(True), False], ("False", "True"), [1, 0]),
        (["TRUE", "false", "True", False], ("False", "True"), [1, 0, 1, 0]),
        (["true", "false", "maybe"], ("false", "maybe", "true"), [2, 0, 1]),
    ],
)
def test_classes_and_their_order(values: list[Any], classes: tuple[str | int, ...], encoded: list[int]) -> None:
    assert _classes(values) == (classes, encoded)


@settings(deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=2).filter(lambda values: len(set(values)) > 1),
    st.lists(st.sampled_from([int, str, float, Decimal, "{}.0".format, " {} ".format]), min_size=1),
)
def test_however_a_number_is_spelled_it_is_one_class(
    values: list[int], spellings: list[Callable[[int], Any]]
) -> None:
    spelled = [spellings[i % len(spellings)](value) for i, value in enumerate(values)]
    assert _classes(spelled) == _classes(values)
    classes, encoded = _classes(values)
    assert [classes[i] for i in encoded] == values


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2).filter(lambda values: len(set(values)) > 1), st.data())
def test_however_a_truth_value_is_spelled_it_is_one_class(values: list[bool], data: st.DataObject) -> None:
    ways: list[Callable[[bool], Any]] = [bool, np.bool_, str, lambda b: str(b).lower(), lambda b: str(b).upper()]
    spelled = [data.draw(st.sampled_from(ways))(value) for value in values]
    assert _classes(spelled) == (("False", "True"), [int(value) for value in values])


def test_test_labels_may_be_written_otherwise() -> None:
    assert encode_labels(["1", 0, "1.0"], _of(0, 1), where="test").tolist() == [1, 0, 1]
    assert encode_labels([0, 1], _of("0.0", "1.0"), where="test").tolist() == [0, 1]
    assert encode_labels(["true", "False"], _of("False", "True"), where="test").tolist() == [1, 0]
    assert encode_labels(["1.0"], _of("1", "x"), where="test").tolist() == [0]


def test_several_spellings_of_a_class_are_noted_once() -> None:
    assert _of("1", "1.0", "0").notes == ("train: '1' and '1.0' are one class, '1'.",)
    (note,) = find_classes([1, "1", 0], where="train").notes
    assert note == 'train: numbers and texts that spell them are the same labels: 1 and "1".'


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a"], "single class"),
        ([1, 1], "single class"),
        (["1", 1, "x"], "mix strings and integers"),
        (["True", 1, 0], "mix strings and integers"),
        (list(range(100)), "does not look like labels"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: list[str | int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_classes(labels, where="train")
    assert len(str(caught.value)) < 800


def test_labels_unknown_in_train_are_counted() -> None:
    with pytest.raises(DataError, match=r"3 of 4 labels do not occur in train \(2 distinct\)") as caught:
        encode_labels(["c", "a", "d", "c"], _of("a", "b"), where="test")
    assert "c, d" in str(caught.value) and "a, b" in str(caught.value)
    with pytest.raises(DataError, match="do not occur in train") as caught:
        encode_labels(["A"], _of("a", "b"), where="test")
    assert "data.labels.merge: alike" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["nan", "neg", "pos", "nan"], ["2 of 4 labels are 'nan'", "data.labels.drop: [nan]"]),
        (["null", "neg", "pos"], ["1 of 3 labels are 'null'", "data.labels.drop: ['null']"]),
        ([-1, 0, 1, 1], ["1 of 4 labels are '-1'", "data.labels.drop: ['-1']"]),
        (["work", "work#home", "home", "home#play"], ["2 of 4 classes (2 of 4 labels)", "joined by '#'"]),
        (["a", "a|b", "b"], ["1 of 3 classes (1 of 3 labels)", "joined by '|'"]),
        (["a;b", "b;c"], ["2 of 2 classes", "joined by ';'"]),
        (["a, b", "b"], ["1 of 2 classes", "joined by ','"]),
        (["['work']", "['work', 'home']"], ["2 of 2 classes", "written as a list"]),
        (["[0, 1]", "[1, 0]"], ["2 of 2 classes", "written as a list"]),
        (["neg", "Pos", "pos", "POS"], ["'POS' (1), 'Pos' (1), 'pos' (1)", "data.labels.merge: alike"]),
        (["neg", "pos", "pos\u200b"], [r"'pos' (1), 'pos\u200b' (1)", "invisible"]),
        (["bar", "caf\u00e9", "cafe\u0301"], [r"'cafe\u0301' (1)", "normal form"]),
        (["new york", "New  York", "x"], ["these classes look alike"]),
        (['"neg"', '"pos"'], ["2 of 2 labels keep their quotation marks", """{'"neg"': neg, '"pos"': pos}"""]),
    ],
)
def test_suspicious_classes_are_noted_with_counts(labels: list[str | int], words: list[str]) -> None:
    (note,) = find_classes(labels, where="train").notes
    assert note.startswith("train: ") and all(word in note for word in words)


@pytest.mark.parametrize(
    "labels",
    [
        ["neg", "pos"],
        [-1, 1],
        ["C#", "F#", "Java"],
        ["Food, drinks", "Sports"],
        ["sci/tech", "world"],
        ["0", "1", "2"],
        ["don't", "do"],
    ],
)
def test_sound_classes_are_not_remarked_upon(labels: list[str | int]) -> None:
    assert find_classes(labels, where="train").notes == ()


def test_declared_names_keep_their_order() -> None:
    declared = ("world", "sports", "business")
    assert find_classes(["business", "world"], where="train", declared=declared).values == ("world", "business")
    assert find_classes(["z", "world"], where="train", declared=declared).values == ("world", "z")


@pytest.mark.parametrize("distinct", [3, 40])
def test_numbers_with_a_comma_are_told_how_to_be_numbers(distinct: int) -> None:
    labels = [f"{i % distinct},5" for i in range(60)]
    notes: list[str] = []
    try:
        notes += find_classes(labels, where="train").notes
    except DataError as error:
        notes.append(str(error))
        assert error.value and error.value.endswith(f" and {distinct - 10} more")
    assert any("write them with a decimal point" in note for note in notes)
    names = find_classes(["a,5", "b,5"] * 9, where="train").notes
    assert names and not any("decimal point" in note for note in names)
