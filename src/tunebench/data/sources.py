"""Where tables come from: a file, a folder of files, a folder of texts per class, or one saved by ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tunebench.data.arrow_tables import is_saved_dataset, read_saved_dataset
from tunebench.data.class_folders import class_folders, read_classes
from tunebench.data.folders import children_of, others, read_all
from tunebench.data.part_names import DRAWN, PARTS, part_named, wants_validation
from tunebench.data.readers import READERS, read_table, table_name
from tunebench.data.reading import FileReading, PassedOver
from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table, concatenate
from tunebench.errors import DataError
from tunebench.formatting import listed

#: In the names of shards: number, total, and the hash that the Hub once added.
_SHARD = r"(-\d+-of-(?P<total>\d+)(-[0-9a-f]{6,})?)?"


@dataclass(frozen=True)
class RawData:
    """Tables as read, before columns are found.

    Attributes:
        train: Training rows.
        test: Test rows, or ``None``.
        revision: Commit of the Hub repository, if they came from there.
        passed_over: What of the source is in none of the tables.
        notes: What the user should know of how the source was read, one sentence each.
        validation: Validation rows, or ``None``.
    """

    train: Table
    test: Table | None
    revision: str | None = None
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()
    validation: Table | None = None

    @property
    def parts(self) -> dict[str, Table]:
        """The tables there are, by part."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: table for part, table in every.items() if table is not None}


def read_path(path: Path, options: ReadOptions | None = None) -> RawData:
    """Read a file (training rows only) or a folder.

    A folder holds one of

    - ``train.*`` and perhaps ``validation.*`` and ``test.*``, each a single table or all of its numbered shards
      (``train-00000-of-00002.parquet``), in the folder or in ``data/`` under it;
    - a single table, which is then training rows only;
    - ``train/CLASS/*.txt`` and perhaps ``validation/CLASS/*.txt`` and ``test/CLASS/*.txt``, the layout of aclImdb;
    - ``CLASS/*.txt``, without other splits;
    - what ``save_to_disk`` of ``datasets`` wrote.

    Texts of a class folder come class by class, in the order of their sorted file names. Names are compared without
    regard to case, and parts have other names too (``dev``, ``valid``). Whatever else lies in the folder is named
    in ``passed_over``.

    Raises:
        DataError: Nothing readable is there, or a file in it is not sound.
    """
    options = options or ReadOptions()
    if path.is_file():
        return RawData(read_table(path, options), None)
    if is_saved_dataset(path):
        return from_splits(read_saved_dataset(path), str(path), validation=wants_validation(options))
    children = children_of(path)
    parts = {part: _part_files(children, part) for part in PARTS}
    if parts["train"]:
        return _read_parts(parts, children, options)
    folders = _part_folders(children)
    if "train" in folders and class_folders(folders["train"]):
        return _read_class_parts(folders, children, options)
    if not folders and class_folders(path):
        table, passed_over = read_classes(path, options)
        return RawData(table, None, passed_over=passed_over)
    inner = next((child for child in children if child.is_dir() and child.name.lower() == "data"), None)
    if inner is not None and not any(parts.values()):
        found = read_path(inner, options)
        beside = others([child for child in children if child != inner])
        note = f"The data was read from the folder {inner.name!r} inside."
        return replace(found, passed_over=(*found.passed_over, *beside), notes=(note, *found.notes))
    tables = [child for child in children if child.is_file() and table_name(child)]
    if len(tables) == 1 and not any(parts.values()):
        beside = others([child for child in children if child != tables[0]])
        return RawData(read_table(tables[0], options), None, passed_over=tuple(beside))
    raise _no_data(path, parts, tables)


def from_splits(
    splits: dict[str, Table], source: str, revision: str | None = None, *, validation: bool = True
) -> RawData:
    """Take ``train``, ``test`` and a validation split of named splits, and pass the others over.

    Args:
        splits: Tables by name. Of several names of a validation split the most usual one is taken.
        source: For messages.
        revision: Commit of the Hub repository, if they came from there.
        validation: Whether a validation split is wanted.

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
            allowed="train, and perhaps validation and test",
        )
    usual = {name.lower(): name for name in tables}
    held = next((usual[name] for name in PARTS["validation"] if name in usual), None)
    own = held if validation else None
    beside = [
        PassedOver(f"split {name!r} ({table.rows:,} rows)", _why_not(name, held, validation=validation))
        for name, table in tables.items()
        if name not in ("train", "test", own)
    ]
    return RawData(
        tables["train"],
        tables.get("test"),
        revision=revision,
        passed_over=tuple(beside),
        validation=None if own is None else tables[own],
    )


def _why_not(name: str, held: str | None, *, validation: bool) -> str:
    if part_named(name) == "validation":
        return f"{held!r} is the validation part" if validation else DRAWN
    return "only train, validation and test are read"


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
        allowed=f"train.* and perhaps validation.* and test.* ({', '.join(READERS)}); train/CLASS/*.txt; "
        "CLASS/*.txt",
        fix="give one of the files itself, or call it train" if tables else None,
    )


def _part_files(children: Sequence[Path], part: str) -> list[Path]:
    pattern = re.compile(f"({'|'.join(PARTS[part])}){_SHARD}", re.IGNORECASE)
    return [
        child
        for child in children
        if child.is_file() and (name := table_name(child)) is not None and pattern.fullmatch(name[0])
    ]


def _part_folders(children: Sequence[Path]) -> dict[str, Path]:
    """Return the folder of each part; of several names of a part the most usual one is taken."""
    folders = {child.name.lower(): child for child in children if child.is_dir()}
    return {part: folders[name] for part, names in PARTS.items() for name in reversed(names) if name in folders}


def _read_parts(parts: dict[str, list[Path]], children: Sequence[Path], options: ReadOptions) -> RawData:
    wanted = [part for part in PARTS if parts[part] and (part != "validation" or wants_validation(options))]
    tables = dict(
        zip(wanted, read_all([partial(_read_files, parts[part], options) for part in wanted]), strict=True)
    )
    known = {file for files in parts.values() for file in files}
    passed_over = [] if "validation" in wanted else [PassedOver(file.name, DRAWN) for file in parts["validation"]]
    passed_over += others([child for child in children if child not in known])
    return RawData(
        tables["train"], tables.get("test"), passed_over=tuple(passed_over), validation=tables.get("validation")
    )


def _read_class_parts(folders: dict[str, Path], children: Sequence[Path], options: ReadOptions) -> RawData:
    unwanted: dict[str, str] = {}
    if "validation" in folders and not wants_validation(options):
        unwanted["validation"] = DRAWN
    elif "validation" in folders and not class_folders(folders["validation"]):
        unwanted["validation"] = "it holds no folder of a class"
    read = {part: folder for part, folder in folders.items() if part not in unwanted}
    found = dict(
        zip(read, read_all([partial(read_classes, folder, options) for folder in read.values()]), strict=True)
    )
    passed_over = [
        replace(item, what=f"{read[part].name}/{item.what}") for part, (_, items) in found.items() for item in items
    ]
    passed_over += [PassedOver(f"{folders[part].name}/", why) for part, why in unwanted.items()]
    passed_over += others([child for child in children if child not in folders.values()])
    tables = {part: table for part, (table, _) in found.items()}
    return RawData(
        tables["train"], tables.get("test"), passed_over=tuple(passed_over), validation=tables.get("validation")
    )


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
