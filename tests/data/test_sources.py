"""Folders: every layout, and everything that makes one unsound."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data.reference import DataConfig, ReadOptions
from tunebench.data.sources import read_path
from tunebench.data.table import Table
from tunebench.errors import DataError

CSV = "text,label\na,0\nb,1\n"


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def _shard(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts, "label": [i % 2 for i in range(len(texts))]}), path)


def _pairs(table: Table | None) -> list[tuple[object, object]]:
    assert table is not None
    return list(zip(table.values("text"), table.values("label"), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("x.CSV", CSV),
        ("x.tsv", CSV.replace(",", "\t")),
        ("x.jsonl", '{"text": "a", "label": "0"}\n{"text": "b", "label": "1"}\n'),
    ],
)
def test_file_is_training_only(name: str, content: str, tmp_path: Path) -> None:
    raw = read_path(_write(tmp_path, {name: content}) / name)
    assert _pairs(raw.train) == [("a", "0"), ("b", "1")] and raw.test is None


def test_folder_of_splits_may_mix_kinds_and_other_files_are_named(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "train.csv": CSV,
            "test.jsonl": '{"text": "c", "label": 1}\n',
            "validation.csv": "not,even\nsound\n",
            "notes.txt": "-",
        },
    )
    with pytest.raises(DataError, match=r"validation\.csv"):
        read_path(tmp_path)
    raw = read_path(tmp_path, DataConfig(source="", validation="drawn"))
    assert _pairs(raw.train) == [("a", "0"), ("b", "1")]
    assert _pairs(raw.test) == [("c", 1)] and raw.validation is None
    assert [item.what for item in raw.passed_over] == ["validation.csv", "notes.txt"]


@pytest.mark.parametrize("name", ["validation", "valid", "Val", "dev", "eval"])
@pytest.mark.parametrize("layout", ["files", "classes"])
def test_a_validation_part_is_read_under_any_of_its_names(tmp_path: Path, name: str, layout: str) -> None:
    if layout == "files":
        _write(tmp_path, {"train.csv": CSV, "test.csv": CSV, f"{name}.csv": "text,label\nv,1\n"})
    else:
        _write(tmp_path, {"train/0/1.txt": "a", "train/1/1.txt": "b", f"{name}/1/1.txt": "v"})
    raw = read_path(tmp_path)
    assert _pairs(raw.validation) == [("v", "1")] and not raw.passed_over
    assert list(raw.parts) == ["train", "validation", *(["test"] if layout == "files" else [])]
    drawn = read_path(tmp_path, DataConfig(source="", validation="drawn"))
    assert drawn.validation is None and _pairs(drawn.train) == _pairs(raw.train)
    assert ["data.validation: drawn" in item.why for item in drawn.passed_over] == [True]


def test_of_several_folders_of_a_part_the_most_usual_name_is_read(tmp_path: Path) -> None:
    files = {"train/0/1.txt": "a", "train/1/1.txt": "b", "training/0/1.txt": "c"}
    raw = read_path(_write(tmp_path, {**files, "dev/1/1.txt": "d", "validation/1/1.txt": "v"}))
    assert _pairs(raw.train) == [("a", "0"), ("b", "1")] and _pairs(raw.validation) == [("v", "1")]
    assert [item.what for item in raw.passed_over] == ["folder dev/", "folder training/"]


def test_a_validation_folder_without_classes_is_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, {"train/0/1.txt": "a", "train/1/1.txt": "b", "dev/x.txt": "v"})
    raw = read_path(tmp_path)
    assert raw.validation is None
    assert [str(item) for item in raw.passed_over] == ["dev/ (it holds no folder of a class)"]


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    _shard(tmp_path / "train-00001-of-00002.parquet", ["c", "d"])
    _shard(tmp_path / "train-00000-of-00002.parquet", ["a", "b"])
    _shard(tmp_path / "test-00000-of-00001.parquet", ["e"])
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == [("a", 0), ("b", 1), ("c", 0), ("d", 1)]
    assert _pairs(raw.test) == [("e", 0)]


def test_layout_of_aclimdb(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "README": "-",
            "train/urls_pos.txt": "http://example.org",
            "train/pos/1_9.txt": "great",
            "train/pos/0_8.txt": "good",
            "train/neg/0_2.txt": "bad",
            "train/unsup/0_0.txt": "who knows",
            "test/neg/0_1.txt": "awful",
            "test/pos/0_10.txt": "superb",
        },
    )
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == [("bad", "neg"), ("good", "pos"), ("great", "pos")]
    assert _pairs(raw.test) == [("awful", "neg"), ("superb", "pos")]


def test_class_folders_without_splits(tmp_path: Path) -> None:
    _write(tmp_path, {"sport/1.txt": "goal", "art/1.txt": "paint", ".git/x.txt": "-", "empty/x.md": "-"})
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == [("paint", "art"), ("goal", "sport")] and raw.test is None


UNSOUND: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({"README.md": "-"}, "holds no data"),
    "test only": ({"test.csv": CSV}, "nothing to train on"),
    "test folders only": ({"test/a/1.txt": "x", "test/b/1.txt": "y"}, "holds no data"),
    "no classes under train": ({"train/1.txt": "x"}, "holds no data"),
    "test folder without texts": ({"train/a/1.txt": "x", "train/b/1.txt": "y", "test/x.md": "-"}, "no texts"),
    "two kinds": ({"train.csv": CSV, "train.tsv": "text\tlabel\na\t1\n"}, "same split"),
    "whole and shard": ({"train.csv": CSV, "train-00000-of-00001.csv": CSV}, "same split"),
    "shards of two sets": ({"train-00000-of-00002.csv": CSV, "train-00000-of-00003.csv": CSV}, "same split"),
    "shard missing": ({"train-00000-of-00003.csv": CSV, "train-00002-of-00003.csv": CSV}, "2 of 3"),
    "shards differ": (
        {"train-00000-of-00002.csv": CSV, "train-00001-of-00002.csv": "x,y\n1,2\n"},
        "different columns",
    ),
    "empty texts": ({"train/a/1.txt": "x", "train/a/2.txt": " \n", "train/b/1.txt": ""}, "2 of 3 texts are empty"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_folder_is_refused(case: str, tmp_path: Path) -> None:
    files, message = UNSOUND[case]
    with pytest.raises(DataError, match=message):
        read_path(_write(tmp_path, files))


def test_empty_texts_are_named_by_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a/2\.txt"):
        read_path(_write(tmp_path, {"a/1.txt": "x", "a/2.txt": "", "b/1.txt": "y"}))


def test_texts_in_another_encoding_are_recognised_together(tmp_path: Path) -> None:
    _write(tmp_path, {"a/1.txt": "x", "b/1.txt": "y"})
    french = ["un été très doux", "le café était déjà fermé", "à bientôt, garçon"]
    for number, text in enumerate(french, start=2):
        (tmp_path / "b" / f"{number}.txt").write_bytes(text.encode("cp1252"))
    raw = read_path(tmp_path)
    assert raw.train.values("text") == ["x", "y", *french]
    assert any("3 of 5 files" in note and "--set data.encoding=" in note for note in raw.train.notes)


def test_text_file_that_is_not_in_the_stated_encoding_is_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a/1.txt": "x", "b/1.txt": "y"})
    (tmp_path / "b" / "2.txt").write_bytes(b"line\ncaf\xe9")
    with pytest.raises(DataError, match=r"line 2, byte offset 8") as caught:
        read_path(tmp_path, ReadOptions(encoding="utf-8"))
    assert "2.txt" in str(caught.value)


def test_what_is_wrong_with_both_splits_is_said_at_once(tmp_path: Path) -> None:
    _write(tmp_path, {"train.csv": "", "test.jsonl": "nonsense"})
    with pytest.raises(Exception, match=r"(?s)train\.csv.*Line 1 of the file.*test\.jsonl"):
        read_path(tmp_path)


def test_empty_texts_may_be_left_out_with_a_word(tmp_path: Path) -> None:
    _write(tmp_path, {"a/1.txt": "x", "a/2.txt": "\u200b\n", "b/1.txt": "y"})
    options = DataConfig.model_validate({"source": str(tmp_path), "texts": {"empty": "drop"}})
    raw = read_path(tmp_path, options)
    assert _pairs(raw.train) == [("x", "a"), ("y", "b")]
    assert [item.what for item in raw.passed_over] == ["1 files: a/2.txt"]


def test_every_file_beside_the_data_is_named(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "train.csv": CSV,
            "test.csv": CSV,
            "dev.csv": CSV,
            "extra.csv": CSV,
            "more.csv": CSV,
            "notes.md": "-",
            "old/x.csv": CSV,
            ".hidden": "-",
        },
    )
    drawn = DataConfig(source="", validation="drawn")
    passed_over = {item.what: item.why for item in read_path(tmp_path, drawn).passed_over}
    assert set(passed_over) == {"dev.csv", "2 files *.csv: extra.csv, more.csv", "notes.md", "folder old/"}
    assert "validation" in passed_over["dev.csv"]


def test_texts_of_every_ending_and_case_are_read_and_other_files_named(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "Train/pos/1.txt": "a",
            "Train/pos/2.TXT": "b",
            "Train/neutral/1.text": "c",
            "Train/neutral/1.json": "{}",
            "Train/notes.txt": "-",
            "Train/unsup/1.txt": "who knows",
            "Train/none/1.md": "-",
            "TEST/pos/1.txt": "d",
            "val/pos/1.txt": "e",
        },
    )
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == [("c", "neutral"), ("a", "pos"), ("b", "pos")] and _pairs(raw.test) == [
        ("d", "pos")
    ]
    assert {item.what for item in raw.passed_over} == {
        "Train/neutral/: 1.json",
        "Train/notes.txt",
        "Train/folder unsup/",
        "Train/folder none/",
    }
    assert _pairs(raw.validation) == [("e", "pos")]


def test_repository_of_the_hub_is_read_from_its_data_folder(tmp_path: Path) -> None:
    _write(tmp_path, {"README.md": "-", "data/train-00000-of-00001-0a1b2c3d4e5f.csv": CSV, "data/test.csv": CSV})
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == _pairs(raw.test) == [("a", "0"), ("b", "1")]
    assert [item.what for item in raw.passed_over] == ["README.md"] and "'data'" in raw.notes[0]


def test_only_table_of_a_folder_is_read_and_one_of_several_has_to_be_named(tmp_path: Path) -> None:
    _write(tmp_path, {"reviews.csv": CSV, "README.md": "-"})
    raw = read_path(tmp_path)
    assert _pairs(raw.train) == [("a", "0"), ("b", "1")] and [item.what for item in raw.passed_over] == [
        "README.md"
    ]
    _write(tmp_path, {"more.csv": CSV})
    with pytest.raises(DataError, match=r"several tables") as caught:
        read_path(tmp_path)
    assert "more.csv, reviews.csv" in str(caught.value)


@pytest.mark.parametrize("splits", [True, False])
def test_folder_that_datasets_saved(tmp_path: Path, splits: bool) -> None:
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    split = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    saved = datasets.DatasetDict({"train": split, "test": split, "extra": split}) if splits else split
    saved.save_to_disk(tmp_path / "saved")
    raw = read_path(tmp_path / "saved")
    assert _pairs(raw.train) == [("a", 0), ("b", 1)] and raw.train.class_names == {"label": ("neg", "pos")}
    assert (_pairs(raw.test) == _pairs(raw.train)) if splits else raw.test is None
    assert [item.what for item in raw.passed_over] == (["split 'extra' (2 rows)"] if splits else [])


def test_damaged_folder_that_datasets_saved_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match="saved by datasets, but cannot be read"):
        read_path(tmp_path)
