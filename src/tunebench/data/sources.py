"""Where tables come from: a file, a folder of files, a folder of texts per class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.data.tables import READERS, Table, concatenate, decode, read_bytes, read_table
from tunebench.errors import DataError, TunebenchError, raise_all

#: Class folders that hold no class: aclImdb keeps its unlabelled reviews there.
_NO_CLASS = frozenset({"unsup"})


@dataclass(frozen=True)
class RawData:
    """Tables as read, before columns are found.

    Attributes:
        train: Training rows.
        test: Test rows, or ``None``.
        revision: Commit of the Hub repository, if they came from there.
    """

    train: Table
    test: Table | None
    revision: str | None = None


def read_path(path: Path) -> RawData:
    """Read a file (training rows only) or a folder.

    A folder holds one of

    - ``train.*`` and perhaps ``test.*``, each a single table or all of its numbered shards
      (``train-00000-of-00002.parquet``);
    - ``train/CLASS/*.txt`` and perhaps ``test/CLASS/*.txt``, the layout of aclImdb;
    - ``CLASS/*.txt``, without a test split.

    Texts of a class folder come class by class, in the order of their sorted file names. A
    ``validation.*`` is not used: a study sets its validation part aside from training itself, and
    the same way for every source. Neither are ``unsup`` and folders without ``*.txt``.

    Raises:
        DataError: Nothing readable is there, or a file in it is not sound.
    """
    if path.is_file():
        return RawData(read_table(path), None)
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        raise DataError(f"The folder cannot be read: {error.strerror or error}.", value=str(path)) from error
    train, test = _split_files(children, "train"), _split_files(children, "test")
    if train:
        return _read_both(lambda: _read_files(train), (lambda: _read_files(test)) if test else None)
    folders = {child.name: child for child in children if child.is_dir()}
    if "train" in folders and _class_folders(folders["train"]):
        scored = folders.get("test")
        return _read_both(
            lambda: _read_classes(folders["train"]), (lambda: _read_classes(scored)) if scored else None
        )
    if not {"train", "test"} & set(folders) and _class_folders(path):
        return RawData(_read_classes(path), None)
    raise DataError(
        "The folder holds a test split, but nothing to train on." if test else "The folder holds no data.",
        value=str(path),
        allowed=f"train.* and perhaps test.* ({', '.join(READERS)}); train/CLASS/*.txt; CLASS/*.txt",
    )


def _read_both(train: Callable[[], Table], test: Callable[[], Table] | None) -> RawData:
    """Read both splits and say what is wrong with either."""
    errors: list[TunebenchError] = []
    tables: list[Table] = []
    for read in (train, test):
        if read is None:
            continue
        try:
            tables.append(read())
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    return RawData(tables[0], tables[1] if test else None)


def _split_files(children: Sequence[Path], split: str) -> list[Path]:
    pattern = re.compile(rf"{split}(-\d+-of-\d+)?", re.IGNORECASE)
    return [
        child
        for child in children
        if child.suffix.lower() in READERS and pattern.fullmatch(child.stem) and child.is_file()
    ]


def _read_files(paths: Sequence[Path]) -> Table:
    """Read one split: a single file, or every one of its shards."""
    totals = {match[1] for path in paths if (match := re.search(r"-of-(\d+)$", path.stem))}
    sharded = len(totals) == 1 and len({path.suffix.lower() for path in paths}) == 1
    if len(paths) > 1 and not (sharded and all("-of-" in path.stem for path in paths)):
        raise DataError(
            "Several files claim to be the same split.",
            value=", ".join(path.name for path in paths[:10]),
            allowed="one file, or the numbered shards of one",
        )
    if totals and len(paths) != int(next(iter(totals))):
        raise DataError(
            f"Shards of a split are missing: {len(paths)} of {int(next(iter(totals)))} are there.",
            value=", ".join(path.name for path in paths[:10]),
            fix="fetch the folder again",
        )
    return concatenate([read_table(path) for path in paths])


def _class_folders(folder: Path) -> list[Path]:
    return [
        child
        for child in sorted(folder.iterdir())
        if child.is_dir()
        and child.name not in _NO_CLASS
        and not child.name.startswith(".")
        and any(child.glob("*.txt"))
    ]


def _read_classes(folder: Path) -> Table:
    paths = [path for child in _class_folders(folder) for path in sorted(child.glob("*.txt"))]
    if not paths:
        raise DataError("The folder holds no texts.", value=str(folder), allowed="CLASS/*.txt")
    texts = [decode(read_bytes(path), str(path)) for path in paths]
    empty = [path for path, text in zip(paths, texts, strict=True) if not text.strip()]
    if empty:
        # Found here, where files have names; row numbers would mean nothing.
        raise DataError(
            f"{len(empty)} of {len(texts)} texts are empty.",
            value=", ".join(str(path.relative_to(folder)) for path in empty[:5]),
            fix=f"remove these files from {folder}",
        )
    columns = {"text": texts, "label": [path.parent.name for path in paths]}
    return Table(tuple(columns), len(texts), lambda name: list(columns[name]))
