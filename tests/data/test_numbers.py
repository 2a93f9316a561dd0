"""Numbers to predict: how they are recognised, what is refused, and how parts are drawn."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench.data import TextDataset, load_dataset
from tunebench.data.audit import audit
from tunebench.data.numbers import LARGEST, as_number, clean_numbers
from tunebench.data.reference import DataConfig, LabelChoices
from tunebench.data.splits import draw_parts
from tunebench.errors import DataError
from tunebench.tasks.regression import REGRESSION

VALUES = [3.5, 1.0, 2.25, -4.0, 1e-3, 7.0]


def write(folder: Path, values: list[Any], name: str = "data.jsonl") -> Path:
    path = folder / name
    if name.endswith("csv"):
        rows = [f'text number {i},"{value}"' for i, value in enumerate(values)]
        path.write_text("\n".join(["text,rating", *rows]) + "\n", encoding="utf-8")
    else:
        rows = [json.dumps({"text": f"text number {i}", "rating": value}) for i, value in enumerate(values)]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def load(path: Path, **settings: Any) -> TextDataset:
    return load_dataset(DataConfig.model_validate({"source": str(path), "label_column": "rating", **settings}))


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv"])
def test_numbers_are_read_alike_from_every_format(tmp_path: Path, name: str) -> None:
    found = load(write(tmp_path, VALUES, name), task="regression")
    assert found.task is REGRESSION and found.label_names == ("rating",)
    assert found.train.labels.dtype == np.float64 and found.train.labels.tolist() == VALUES
    assert found.fingerprint == load(write(tmp_path, VALUES, "other.jsonl"), task="regression").fingerprint
    # A fraction counts: numbers are not cut to integers before they are hashed.
    moved = load(write(tmp_path, [3.4, *VALUES[1:]], "moved.jsonl"), task="regression")
    assert moved.fingerprint != found.fingerprint and moved.train.digest != found.train.digest
    assert any("(task: regression)" in line for line in found.reading.lines())


@pytest.mark.parametrize(
    ("values", "name", "task", "words"),
    [
        (VALUES * 3, "data.jsonl", "regression", "A number is predicted for each text"),
        ([i + 0.5 for i in range(30)], "data.csv", "regression", "--set data.task=single_label"),
        ([1, 2, 3, 4, 5] * 4, "data.jsonl", "single_label", "from 1 to 5, taken as 5 classes"),
        ([0.5, 1.0, 1.5] * 9, "data.csv", "single_label", "--set data.task=regression"),
        ([0, 1, 0, 1], "data.jsonl", "single_label", None),
    ],
)
def test_the_audit_says_what_numbers_are_taken_for(
    tmp_path: Path, values: list[Any], name: str, task: str, words: str | None
) -> None:
    found = load(write(tmp_path, values, name))
    notes = [line for line in found.reading.lines() if "task:" in line]
    assert found.task.name == task and len(notes) == (words is not None)
    assert words is None or words in notes[0]
    other = load(write(tmp_path, values, name), task="regression")
    assert other.train.labels.tolist() == [float(value) for value in values]


def test_many_whole_numbers_are_refused_as_classes_and_may_be_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, list(range(1900, 1930)))
    with pytest.raises(DataError, match="does not look like labels") as caught:
        load(path)
    assert "--set data.task=regression" in str(caught.value.fix)
    assert load(path, task="regression").train.labels[-1] == 1929


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("3,5", "written with a comma"),
        ("1,234.5", "written with a comma"),
        ("good", "are no numbers"),
        ("1_000", "are no numbers"),
        ("5 stars", "are no numbers"),
        (True, "are no numbers"),
        (float("inf"), "infinite or too large"),
        ("-Infinity", "infinite or too large"),
        ("1e400", "infinite or too large"),
        (10**400, "infinite or too large"),
        ([1.5], "are lists"),
        (None, "are missing"),
        (float("nan"), "are missing"),
        ("NaN", "are missing"),
        (" ", "are missing"),
    ],
)
def test_what_is_no_number_is_one_message_with_its_row(bad: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        clean_numbers([1.0, bad, 2.5], where="train", choices=LabelChoices())
    assert "1 of 3" in str(caught.value) and "row 2" in str(caught.value)


def test_rows_without_a_number_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    found = load(write(tmp_path, [1.5, None, 2.5]), task="regression", labels={"missing": "drop"})
    assert found.train.labels.tolist() == [1.5, 2.5] and found.train.texts[1] == "text number 2"
    assert any("the number is missing" in line for line in found.reading.lines())
    with pytest.raises(DataError, match="every row is left out"):
        load(write(tmp_path, [None, None]), task="regression", labels={"missing": "drop"})


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1e9, 1e9 + 1, 1e9]])
def test_numbers_that_are_all_the_same_in_single_precision_are_refused(tmp_path: Path, values: list[float]) -> None:
    with pytest.raises(DataError, match="all numbers are the same"):
        load(write(tmp_path, values), task="regression")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": {"drop": ["3"]}}, "labels.drop is for labels"),
        ({"labels": {"merge": {"1": "2"}}}, "labels.merge is for labels"),
        ({"label_delimiter": "|"}, "label_delimiter is for several labels"),
    ],
)
def test_settings_of_labels_are_refused_for_numbers(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataConfig.model_validate({"source": "x", "task": "regression", **settings})


@given(st.floats(-LARGEST, LARGEST), st.sampled_from([repr, "{:e}".format, "{:+}".format, " {} ".format, Decimal]))
def test_however_a_number_is_spelled_it_is_read(number: float, spell: Any) -> None:
    written = spell(number)
    assert as_number(written) == float(written)
    assert clean_numbers([written], where="train", choices=LabelChoices()).values == [float(written)]


def test_every_part_has_the_numbers_of_all() -> None:
    rng = np.random.default_rng(3)
    numbers = rng.lognormal(size=400)
    strata = REGRESSION.strata(numbers)
    drawn = draw_parts(train_labels=strata, test_labels=None, subset_seed=1, validation_fraction=0.2, test_size=80)
    small, large = drawn.cut(40), drawn.cut(200)
    assert set(small.train) < set(large.train) and set(small.validation) < set(large.validation)
    part_of = strata.argmax(1)
    for rows in (large.test, large.validation, large.train):
        counts = np.bincount(part_of[rows], minlength=10)
        assert counts.max() - counts.min() <= 1 + len(rows) // 100
    # Any two texts: there is no number that a part needs.
    assert len(drawn.cut(2).train) == 2


def test_the_audit_describes_numbers_and_counts_no_classes(tmp_path: Path) -> None:
    found = audit(load(write(tmp_path, VALUES), task="regression")).splits["train"]
    assert found.per_class == {} and found.labels_per_text is None
    assert found.numbers == pytest.approx(
        {"mean": np.mean(VALUES), "sd": np.std(VALUES), "minimum": -4, "median": 1.625, "maximum": 7}
    )


def test_texts_whose_number_differs_between_parts_are_counted(tmp_path: Path) -> None:
    write(tmp_path, VALUES, "train.jsonl")
    write(tmp_path, [3.6, *VALUES[1:]], "test.jsonl")
    found = audit(load(tmp_path, task="regression"))
    assert any("1 text has another number in test than in train" in line for line in found.warnings)
