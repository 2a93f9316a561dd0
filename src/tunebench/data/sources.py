"""Reading tables of texts and labels: files, folders, and the Hub."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tunebench.errors import DataError


@dataclass(frozen=True)
class RawData:
    """Tables as read, before columns are found.

    Attributes:
        train: Training rows.
        test: Test rows, or None.
        label_names: Names of integer labels where the source declares them.
        revision: Commit of the Hub repository, if it came from there.
    """

    train: pd.DataFrame
    test: pd.DataFrame | None
    label_names: tuple[str, ...] | None = None
    revision: str | None = None


def read_path(path: Path) -> RawData:
    """Read a file (training rows only) or a folder.

    A folder holds ``train.*`` and perhaps ``test.*`` (also Parquet shards, ``train-00000-of-00002``),
    or a folder per class of ``*.txt`` files, under ``train`` and ``test`` or directly. A
    ``validation.*`` beside them is left alone: tunebench sets its validation part aside itself.

    Raises:
        DataError: Nothing readable is there.
    """
    if path.is_file():
        return RawData(read_table(path), None)
    train = _split_files(path, "train")
    if train:
        test = _split_files(path, "test")
        return RawData(_concat(train), _concat(test) if test else None)
    if (path / "train").is_dir():
        test_folder = path / "test"
        return RawData(
            _class_folders(path / "train"), _class_folders(test_folder) if test_folder.is_dir() else None
        )
    if any(child.is_dir() and any(child.glob("*.txt")) for child in path.iterdir()):
        return RawData(_class_folders(path), None)
    raise DataError(
        "The folder holds no data that can be read.",
        value=str(path),
        allowed=f"train.* and test.* ({', '.join(READERS)}), or train/CLASS/*.txt",
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read one table, by its ending.

    Raises:
        DataError: Unknown ending, not UTF-8, malformed, or empty.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError("This kind of file cannot be read.", value=path.name, allowed=", ".join(READERS))
    table = reader(path)
    if table.empty:
        raise DataError("The file holds no rows.", value=str(path))
    return table


def read_hub(name: str, revision: str | None, subset: str | None) -> RawData:
    """Read a data set from the Hub, pinned to a commit.

    Raises:
        DataError: The Hub is out of reach, or has no such data set or no ``train`` split.
    """
    import datasets
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
        loaded = datasets.load_dataset(name, subset, revision=commit)
    except Exception as error:
        # The Hub client raises many unrelated types for "not there" and "no network"; all end here.
        raise DataError(
            f"The data set cannot be fetched from the Hub: {(str(error).splitlines() or [repr(error)])[0]}",
            value=name,
            fix="check the name and the network, or use a local folder (--data FOLDER) or packaged data",
        ) from None
    if "train" not in loaded:
        raise DataError("The data set has no 'train' split.", value=", ".join(loaded))
    features = loaded["train"].features
    named = [f.names for f in features.values() if isinstance(f, datasets.ClassLabel)]
    return RawData(
        loaded["train"].to_pandas(),
        loaded["test"].to_pandas() if "test" in loaded else None,
        label_names=tuple(named[0]) if len(named) == 1 else None,
        revision=commit,
    )


def _read_delimited(path: Path, separator: str) -> pd.DataFrame:
    text = _decode(path)
    try:
        # No NaN conversion: "NA" and "null" are texts like any other.
        return pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(f"The file is malformed: {str(error).strip()}", value=str(path)) from None


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"Line {number} is no JSON: {error}", value=str(path)) from None
        if not isinstance(row, dict):
            raise DataError(f"Line {number} is no JSON object.", value=line[:80], allowed='{"text": ...}')
        rows.append(row)
    # Object columns: pandas must not turn integers with gaps into floats.
    return pd.DataFrame(rows, dtype=object)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise DataError(f"The file is no readable Parquet: {error}", value=str(path)) from None


#: Readers by file ending.
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: _read_delimited(path, ","),
    ".tsv": lambda path: _read_delimited(path, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"The file is not UTF-8 (line {line}, byte {error.start}).",
            value=str(path),
            fix=f"iconv -f latin1 -t utf-8 {path.name} > fixed{path.suffix}",
        ) from None


def _split_files(folder: Path, split: str) -> list[Path]:
    pattern = re.compile(rf"{split}(-\d+-of-\d+)?\.[a-z]+")
    return sorted(p for p in folder.iterdir() if pattern.fullmatch(p.name) and p.suffix in READERS)


def _concat(paths: list[Path]) -> pd.DataFrame:
    kinds = {path.suffix for path in paths}
    whole = [path for path in paths if "-of-" not in path.name]
    if len(kinds) > 1 or len(whole) > 1 or (whole and len(paths) > 1):
        raise DataError("Several files claim to be the same split.", value=", ".join(p.name for p in paths))
    return pd.concat([read_table(path) for path in paths], ignore_index=True)


def _class_folders(folder: Path) -> pd.DataFrame:
    """Read ``CLASS/*.txt``; ``unsup`` holds no labels and is left out."""
    rows = [
        {"text": _decode(path), "label": child.name}
        for child in sorted(folder.iterdir())
        if child.is_dir() and child.name != "unsup"
        for path in sorted(child.glob("*.txt"))
    ]
    if not rows:
        raise DataError("No CLASS/*.txt files are there.", value=str(folder))
    return pd.DataFrame(rows)
