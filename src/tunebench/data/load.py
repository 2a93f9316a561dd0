"""From what a user names to a checked data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from tunebench.config import DataConfig
from tunebench.data.columns import LABEL_NAMES, TEXT_NAMES, find_column
from tunebench.data.hub import read_hub
from tunebench.data.labels import Classes, Label, check_choices, encode_labels, find_classes, name_classes
from tunebench.data.packaged import DATASETS
from tunebench.data.reading import Reading
from tunebench.data.rows import Rows, read_rows
from tunebench.data.sources import RawData, read_path
from tunebench.data.tables import READERS
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
    for where, table in (("train", raw.train), ("test", raw.test)):
        if table is not None and table.rows == 0:
            raise DataError(f"The {where} split holds no rows.", value=config.source)
    text, label = _find_columns(raw, config)
    problems = _Problems()
    rows = {
        where: read_rows(table, text, label, where=where, config=config, catch=problems.catch)
        for where, table in (("train", raw.train), ("test", raw.test))
        if table is not None
    }
    declared = raw.train.class_names.get(label)
    classes, encoded = _encode(rows, declared, config, problems)
    raise_all(problems.found)
    assert classes is not None
    splits = {where: Split(part.texts, encoded[where]) for where, part in rows.items() if part.texts is not None}
    return TextDataset(
        source=config.source,
        revision=raw.revision,
        label_names=name_classes(classes, declared),
        train=splits["train"],
        test=splits.get("test"),
        reading=Reading(
            passed_over=tuple(item for part in rows.values() for item in part.left_out),
            notes=(*(note for part in rows.values() if part.labels for note in part.labels.notes), *classes.notes),
        ),
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
            train.values, where="train", declared=declared, by_likeness=config.labels.merge == "alike"
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
    """Keeps errors, so that all of them can be told at once."""

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
    path = local_path(source)
    if source in DATASETS or path.exists():
        for key, value in (("revision", config.revision), ("subset", config.subset)):
            if value is not None:
                raise DataError(
                    f"data.{key} is for data on the Hub, and this is not there.",
                    value=value,
                    fix=f"drop data.{key}",
                )
        return DATASETS[source].read() if source in DATASETS else read_path(path)
    separators = source.count("/") + source.count("\\")
    if source.startswith((".", "/", "~")) or separators > 1 or "\\" in source or path.suffix.lower() in READERS:
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
    return read_hub(source, revision=config.revision, subset=config.subset)


def _find_columns(raw: RawData, config: DataConfig) -> tuple[str, str]:
    problems = _Problems()
    columns = raw.train.columns
    text = problems.catch(lambda: find_column(columns, wanted=config.text_column, names=TEXT_NAMES, what="text"))
    label = problems.catch(
        lambda: find_column(columns, wanted=config.label_column, names=LABEL_NAMES, what="label")
    )
    raise_all(problems.found)
    assert text is not None and label is not None
    if text == label:
        raise DataError("Texts and labels cannot be the same column.", value=text, allowed=", ".join(columns[:30]))
    lacking = [name for name in (text, label) if raw.test is not None and name not in raw.test.columns]
    if lacking and raw.test is not None:
        raise DataError(
            "The test split lacks a column that train has.",
            value=", ".join(lacking),
            allowed=", ".join(raw.test.columns[:30]),
            fix="give both splits the same columns",
        )
    return text, label
