"""Folders that hold a text a file, and whose names are the labels, as aclImdb has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunebench.data.encodings import decode_all
from tunebench.data.folders import children_of, others
from tunebench.data.readers import read_bytes
from tunebench.data.reading import FileReading, PassedOver
from tunebench.data.reference import DataConfig, ReadOptions
from tunebench.data.table import Table
from tunebench.data.visible import is_blank
from tunebench.errors import DataError
from tunebench.formatting import listed

#: Class folders that hold no class: aclImdb keeps its unlabelled reviews there.
_NO_CLASS = frozenset({"unsup"})
#: Endings of the files in a class folder that hold one text each.
_TEXT_ENDINGS = (".txt", ".text")


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold the texts of a class."""
    return [
        child
        for child in children_of(folder)
        if child.is_dir() and child.name not in _NO_CLASS and any(map(_is_text, child.iterdir()))
    ]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in _TEXT_ENDINGS and not path.name.startswith(".") and path.is_file()


def read_classes(folder: Path, options: ReadOptions) -> tuple[Table, tuple[PassedOver, ...]]:
    """Read one text a file, the folder's name its label; say what lies between them and is not read."""
    classes = class_folders(folder)
    paths = [path for child in classes for path in children_of(child) if _is_text(path)]
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
    """Decode a text a file; encodings that were recognised are noted, one sentence an encoding."""
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
    for child in children_of(folder):
        if child in classes:
            beside = [path for path in children_of(child) if not _is_text(path)]
            found += [
                replace(item, what=f"{child.name}/: {item.what}", why="it is no text") for item in others(beside)
            ]
        elif child.is_dir():
            why = "it holds texts without a class" if child.name in _NO_CLASS else "it holds no texts"
            found.append(PassedOver(f"folder {child.name}/", why))
        else:
            found.append(PassedOver(child.name, "it lies in no folder of a class"))
    return found
