"""Where tables come from: a file, a folder of files, a folder of texts per class, or one saved by ``datasets``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tunebench.data.arrow_tables import is_saved_dataset, read_saved_dataset
from tunebench.data.encodings import decode_all
from tunebench.data.readers import READERS, read_bytes, read_table, table_name
from tunebench.data.reading import FileReading, PassedOver, listed
from tunebench.data.reference import DataConfig, ReadOptions
from tunebench.data.table import Table, concatenate
from tunebench.data.visible import is_blank
from tunebench.errors import DataError, TunebenchError, raise_all

_T = TypeVar("_T")

#: Class folders that hold no class: aclImdb keeps its unlabelled reviews there.
_NO_CLASS = frozenset({"unsup"})
#: Endings of the files in a class folder that hold one text each.
_TEXT_ENDINGS = (".txt", ".text")
#: What parts of a data set are called.
_PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
#: In the names of shards: number, total, and the hash that the Hub once added.
_SHARD = r"(-\d+-of-(?P<total>\d+)(-[0-9a-f]{6,})?)?"
_VALIDATION = "a study takes its validation part from train, so this one is not used"


@dataclass(frozen=True)
class RawData:
    """Tables as read, before columns are found.

    Attributes:
        train: Training rows.
        test: Test rows, or ``None``.
        revision: Commit of the Hub repository, if they came from there.
        passed_over: What of the source is in neither.
        notes: What the user should know of how the source was read, one sentence each.
    """

    train: Table
    test: Table | None
    revision: str | None = None
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, Table]:
        """The tables there are, by part."""
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})


def read_path(path: Path, options: ReadOptions | None = None) -> RawData:
    """Read a file (training rows only) or a folder.

    A folder holds one of

    - ``train.*`` and perhaps ``test.*``, each a single table or all of its numbered shards
      (``train-00000-of-00002.parquet``), in the folder or in ``data/`` under it;
    - a single table, which is then training rows only;
    - ``train/CLASS/*.txt`` and perhaps ``test/CLASS/*.txt``, the layout of aclImdb;
    - ``CLASS/*.txt``, without a test split;
    - what ``save_to_disk`` of ``datasets`` wrote.

    Texts of a class folder come class by class, in the order of their sorted file names. Names are compared without
    regard to case. Whatever else lies in the folder is named in ``passed_over``, a ``validation.*`` too: a study
    sets its validation part aside from training itself.

    Raises:
        DataError: Nothing readable is there, or a file in it is not sound.
    """
    options = options or ReadOptions()
    if path.is_file():
        return RawData(read_table(path, options), None)
    if is_saved_dataset(path):
        return from_splits(read_saved_dataset(path), str(path))
    children = _children(path)
    parts = {part: _part_files(children, part) for part in _PARTS}
    if parts["train"]:
        return _read_parts(parts, children, options)
    folders = _part_folders(children)
    if "train" in folders and _class_folders(folders["train"]):
        return _read_class_parts(folders, children, options)
    if not folders and _class_folders(path):
        table, passed_over = _read_classes(path, options)
        return RawData(table, None, passed_over=passed_over)
    inner = next((child for child in children if child.is_dir() and child.name.lower() == "data"), None)
    if inner is not None and not any(parts.values()):
        found = read_path(inner, options)
        others = _others([child for child in children if child != inner])
        note = f"The data was read from the folder {inner.name!r} inside."
        return replace(found, passed_over=(*found.passed_over, *others), notes=(note, *found.notes))
    tables = [child for child in children if child.is_file() and table_name(child)]
    if len(tables) == 1 and not any(parts.values()):
        others = _others([child for child in children if child != tables[0]])
        return RawData(read_table(tables[0], options), None, passed_over=tuple(others))
    raise _no_data(path, parts, tables)


def from_splits(splits: dict[str, Table], source: str, revision: str | None = None) -> RawData:
    """Take ``train`` and ``test`` of named splits, and pass the others over.

    Raises:
        DataError: There is no ``train``.
    """
    tables = {
        name: replace(table, files=(FileReading(name, table.rows, table.how),)) for name, table in splits.items()
    }
    if "train" not in tables:
        raise DataError(
            "The data set has no 'train' split.",
            value=f"{source}: {listed(tables)}",
            allowed="train, and perhaps test",
        )
    others = [
        PassedOver(f"split {name!r} ({table.rows:,} rows)", _why_not(name))
        for name, table in tables.items()
        if name not in ("train", "test")
    ]
    return RawData(tables["train"], tables.get("test"), revision=revision, passed_over=tuple(others))


def _why_not(name: str) -> str:
    return _VALIDATION if name.lower() in _PARTS["validation"] else "only train and test are read"


def _children(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"The folder cannot be read: {error.strerror or error}.", value=str(path)) from error


def _no_data(path: Path, parts: dict[str, list[Path]], tables: Sequence[Path]) -> DataError:
    if parts["test"]:
        what = "The folder holds a test split, but nothing to train on."
    elif tables:
        what = "The folder holds several tables, and none is named train."
    else:
        what = "The folder holds no data."
    return DataError(
        what,
        value=f"{path}: {listed(table.name for table in tables)}" if tables else str(path),
        allowed=f"train.* and perhaps test.* ({', '.join(READERS)}); train/CLASS/*.txt; CLASS/*.txt",
        fix="give one of the files itself, or name it train" if tables else None,
    )


def _part_files(children: Sequence[Path], part: str) -> list[Path]:
    pattern = re.compile(f"({'|'.join(_PARTS[part])}){_SHARD}", re.IGNORECASE)
    return [
        child
        for child in children
        if child.is_file() and (name := table_name(child)) is not None and pattern.fullmatch(name[0])
    ]


def _part_folders(children: Sequence[Path]) -> dict[str, Path]:
    folders = {child.name.lower(): child for child in children if child.is_dir()}
    return {part: folders[name] for part, names in _PARTS.items() for name in names if name in folders}


def _read_parts(parts: dict[str, list[Path]], children: Sequence[Path], options: ReadOptions) -> RawData:
    tables = _read_all([partial(_read_files, parts[part], options) for part in ("train", "test") if parts[part]])
    used = {*parts["train"], *parts["test"]}
    passed_over = [PassedOver(file.name, _VALIDATION) for file in parts["validation"]]
    passed_over += _others([child for child in children if child not in {*used, *parts["validation"]}])
    return RawData(tables[0], tables[1] if len(tables) > 1 else None, passed_over=tuple(passed_over))


def _read_class_parts(folders: dict[str, Path], children: Sequence[Path], options: ReadOptions) -> RawData:
    read = [folders[part] for part in ("train", "test") if part in folders]
    found = _read_all([partial(_read_classes, folder, options) for folder in read])
    passed_over = [
        replace(item, what=f"{folder.name}/{item.what}")
        for folder, (_, items) in zip(read, found, strict=True)
        for item in items
    ]
    if "validation" in folders:
        passed_over.append(PassedOver(f"{folders['validation'].name}/", _VALIDATION))
    passed_over += _others([child for child in children if child not in folders.values()])
    return RawData(found[0][0], found[1][0] if len(found) > 1 else None, passed_over=tuple(passed_over))


def _read_all(readers: Iterable[Callable[[], _T]]) -> list[_T]:
    """Read all parts, and say what is wrong with each."""
    errors: list[TunebenchError] = []
    found: list[_T] = []
    for read in readers:
        try:
            found.append(read())
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    return found


def _read_files(paths: Sequence[Path], options: ReadOptions) -> Table:
    """Read one split: a single file, or every one of its shards."""
    names = [table_name(path) or ("", "") for path in paths]
    totals = [match["total"] for stem, _ in names if (match := re.search(f"{_SHARD}$", stem)) and match["total"]]
    sharded = len(totals) == len(paths) and len(set(totals)) == 1 and len({end.lower() for _, end in names}) == 1
    if len(paths) > 1 and not sharded:
        raise DataError(
            "Several files claim to be the same split.",
            value=listed(path.name for path in paths),
            allowed="one file, or the numbered shards of one",
            fix="keep one of them in the folder, or give that file itself",
        )
    if totals and len(paths) != int(totals[0]):
        raise DataError(
            f"Shards of a split are missing: {len(paths)} of {int(totals[0])} are there.",
            value=listed(path.name for path in paths),
            fix="fetch the folder again",
        )
    return concatenate([read_table(path, options) for path in paths])


def _others(paths: Sequence[Path]) -> list[PassedOver]:
    """Name what is in a folder and is not read; files of one kind together."""
    kinds = Counter(f"folder {path.name}/" if path.is_dir() else _kind(path) for path in paths)
    found = []
    for kind, count in kinds.items():
        if kind.startswith("folder "):
            found.append(PassedOver(kind, "it is not part of the data set"))
            continue
        names = [path.name for path in paths if not path.is_dir() and _kind(path) == kind]
        what = f"{count} files {kind}: {listed(names, 3)}" if count > 1 else names[0]
        why = "its name says neither train nor test" if _is_table_kind(names[0]) else "it is not a table"
        found.append(PassedOver(what, why))
    return found


def _kind(path: Path) -> str:
    return f"*{path.suffix}" if path.suffix else "without an ending"


def _is_table_kind(name: str) -> bool:
    return table_name(Path(name)) is not None


def _class_folders(folder: Path) -> list[Path]:
    return [
        child
        for child in _children(folder)
        if child.is_dir() and child.name not in _NO_CLASS and any(map(_is_text, child.iterdir()))
    ]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in _TEXT_ENDINGS and not path.name.startswith(".") and path.is_file()


def _read_classes(folder: Path, options: ReadOptions) -> tuple[Table, tuple[PassedOver, ...]]:
    """Read one text per file, with the folder's name as its label; name the files that are not read."""
    classes = _class_folders(folder)
    paths = [path for child in classes for path in _children(child) if _is_text(path)]
    if not paths:
        raise DataError("The folder holds no texts.", value=str(folder), allowed="CLASS/*.txt")
    texts, encodings, notes = _decode_all(paths, folder, options)
    empty = [path for path, text in zip(paths, texts, strict=True) if is_blank(text)]
    left_out = []
    if empty and isinstance(options, DataConfig) and options.texts.empty == "drop":
        names = listed((str(path.relative_to(folder)) for path in empty), 3)
        left_out.append(
            PassedOver(f"{len(empty)} files: {names}", "they are empty; left out by data.texts.empty: drop")
        )
        kept = [(path, text) for path, text in zip(paths, texts, strict=True) if not is_blank(text)]
        paths, texts = [path for path, _ in kept], [text for _, text in kept]
    elif empty:
        # Found here, where files have names; row numbers would mean nothing.
        raise DataError(
            f"{len(empty)} of {len(texts)} texts are empty.",
            value=listed((str(path.relative_to(folder)) for path in empty), 5),
            fix=f"remove these files from {folder}, or leave them out: --set data.texts.empty=drop",
        )
    columns = {"text": texts, "label": [path.parent.name for path in paths]}
    how = (f"{len(classes)} classes", f"encoding {', '.join(sorted(encodings))}")
    name = f"{folder.name}/CLASS/*{' and *'.join(sorted({path.suffix for path in paths}))}"
    table = Table(
        tuple(columns),
        len(texts),
        lambda column: list(columns[column]),
        notes=notes,
        files=(FileReading(name, len(texts), how),),
    )
    return table, (*_between_classes(folder, classes), *left_out)


def _decode_all(
    paths: Sequence[Path], folder: Path, options: ReadOptions
) -> tuple[list[str], set[str], tuple[str, ...]]:
    """Decode one text per file. Each recognised encoding is noted in one sentence."""
    decoded = decode_all([read_bytes(path) for path in paths], [str(path) for path in paths], options.encoding)
    notes: dict[str, list[tuple[Path, str]]] = {}
    for path, each in zip(paths, decoded, strict=True):
        if each.note is not None:
            notes.setdefault(each.encoding, []).append((path, each.note))
    lines = [
        f"{len(found)} of {len(paths)} files, {found[0][0].relative_to(folder)} the first: {found[0][1]}"
        for found in notes.values()
    ]
    return [each.text for each in decoded], {each.encoding for each in decoded}, tuple(lines)


def _between_classes(folder: Path, classes: Sequence[Path]) -> list[PassedOver]:
    found: list[PassedOver] = []
    for child in _children(folder):
        if child in classes:
            others = [path for path in _children(child) if not _is_text(path)]
            found += [
                replace(item, what=f"{child.name}/: {item.what}", why="it is not text") for item in _others(others)
            ]
        elif child.is_dir():
            why = "it holds texts without a class" if child.name in _NO_CLASS else "it holds no texts"
            found.append(PassedOver(f"folder {child.name}/", why))
        else:
            found.append(PassedOver(child.name, "it is not in the folder of a class"))
    return found
