"""Class names that parts and shards declare: numbers mean what their own part says, and are matched by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import DataError


def _write(path: Path, labels: list[Any], names: list[str] | None) -> None:
    columns = {"text": [f"{path.stem} {i}" for i in range(len(labels))], "label": labels}
    if names is None:
        pq.write_table(pa.table(columns), path)
        return
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=names))
    pq.write_table(datasets.Dataset.from_dict(columns, features=features).data.table, path)


def _load(folder: Path) -> TextDataset:
    return load_dataset(DataConfig(source=str(folder)))


def _labels(dataset: TextDataset) -> tuple[list[str], list[str]]:
    assert dataset.test is not None
    return tuple([dataset.label_names[i] for i in split.labels] for split in (dataset.train, dataset.test))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["neg", "pos"], ["pos", "neg"]),
        (["bad", "fine", "good"], ["bad", "good"]),
        (["neg", "pos"], ["neg", "pos"]),
    ],
)
def test_parts_are_matched_by_name(tmp_path: Path, train: list[str], test: list[str]) -> None:
    _write(tmp_path / "train.parquet", [*range(len(train))] * 2, train)
    _write(tmp_path / "test.parquet", [*range(len(test))], test)
    dataset = _load(tmp_path)
    assert dataset.label_names == tuple(train)
    assert _labels(dataset) == (train * 2, test)
    assert any("by name" in note for note in dataset.reading.notes) == (train != test)


def test_shards_are_matched_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "train-00000-of-00002.parquet", [0, 1, 0], ["neg", "pos"])
    _write(tmp_path / "train-00001-of-00002.parquet", [0, 1, 1], ["pos", "neg"])
    dataset = _load(tmp_path)
    assert [dataset.label_names[i] for i in dataset.train.labels] == ["neg", "pos", "neg", "pos", "neg", "neg"]
    assert any("shards number the classes" in note for note in dataset.reading.notes)


def test_shards_of_which_one_declares_nothing_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train-00000-of-00002.parquet", [0, 1], ["neg", "pos"])
    _write(tmp_path / "train-00001-of-00002.parquet", [0, 1], None)
    with pytest.raises(DataError, match="1 of 2 shards declare none"):
        _load(tmp_path)


@pytest.mark.parametrize("declares", ["train", "test"])
def test_numbers_of_a_part_that_declares_nothing_are_read_with_the_names_of_the_other(
    tmp_path: Path, declares: str
) -> None:
    for part in ("train", "test"):
        _write(tmp_path / f"{part}.parquet", [0, 1, 1, 0], ["negative", "positive"] if part == declares else None)
    dataset = _load(tmp_path)
    assert dataset.label_names == ("negative", "positive")
    assert _labels(dataset) == (["negative", "positive", "positive", "negative"],) * 2
    assert any("0 = negative, 1 = positive" in note for note in dataset.reading.notes)


def test_names_in_a_file_without_a_declaration_are_names(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [0, 1, 1, 0], ["negative", "positive"])
    (tmp_path / "test.csv").write_text("text,label\nx,positive\ny,negative\n")
    assert _labels(_load(tmp_path))[1] == ["positive", "negative"]


def test_number_outside_the_declaration_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [0, 1, 1, 0], ["negative", "positive"])
    _write(tmp_path / "test.parquet", [0, 2], None)
    with pytest.raises(DataError, match="row 2 is none of the classes"):
        _load(tmp_path)


def test_minus_one_means_no_label_where_names_are_declared(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [0, 1, 1, 0, -1], ["negative", "positive"])
    with pytest.raises(DataError, match=r"1 of 5 labels are missing \(row 5\)"):
        _load(tmp_path)


def test_test_part_without_labels_is_passed_over_with_a_word(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [0, 1, 1, 0], ["negative", "positive"])
    _write(tmp_path / "test.parquet", [-1, -1, -1], ["negative", "positive"])
    dataset = _load(tmp_path)
    assert dataset.test is None
    assert "the test part (3 rows) (none of its texts has a label)" in map(str, dataset.reading.passed_over)


@pytest.mark.parametrize("nothing", ["", " ", "NaN"])
def test_a_test_part_whose_labels_are_blank_is_passed_over(nothing: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(8)))
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"other {i},{nothing}\n" for i in range(3)))
    if nothing == "NaN":
        rows = "".join(f'{{"text": "other {i}", "label": NaN}}\n' for i in range(3))
        (tmp_path / "test.csv").unlink()
        (tmp_path / "test.jsonl").write_text(rows)
    dataset = load_dataset(DataConfig(source=str(tmp_path)))
    assert dataset.test is None
    assert "the test part (3 rows) (none of its texts has a label)" in map(str, dataset.reading.passed_over)
