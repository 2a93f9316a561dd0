"""From what a user names to a checked data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from tunebench.data.columns import Columns, find_columns, unused_columns
from tunebench.data.declared import label_values
from tunebench.data.hub import read_hub
from tunebench.data.labels import Classes, Label, check_choices, encode_labels, find_classes
from tunebench.data.packaged import DATASETS
from tunebench.data.readers import table_name
from tunebench.data.reading import PassedOver, Reading, listed
from tunebench.data.reference import DataConfig, ReadOptions
from tunebench.data.rows import Rows, read_rows
from tunebench.data.sources import RawData, read_path
from tunebench.data.types import Split, TextDataset
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.files import local_path

_T = TypeVar("_T")


def load_dataset(config: DataConfig) -> TextDataset:
    """Load texts and labels.

    The source is the name of a packaged data set, else a path that exists, else a name on the Hub
    (``owner/name``). A folder called like a packaged data set is reached as ``./NAME``.

    Args:
        config: Source, columns, and for the Hub revision and configuration.

    Returns:
        The data set; its test split is ``None`` where the source has none.

    Raises:
        DataError: The source cannot be read, or the data cannot carry a study.
        ErrorGroup: Several things are wrong with the data.
        MissingExtraError: A packaged source whose package is not installed.
    """
    raw = _read(config)
    for where, table in raw.parts.items():
        if table.rows == 0:
            raise DataError(f"The {where} split holds no rows.", value=config.source)
    columns = _find_columns(raw, config)
    values = label_values(raw, columns.label)
    unlabelled = values.test is not None and all(value is None for value in values.test)
    if unlabelled:
        raw = _without_test(raw)
    problems = _Problems()
    given = {"train": values.train} | ({} if raw.test is None or values.test is None else {"test": values.test})
    rows = {
        part: read_rows(table.values(columns.text), given[part], where=part, config=config, catch=problems.catch)
        for part, table in raw.parts.items()
    }
    classes, encoded = _encode(rows, values.declared, config, problems)
    raise_all(problems.found)
    assert classes is not None
    splits = {part: Split(kept.texts, encoded[part]) for part, kept in rows.items() if kept.texts is not None}
    remarks = (*(note for kept in rows.values() if kept.labels for note in kept.labels.notes), *classes.notes)
    return TextDataset(
        source=config.source,
        revision=raw.revision,
        label_names=tuple(str(value) for value in classes.values),
        train=splits["train"],
        test=splits.get("test"),
        reading=_account(raw, columns, rows, (*values.notes, *remarks)),
    )


def _without_test(raw: RawData) -> RawData:
    """Pass over a test part without any label, as competitions publish it."""
    assert raw.test is not None
    unused = PassedOver(f"the test part ({raw.test.rows:,} rows)", "none of its texts has a label")
    return replace(raw, test=None, passed_over=(*raw.passed_over, unused))


def _account(raw: RawData, columns: Columns, rows: dict[str, Rows], notes: Sequence[str]) -> Reading:
    """Say what was read, and name everything that was not."""
    tables = raw.parts.values()
    return Reading(
        files={part: table.files for part, table in raw.parts.items() if table.files},
        columns={"text": columns.text, "label": columns.label},
        passed_over=(
            *raw.passed_over,
            *(item for table in tables for item in table.passed_over),
            *unused_columns(raw.train, raw.test, columns),
            *(item for kept in rows.values() for item in kept.left_out),
        ),
        notes=(*raw.notes, *(note for table in tables for note in table.notes), *columns.notes, *notes),
    )


def _encode(
    rows: dict[str, Rows], declared: Sequence[str] | None, config: DataConfig, problems: _Problems
) -> tuple[Classes | None, dict[str, np.ndarray]]:
    """Find the classes of the training rows, and the class of every row."""
    labels = {where: part.labels for where, part in rows.items() if part.labels is not None}
    train = labels.get("train")
    if train is None:
        return None, {}
    found = frozenset[Label]().union(*(part.found for part in labels.values()))
    problems.catch(lambda: check_choices(config.labels, found))
    classes = problems.catch(
        lambda: find_classes(
            train.values, where="train", declared=declared or None, by_likeness=config.labels.merge == "alike"
        )
    )
    encoded: dict[str, np.ndarray] = {}
    if classes is None:
        return None, encoded
    for where, part in labels.items():
        indices = problems.catch(partial(encode_labels, part.values, classes, where=where))
        if indices is not None:
            encoded[where] = indices
    return classes, encoded


class _Problems:
    """Keeps errors, so that all of them can be reported together."""

    def __init__(self) -> None:
        self.found: list[TunebenchError] = []

    def catch(self, function: Callable[[], _T]) -> _T | None:
        """Return the function's result, or ``None`` after keeping its error."""
        try:
            return function()
        except TunebenchError as error:
            self.found.append(error)
            return None


def _read(config: DataConfig) -> RawData:
    source = config.source
    if not source.strip():
        raise DataError(
            "The data has no name.",
            value=source,
            allowed=f"{', '.join(DATASETS)}; a file or folder; a name on the Hub (owner/name)",
        )
    path = local_path(source)
    if source in DATASETS or path.exists():
        where = "data on the Hub"
        unused = [(key, getattr(config, key), where) for key in ("revision", "subset")]
        if source in DATASETS:
            unused += [(key, getattr(config, key), "files") for key in ReadOptions.model_fields]
        _refuse_unused(unused)
        return DATASETS[source].read() if source in DATASETS else read_path(path, config)
    separators = source.count("/") + source.count("\\")
    if source.startswith((".", "/", "~")) or separators > 1 or "\\" in source or table_name(path) is not None:
        raise DataError(
            "There is no such file or folder.",
            value=source,
            fix=f"check the path (looked in {path.parent.resolve()})",
        )
    if separators == 0:
        raise DataError(
            "There is no such data set.",
            value=source,
            allowed=f"{', '.join(DATASETS)}; a file or folder; a name on the Hub (owner/name)",
        )
    _refuse_unused([(key, getattr(config, key), "files") for key in ReadOptions.model_fields])
    return read_hub(source, revision=config.revision, subset=config.subset)


def _refuse_unused(settings: Sequence[tuple[str, Any, str]]) -> None:
    """Refuse what is set and has no effect: key, value, and what it is for."""
    for key, value, wanted in settings:
        if value is not None:
            raise DataError(f"data.{key} works only with {wanted}.", value=value, fix=f"drop data.{key}")


def _find_columns(raw: RawData, config: DataConfig) -> Columns:
    columns = find_columns(raw.train, text=config.text_column, label=config.label_column)
    there = () if raw.test is None else raw.test.columns
    lacking = [
        name for name in (columns.text, columns.label) if raw.test is not None and name not in raw.test.columns
    ]
    if lacking:
        raise DataError(
            "The test split lacks a column that train has.",
            value=", ".join(lacking),
            allowed=listed(there, 30),
            fix="give both splits the same columns",
        )
    return columns
