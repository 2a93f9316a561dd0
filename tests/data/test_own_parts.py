"""Parts, groups and times that the data brings: how they are read, and what is said of them."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data import Split, TextDataset, load_dataset
from tunebench.data.audit import audit
from tunebench.data.copies import held_out_copies
from tunebench.data.part_names import PARTS
from tunebench.data.reference import DataConfig, SplitRef
from tunebench.data.rules import split_ref, split_rules
from tunebench.data.times import read_times, shown_time
from tunebench.data.used_rows import UsedRows
from tunebench.errors import DataError, ErrorGroup


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    made = {name: value if callable(value) else (lambda i, v=value: v) for name, value in columns.items()}
    return [{"text": f"text {i}", "label": i % 2} | {k: make(i) for k, make in made.items()} for i in range(count)]


def _texts(split: Split | None) -> list[str]:
    assert split is not None
    return split.texts


# --- a column that names parts ------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(sorted(PARTS)), min_size=8, max_size=30), st.randoms(use_true_random=False))
def test_every_row_goes_into_the_part_that_its_column_names(parts: list[str], random: Any) -> None:
    import tempfile

    parts = ["train"] * 4 + ["test"] + parts
    spelled = [random.choice([str.upper, str.title, str])(random.choice(PARTS[part])) for part in parts]
    rows = [row | {"fold": name} for row, name in zip(_rows(len(parts)), spelled, strict=True)]
    with tempfile.TemporaryDirectory() as place:
        source = _write(Path(place) / "x.jsonl", rows)
        dataset = load_dataset(DataConfig(source=source, split_column="fold"))
    for part, split in dataset.splits.items():
        assert split.texts == [f"text {i}" for i, name in enumerate(parts) if name == part]
        assert split.labels.tolist() == [i % 2 for i, name in enumerate(parts) if name == part]
    assert set(dataset.splits) == set(parts)
    assert dataset.reading.columns["split"] == "fold" and not dataset.reading.passed_over


def test_rows_of_parts_that_are_not_wanted_are_counted(tmp_path: Path) -> None:
    rows = _rows(12, part=lambda i: ("train", "train", "dev")[i % 3])
    config = DataConfig(source=_write(tmp_path / "x.jsonl", rows), split_column="part", validation="drawn")
    dataset = load_dataset(config)
    assert dataset.validation is None and dataset.test is None and len(dataset.train) == 8
    assert any("4 rows of validation ('part')" in str(item) for item in dataset.reading.passed_over)
    assert any("'part' is train" in line for line in dataset.reading.lines())


@pytest.mark.parametrize(
    ("values", "what", "value"),
    [
        (["train", "holdout", "holdout", None, " "], "4 of 5 rows", "'holdout': 2, no value: 2"),
        (["train", 1, "test", "test", "train"], "1 of 5 rows", "1: 1"),
        (["train"] * 5, "says train of every row", "train: 5, validation: 0, test: 0"),
        (["test", "dev", "test", "test", "dev"], "leaves nothing to train on", "train: 0, validation: 2, test: 3"),
    ],
)
def test_a_column_that_does_not_split_is_refused(tmp_path: Path, values: list[Any], what: str, value: str) -> None:
    rows = [row | {"part": name} for row, name in zip(_rows(5), values, strict=True)]
    source = _write(tmp_path / "x.jsonl", rows)
    with pytest.raises(DataError, match=what) as caught:
        load_dataset(DataConfig(source=source, split_column="part"))
    assert caught.value.value == value and caught.value.fix


def test_a_source_with_parts_needs_no_column_of_splits(tmp_path: Path) -> None:
    for part in ("train", "test"):
        _write(tmp_path / f"{part}.jsonl", _rows(4, part=part))
    with pytest.raises(DataError, match="has its parts already") as caught:
        load_dataset(DataConfig(source=str(tmp_path), split_column="part"))
    assert caught.value.value == "train, test"
    with pytest.raises(DataError, match="no such column of splits"):
        load_dataset(DataConfig(source=str(tmp_path / "train.jsonl"), split_column="fold"))


def test_errors_in_a_part_name_the_rows_of_the_file(tmp_path: Path) -> None:
    rows = _rows(12, part=lambda i: "train" if i < 8 else "test", author=lambda i: f"a{i}", day="2024-01-01")
    rows[9] |= {"text": "", "author": None, "day": "soon"}
    rows[10]["label"] = None
    source = _write(tmp_path / "x.jsonl", rows)
    config = DataConfig(source=source, split_column="part", group_column="author", time_column="day")
    with pytest.raises(ErrorGroup) as caught:
        load_dataset(config)
    text = str(caught.value)
    assert "1 of 4 labels are missing (row 11)" in text and "1 of 4 texts are empty (row 10)" in text
    config = config.model_copy(update={"labels": config.labels.model_copy(update={"missing": "drop"})})
    with pytest.raises(ErrorGroup) as caught:
        load_dataset(config)
    text = str(caught.value)
    assert "rows have no group in 'author' (row 10)" in text and "times in 'day' cannot be read (row 10)" in text


def test_a_column_that_looks_like_splits_is_named_with_its_key(tmp_path: Path) -> None:
    source = _write(tmp_path / "x.jsonl", _rows(6, split=lambda i: "train" if i else "test"))
    lines = " ".join(load_dataset(DataConfig(source=source)).reading.lines())
    assert "--set data.split_column=split puts each row into its part" in lines
    source = _write(tmp_path / "x.jsonl", _rows(6, fold=lambda i: i % 3))
    lines = " ".join(load_dataset(DataConfig(source=source)).reading.lines())
    assert "it seems to name splits (0, 1, 2)" in lines and "split_column" not in lines


# --- an own validation part ---------------------------------------------------------------------


def _folder(tmp_path: Path, **parts: list[dict[str, Any]]) -> str:
    tmp_path.mkdir(exist_ok=True)
    for part, rows in parts.items():
        _write(tmp_path / f"{part}.jsonl", rows)
    return str(tmp_path)


def test_the_fingerprint_is_that_of_train_and_test_and_the_digest_that_of_validation(tmp_path: Path) -> None:
    without = load_dataset(DataConfig(source=_folder(tmp_path, train=_rows(8), test=_rows(4))))
    config = DataConfig(source=_folder(tmp_path, validation=_rows(6)))
    dataset = load_dataset(config)
    assert dataset.fingerprint == without.fingerprint
    assert split_ref(dataset, validates=False) is None and split_ref(without, validates=True) is None
    ref = split_ref(dataset, validates=True)
    _folder(tmp_path, validation=_rows(7))
    changed = split_ref(load_dataset(config), validates=True)
    assert ref is not None and changed is not None and ref.validation != changed.validation
    assert load_dataset(config.model_copy(update={"validation": "drawn"})).validation is None


def test_an_own_part_that_is_asked_for_and_not_there(tmp_path: Path) -> None:
    source = _folder(tmp_path, train=_rows(8), test=_rows(4))
    with pytest.raises(DataError, match="there is none") as caught:
        load_dataset(DataConfig(source=source, validation="own"))
    assert "dev" in str(caught.value.allowed)


@pytest.mark.parametrize(
    ("rows", "what"),
    [([{"body": "x", "label": 0}], "lacks a column"), ([{"text": "x", "label": 5}], "do not occur in train")],
)
def test_a_validation_part_that_does_not_fit_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], what: str
) -> None:
    with pytest.raises(DataError, match=what):
        load_dataset(DataConfig(source=_folder(tmp_path, train=_rows(8), validation=rows)))


def test_a_validation_part_without_labels_is_passed_over(tmp_path: Path) -> None:
    dataset = load_dataset(DataConfig(source=_folder(tmp_path, train=_rows(8), validation=_rows(3, label=None))))
    assert dataset.validation is None
    assert "the validation part (3 rows) (none of its texts has a label)" in map(str, dataset.reading.passed_over)


def test_texts_of_the_own_validation_part_are_not_held_out_if_copies_stay_together() -> None:
    train = Split([f"text {i}" for i in range(20)], np.arange(20) % 2, groups=[f"g{i // 2}" for i in range(20)])
    validation = Split(["text 0", "new"], np.array([0, 1]), groups=["g9", "other"])
    dataset = TextDataset("x", None, ("a", "b"), train, None, validation=validation)
    ref = split_ref(dataset, validates=True)
    assert ref is not None and ref.validation and ref.groups
    together, anywhere = (split_rules(dataset, ref, copies).stays for copies in ("together", "anywhere"))
    assert together is not None and np.flatnonzero(together).tolist() == [0, 18, 19]
    assert anywhere is not None and np.flatnonzero(anywhere).tolist() == [18, 19]
    assert split_rules(dataset, SplitRef(groups=ref.groups), "together").stays is None


# --- groups -------------------------------------------------------------------------------------


def test_groups_are_read_whatever_their_type(tmp_path: Path) -> None:
    values = ["1", 1, 1.0, " 1 ", "b", True, 2.5, 0]
    rows = [row | {"who": value} for row, value in zip(_rows(8), values, strict=True)]
    dataset = load_dataset(DataConfig(source=_write(tmp_path / "x.jsonl", rows), group_column="who"))
    assert dataset.train.groups == ["1", "1", "1", "1", "b", "True", "2.5", "0"]
    assert dataset.group_of is not None and dataset.group_of.tolist() == [0, 0, 0, 0, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("whom", "no such column of groups"),
        ("text", "is the column of texts"),
        ("label", "is the column of labels"),
    ],
)
def test_a_column_of_groups_that_is_none(tmp_path: Path, column: str, what: str) -> None:
    source = _write(tmp_path / "x.jsonl", _rows(6, who="a"))
    with pytest.raises(DataError, match=what) as caught:
        load_dataset(DataConfig(source=source, group_column=column))
    assert caught.value.fix == ("did you mean 'who'?" if column == "whom" else caught.value.fix)
    with pytest.raises(DataError, match="are lists"):
        rows = _rows(6, who=[["a", "b"]])
        load_dataset(DataConfig(source=_write(tmp_path / "x.jsonl", rows), group_column="who"))


def test_groups_on_both_sides_of_given_parts_are_an_audit_finding(tmp_path: Path) -> None:
    source = _folder(
        tmp_path,
        train=_rows(8, who=lambda i: f"g{i}"),
        validation=_rows(4, who=lambda i: f"v{i}", text=lambda i: f"v {i}"),
        test=_rows(6, who=lambda i: f"g{i // 2 + 6}", text=lambda i: f"t {i}"),
    )
    dataset = load_dataset(DataConfig(source=source, group_column="who"))
    found = audit(dataset)
    assert found.shared_groups == {"test in train": 2}
    said = "Groups of test that are also in train: 2 of 3, with 4 of 6 test texts;"
    assert any(said in warning for warning in found.warnings)
    # No part is drawn, so groups are no matter of the runs.
    ref = split_ref(dataset, validates=True)
    assert ref is not None and ref.groups is None
    drawn = split_ref(
        load_dataset(DataConfig(source=source, group_column="who", validation="drawn")), validates=True
    )
    assert drawn is not None and drawn.groups and drawn.validation is None
    # Of a part without that column nothing is known.
    _folder(tmp_path, test=_rows(6, text=lambda i: f"t {i}"))
    dataset = load_dataset(DataConfig(source=source, group_column="who"))
    assert any("test has no column 'who'" in note for note in dataset.reading.notes)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=9, max_size=30))
def test_overlaps_are_those_counted_slowly(rows: list[tuple[str, str]]) -> None:
    third = len(rows) // 3
    cuts = {"train": rows[:third], "validation": rows[third : 2 * third], "test": rows[2 * third :]}
    splits = {
        part: Split([t for t, _ in cut], np.arange(len(cut)) % 2, groups=[g for _, g in cut])
        for part, cut in cuts.items()
    }
    dataset = TextDataset("x", None, ("a", "b"), splits["train"], splits["test"], validation=splits["validation"])
    found = audit(dataset)

    def inside(first: str, second: str, column: int) -> list[tuple[str, str]]:
        known = {row[column] for row in cuts[second]}
        return [row for row in cuts[first] if row[column] in known]

    assert found.test_in_train == len(inside("test", "train", 0))
    assert found.test_in_validation == len(inside("test", "validation", 0))
    assert found.validation_in_train == len(inside("validation", "train", 0))
    for first, second in (("test", "train"), ("test", "validation"), ("validation", "train")):
        groups = {group for _, group in inside(first, second, 1)}
        assert found.shared_groups.get(f"{first} in {second}", 0) == len(groups)


# --- times --------------------------------------------------------------------------------------

UTC = timezone.utc


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2024-05-31", "2024-05", "20240601T10:00"], ["2024-05-31", "2024-05-01", "2024-06-01 10:00:00"]),
        (["2024-05-31T12:00:00Z", "2024-05-31T12:00+02:00"], ["2024-05-31 12:00:00", "2024-05-31 10:00:00"]),
        ([date(2024, 5, 31), datetime(2024, 5, 31, 1)], ["2024-05-31", "2024-05-31 01:00:00"]),
        ([3, "2.5", 1e3, Decimal("7"), np.int64(4)], ["3", "2.5", "1000.0", "7", "4"]),
        (["20240531", "1717113600123"], ["20240531", "1717113600123"]),
    ],
)
def test_times_are_iso_dates_or_numbers(values: list[Any], expected: list[str]) -> None:
    found = read_times(UsedRows(values, range(len(values)), "when", "train"))
    assert list(map(shown_time, found)) == expected
    assert sorted(found) == sorted(found, key=lambda t: t)  # type: ignore[arg-type, return-value]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([None, UTC])),
        min_size=1,
        max_size=8,
    )
)
def test_dates_are_read_as_python_writes_them(times: list[datetime]) -> None:
    times = [time.replace(tzinfo=times[0].tzinfo) for time in times]
    found = read_times(UsedRows([t.isoformat() for t in times], range(len(times)), "when", "train"))
    assert found == [t.replace(tzinfo=UTC) for t in times]


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (["2024-01-01", "31.05.2024", "2024-13-01", None], "rows 2, 3, 4"),
        ([datetime(2024, 1, 1), None, pd.NaT, "soon"], "rows 2, 3, 4"),
        ([1, True, float("nan"), "inf"], "rows 2, 3, 4"),
        ([" ", 1, 2, [3]], "rows 1, 4"),
    ],
)
def test_what_is_no_time_is_named_by_its_row(values: list[Any], rows: str) -> None:
    with pytest.raises(DataError, match=rf"cannot be read \({rows}\)"):
        read_times(UsedRows(values, range(4), "when", "train"))


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        (["2024-01-01", "2024"], "dates without a time zone: row 1; numbers: row 2"),
        (
            ["2024-01-01T00:00", "2024-01-01T00:00Z"],
            "dates without a time zone: row 1; dates with a time zone: row 2",
        ),
    ],
)
def test_times_of_two_kinds_are_refused(values: list[Any], kinds: str) -> None:
    with pytest.raises(DataError, match="several kinds") as caught:
        read_times(UsedRows(values, range(2), "when", "train"))
    assert caught.value.value == kinds


def test_the_latest_part_is_said_with_its_first_day(tmp_path: Path) -> None:
    rows = _rows(20, day=lambda i: f"2024-01-{1 + i // 2:02}", who=lambda i: f"g{i // 4}")
    source = _write(tmp_path / "x.jsonl", rows)
    dataset = load_dataset(DataConfig(source=source, time_column="day"))
    ref = split_ref(dataset, validates=True)
    assert ref is not None and ref.times and ref.groups is None
    found = held_out_copies(dataset, 42, 3, splits=ref)
    assert found is not None and (found.since, found.ties, found.left_out) == ("2024-01-09", 1, 0)
    assert found.remark("together") == (
        "Held out for testing: the latest 3 texts, from 2024-01-09 on. Texts outside it with that same time: 1; "
        "the seed drew which of them test."
    )
    grouped = load_dataset(DataConfig(source=source, time_column="day", group_column="who"))
    found = held_out_copies(grouped, 42, 6, splits=split_ref(grouped, validates=True))
    assert found is not None and found.groups == (2, 5) and found.left_out == 2
    assert "from 2024-01-08 on, of 2 of 5 groups" in str(found.remark("anywhere"))
    assert "Left out: 2 rows are of groups of the test part." in str(found.remark("anywhere"))
    assert "Left out: 2 rows share a text or a group with the test part." in str(found.remark("together"))


def test_a_given_test_part_is_compared_with_train_in_time(tmp_path: Path) -> None:
    source = _folder(
        tmp_path, train=_rows(6, t=lambda i: i), test=_rows(4, t=lambda i: i + 4, text=lambda i: f"t{i}")
    )
    dataset = load_dataset(DataConfig(source=source, time_column="t"))
    assert split_ref(dataset, validates=True) is None
    assert any("holds nothing out" in note for note in dataset.reading.notes)
    assert "2 of 4 test texts are no later than the latest text of train (5)." in audit(dataset).warnings
