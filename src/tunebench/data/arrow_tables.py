"""Parquet and Arrow files, and the folders that ``datasets`` saves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table
from tunebench.errors import DataError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

#: Files by which a folder of ``datasets`` is known: of several splits, and of one.
DATASET_DICT, DATASET_INFO, DATASET_STATE = "dataset_dict.json", "dataset_info.json", "state.json"


def read_parquet(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read a Parquet file; class names that ``datasets`` wrote into it are used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _refusing_damage(raw, place, "Parquet"):
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        table = _sound(file.read())
        if table.num_rows != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"it says {file.metadata.num_rows:,} rows, and holds {table.num_rows:,}")
    return _table(table)


def read_arrow(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read an Arrow file, as a stream (as ``datasets`` writes it) or with random access (Feather)."""
    import pyarrow as pa

    with _refusing_damage(raw, place, "Arrow"):
        reader = pa.ipc.open_file if raw.startswith(b"ARROW1") else pa.ipc.open_stream
        table = _sound(reader(pa.BufferReader(raw)).read_all())
    return _table(table)


def give_back_tables() -> None:
    """Return to the system what Arrow keeps of tables that are gone: it may be twice the texts."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()


@contextmanager
def _refusing_damage(raw: bytes, place: str, kind: str) -> Iterator[None]:
    """Turn what Arrow raises at an empty or damaged file into an error that names it."""
    import pyarrow as pa

    if not raw:
        raise DataError("The file is empty.", value=place)
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"The file cannot be read as {kind}: {first_line(error)}", value=place) from None


def _sound(table: pa.Table) -> pa.Table:
    """Check every value now: a text or a column name that is no UTF-8 is else only met when it is used."""
    table.validate(full=True)
    return table


def is_saved_dataset(folder: Path) -> bool:
    """Tell whether ``save_to_disk`` of ``datasets`` wrote a folder."""
    return (folder / DATASET_DICT).is_file() or all(
        (folder / name).is_file() for name in (DATASET_INFO, DATASET_STATE)
    )


def read_saved_dataset(folder: Path) -> dict[str, Table]:
    """Read what ``save_to_disk`` of ``datasets`` wrote, by split; a data set without splits is ``train``.

    Raises:
        DataError: It cannot be read.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:
        # Damaged folders raise many unrelated types there.
        raise DataError(
            f"The folder was saved by datasets, but cannot be read: {first_line(error)}", value=str(folder)
        ) from None
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return {str(name): dataset_table(split) for name, split in splits.items()}


def dataset_table(split: Any) -> Table:
    """Return a table over a ``datasets.Dataset``; its class labels are declared names."""
    import datasets

    return Table(
        tuple(split.column_names),
        len(split),
        lambda column: list(split[column]),
        {
            column: tuple(inner.names)
            for column, feature in split.features.items()
            # Of lists, what they hold.
            if isinstance(inner := getattr(feature, "feature", feature), datasets.ClassLabel)
        },
        how=("datasets",),
    )


def _table(table: pa.Table) -> Table:
    return Table(
        tuple(table.column_names),
        table.num_rows,
        lambda name: list(table.column(name).to_pylist()),
        _declared_classes(table.schema.metadata or {}),
    )


def _declared_classes(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the class names in the note that ``datasets`` leaves in its files."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: tuple(map(str, inner["names"]))
            for name, feature in features.items()
            # Of lists, what they hold.
            if isinstance(feature, dict)
            and isinstance(inner := feature.get("feature", feature), dict)
            and inner.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
