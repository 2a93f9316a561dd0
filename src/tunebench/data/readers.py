"""Reading one file by its ending, packed or not, strictly, with the place of whatever is wrong.

To add a kind of file: a function from bytes to a :class:`~tunebench.data.table.Table`, and an entry in
:data:`READERS`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import IO

from tunebench.data.arrow_tables import read_arrow, read_parquet
from tunebench.data.delimited import read_csv, read_tsv
from tunebench.data.excel import read_xlsx
from tunebench.data.json_tables import read_json
from tunebench.data.reading import PassedOver
from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table
from tunebench.errors import DataError, first_line
from tunebench.formatting import listed

#: Readers of a file's bytes, by its ending; the second argument names the place in messages.
READERS: dict[str, Callable[[bytes, str, ReadOptions | None], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".tab": read_tsv,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".xlsx": read_xlsx,
}
_UNPACKERS: dict[str, Callable[[IO[bytes]], io.BufferedIOBase]] = {
    ".gz": lambda packed: gzip.GzipFile(fileobj=packed),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_ZIP = ".zip"
#: Names that archives hold besides what was packed.
_NO_MEMBER = ("__MACOSX", ".")
#: What is this many times its size when it is unpacked is no table of texts.
_MOST_GROWTH = 1000


def table_name(path: PurePath) -> tuple[str, str] | None:
    """Split the name of a table's file into its stem and its ending, packing included; None for other files."""
    name, packing = path.name, ""
    if path.suffix.lower() in (*_UNPACKERS, _ZIP):
        name, packing = path.stem, path.suffix
    inner = PurePath(name)
    if inner.suffix.lower() in READERS:
        return inner.stem, inner.suffix + packing
    return (name, packing) if packing.lower() == _ZIP else None


def read_table(path: Path, options: ReadOptions | None = None) -> Table:
    """Read one file, by its ending.

    Nothing is guessed about values: every cell of a CSV or TSV file is a string ("NA" and the empty one too), and
    those of the other kinds keep their types.

    Raises:
        DataError: It cannot be opened, has an unknown ending, is malformed or is empty.
    """
    if table_name(path) is None:
        raise DataError(
            "This kind of file cannot be read.",
            value=path.name,
            allowed=f"{', '.join(READERS)}; or one of these packed: {', '.join([*_UNPACKERS, _ZIP])}",
        )
    raw, name, how = _unpack(read_bytes(path), path)
    ending = PurePath(name).suffix.lower()
    table = READERS[ending](raw, str(path), options)
    if READERS[ending] not in (read_csv, read_tsv):
        table = replace(table, passed_over=(*table.passed_over, *_without_effect(options)))
    if table.rows == 0:
        raise DataError("The file holds no rows.", value=str(path))
    repeated = [column for column, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise DataError(
            "Several columns of the file have the same name.",
            value=f"{path}: {listed(repeated, 20)}",
            fix="give each column a name of its own",
        )
    return replace(table, how=(*how, *table.how)).named(path.name)


def _without_effect(options: ReadOptions | None) -> list[PassedOver]:
    """Name the settings of separated values, for a file that has none."""
    given = [name for name in ReadOptions.model_fields if getattr(options, name, None) is not None]
    return [PassedOver(f"setting data.{name}", "it has an effect on CSV and TSV alone") for name in given]


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        DataError: It cannot be opened.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror or error}.", value=str(path)) from error


def _unpack(raw: bytes, path: Path) -> tuple[bytes, str, tuple[str, ...]]:
    """Return a file's content unpacked, the name that says its kind, and what to say of it."""
    packing = path.suffix.lower()
    try:
        if packing == _ZIP:
            content, member = _only_member(raw, path)
            return content, member, (f"from {member!r}",)
        if packing in _UNPACKERS:
            most = _most_unpacked(raw)
            content = _UNPACKERS[packing](io.BytesIO(raw)).read(most + 1)
            if len(content) > most:
                raise _grows_too_much(path, raw, f"more than {most:,}")
            return content, path.stem, ()
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"The file cannot be unpacked: {first_line(error)}", value=str(path)) from None
    return raw, path.name, ()


def _most_unpacked(raw: bytes) -> int:
    return _MOST_GROWTH * max(len(raw), 1000)


def _grows_too_much(path: Path, raw: bytes, size: str) -> DataError:
    return DataError(
        "The file would be unpacked to far more than a table of texts takes.",
        value=f"{path}: {size} bytes from {len(raw):,}",
        fix="unpack it yourself if you trust it",
    )


def _is_packed(name: str) -> bool:
    """Tell whether a member of an archive is what was packed, and not what a system adds."""
    return not any(part.startswith(_NO_MEMBER) for part in PurePath(name).parts)


def _only_member(raw: bytes, path: Path) -> tuple[bytes, str]:
    """Return the one table in a zip file, and its name."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and _is_packed(member.filename)]
        tables = [member for member in members if PurePath(member.filename).suffix.lower() in READERS]
        if len(tables) != 1:
            raise DataError(
                f"The zip file holds {len(tables)} tables.",
                value=f"{path}: {listed(member.filename for member in members)}",
                allowed=f"one file ({', '.join(READERS)})",
                fix="unpack it, and give the folder or one of the files",
            )
        if tables[0].file_size > _most_unpacked(raw):
            raise _grows_too_much(path, raw, f"{tables[0].file_size:,}")
        return archive.read(tables[0]), tables[0].filename
