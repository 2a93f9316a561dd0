"""From what a user names to a checked data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from tunebench.data.arrow_tables import give_back_tables
from tunebench.data.classes import Classes, Label
from tunebench.data.columns import TEXT_NAMES, Columns, find_columns, unused_columns
from tunebench.data.hub import read_hub
from tunebench.data.inputs import Inputs
from tunebench.data.labels import check_choices, is_missing
from tunebench.data.more_columns import check_named, column_notes, named_columns
from tunebench.data.packaged import DATASETS
from tunebench.data.part_names import PARTS
from tunebench.data.readers import table_name
from tunebench.data.reading import PassedOver, Reading
from tunebench.data.reference import DataConfig, DataRef, ReadOptions
from tunebench.data.rows import Rows, read_rows
from tunebench.data.sources import RawData, read_path
from tunebench.data.split_column import split_by_column
from tunebench.data.target import Target, find_target
from tunebench.data.types import Split, TextDataset
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.files import local_path
from tunebench.formatting import listed

_T = TypeVar("_T")


def load_dataset(config: DataConfig, *, recorded: DataRef | None = None) -> TextDataset:
    """Load texts and labels.

    The source is the name of a packaged data set, else a path that exists, else a name on the Hub
    (``owner/name``). A folder called like a packaged data set is reached as ``./NAME``.

    Args:
        config: Source, columns, and for the Hub revision and configuration.
        recorded: What the runs of a study say of its data. Where the config names no columns of texts, they are
            found as then: before there were pairs, one column was read. Data without these columns is read as new.

    Returns:
        The data set; its validation and test splits are ``None`` where the source has none.

    Raises:
        DataError: The source cannot be read, or the data cannot carry a study.
        ErrorGroup: Several things are wrong with the data.
        MissingExtraError: A packaged source whose package is not installed.
    """
    dataset = _load(config, recorded)
    give_back_tables()
    return dataset


def _load(config: DataConfig, recorded: DataRef | None) -> TextDataset:
    raw = split_by_column(_read(config), config)
    _check_parts(raw, config)
    columns = _find_columns(raw, config, recorded)
    target = find_target(raw, columns.label, config)
    values = target.values
    for part in ("validation", "test"):
        if part in values.values and all(map(is_missing, values.values[part])):
            raw = _without(raw, part)
    problems = _Problems()
    rows = {
        part: read_rows(
            table,
            columns.inputs,
            values.values[part],
            where=part,
            config=config,
            clean=target.clean,
            catch=problems.catch,
        )
        for part, table in raw.parts.items()
    }
    classes, encoded = _encode(rows, target, columns.label, config, problems)
    raise_all(problems.found)
    assert classes is not None
    splits = {
        part: Split(kept.texts, encoded[part], groups=kept.groups, times=kept.times)
        for part, kept in rows.items()
        if kept.texts is not None
    }
    remarks = (
        *(note for kept in rows.values() for note in kept.notes),
        *(note for kept in rows.values() if kept.labels for note in kept.labels.notes),
        *classes.notes,
    )
    notes = (*target.notes, *values.notes, *remarks, *column_notes(raw, config))
    return TextDataset(
        source=config.source,
        revision=raw.revision,
        label_names=tuple(str(value) for value in classes.values),
        train=splits["train"],
        test=splits.get("test"),
        reading=_account(raw, config, columns, rows, notes),
        validation=splits.get("validation"),
        task=target.task,
        inputs=columns.inputs if len(columns.inputs.columns) > 1 or columns.inputs.join is not None else None,
    )


def _check_parts(raw: RawData, config: DataConfig) -> None:
    """Refuse parts without rows, and an own validation part that is asked for and not there."""
    for where, table in raw.parts.items():
        if table.rows == 0:
            fix = "set data.validation: drawn, which passes it over" if where == "validation" else None
            raise DataError(f"The {where} split holds no rows.", value=config.source, fix=fix)
    if config.validation == "own" and raw.validation is None:
        raise DataError(
            "data.validation: own asks for a validation part of the data's own, and there is none.",
            value=f"{config.source}: {', '.join(raw.parts)}",
            allowed=f"a part called {', '.join(PARTS['validation'])}",
            fix="drop data.validation: a share of each training subset then validates",
        )


def _without(raw: RawData, part: Literal["validation", "test"]) -> RawData:
    """Pass over a part without any label, as competitions publish their test parts."""
    table = raw.parts[part]
    unused = PassedOver(f"the {part} part ({table.rows:,} rows)", "none of its texts has a label")
    passed_over = (*raw.passed_over, unused)
    if part == "test":
        return replace(raw, test=None, passed_over=passed_over)
    return replace(raw, validation=None, passed_over=passed_over)


def _account(
    raw: RawData, config: DataConfig, columns: Columns, rows: dict[str, Rows], notes: Sequence[str]
) -> Reading:
    """Say what was read, and name everything that was not."""
    tables = list(raw.parts.values())
    named = named_columns(config)
    used = [*named.values(), *(config.label_columns or ())]
    return Reading(
        files={part: table.files for part, table in raw.parts.items() if table.files},
        columns=_text_roles(columns.inputs) | {"label": listed(config.label_columns or (columns.label,))} | named,
        passed_over=(
            *raw.passed_over,
            *(item for table in tables for item in table.passed_over),
            *unused_columns(raw.train, tables[1:], columns, used=used),
            *(item for kept in rows.values() for item in kept.left_out),
        ),
        notes=(*raw.notes, *(note for table in tables for note in table.notes), *columns.notes, *notes),
    )


def _text_roles(inputs: Inputs) -> dict[str, str]:
    """Return what the account says of the columns of texts."""
    if inputs.join is not None:
        return {"joined text": inputs.join}
    roles = ("first text", "second text") if inputs.pair else ("text",)
    return dict(zip(roles, inputs.columns, strict=True))


def _encode(
    rows: dict[str, Rows], target: Target, column: str, config: DataConfig, problems: _Problems
) -> tuple[Classes | None, dict[str, np.ndarray]]:
    """Find the classes of the training rows, and the class of every row."""
    labels = {where: part.labels for where, part in rows.items() if part.labels is not None}
    train = labels.get("train")
    if train is None:
        return None, {}
    found = frozenset[Label]().union(*(part.found for part in labels.values()))
    problems.catch(lambda: check_choices(config.labels, found))
    classes = problems.catch(
        lambda: train.classes(
            where="train",
            name=column,
            declared=target.values.declared or None,
            by_likeness=config.labels.merge == "alike",
        )
    )
    encoded: dict[str, np.ndarray] = {}
    if classes is None:
        return None, encoded
    for where, part in labels.items():
        indices = problems.catch(partial(part.encoded, classes, where=where))
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
            # A stored study names its data as it was given, and may be used from elsewhere.
            fix=f"check the name, or call the command where the data is (looked in {path.parent.resolve()})",
        )
    _refuse_unused([(key, getattr(config, key), "files") for key in ReadOptions.model_fields])
    validation = config.validation != "drawn"
    return read_hub(source, revision=config.revision, subset=config.subset, validation=validation)


def _refuse_unused(settings: Sequence[tuple[str, Any, str]]) -> None:
    """Refuse what is set and has no effect: key, value, and what it is for."""
    for key, value, wanted in settings:
        if value is not None:
            raise DataError(f"data.{key} works only with {wanted}.", value=value, fix=f"drop data.{key}")


def _has_recorded_inputs(raw: RawData, recorded: DataRef) -> bool:
    """Tell whether the rows have the columns of texts that a study's runs read; a single one has a usual name."""
    if recorded.inputs is None:
        return any(name.lower() in TEXT_NAMES for name in raw.train.columns)
    return set(recorded.inputs.columns) <= set(raw.train.columns)


def _find_columns(raw: RawData, config: DataConfig, recorded: DataRef | None) -> Columns:
    if recorded is not None and not _has_recorded_inputs(raw, recorded):
        recorded = None  # other data: the study is refused for that, and not for its columns
    inputs = config.inputs or (recorded.inputs if recorded is not None else None)
    several = config.label_columns or ()
    unknown = [name for name in several if name not in raw.train.columns]
    if unknown:
        raise DataError(
            "There are no such label columns.",
            value=listed(unknown),
            allowed=listed(raw.train.columns, 30),
            fix="correct data.label_columns",
        )
    label = several[0] if several else config.label_column
    columns = find_columns(raw.train, inputs=inputs, label=label, together=recorded is None)
    check_named(raw, columns, config)
    labels = several or (columns.label,)
    for part, table in raw.parts.items():
        lacking = [name for name in (*columns.inputs.columns, *labels) if name not in table.columns]
        if lacking:
            fix = "give both splits the same columns"
            if part == "validation":
                fix += ", or set data.validation: drawn, which passes it over"
            raise DataError(
                f"The {part} split lacks a column that train has.",
                value=", ".join(lacking),
                allowed=listed(table.columns, 30),
                fix=fix,
            )
    return columns
