"""The columns beside texts and labels that a study names: splits, groups and times."""

from __future__ import annotations

from tunebench.data.columns import Columns
from tunebench.data.reference import DataConfig
from tunebench.data.sources import RawData
from tunebench.errors import DataError, TunebenchError, did_you_mean, raise_all
from tunebench.formatting import listed


def named_columns(config: DataConfig) -> dict[str, str]:
    """Return the columns of splits, groups and times that the user names, by role."""
    named = {"split": config.split_column, "group": config.group_column, "time": config.time_column}
    return {role: name for role, name in named.items() if name is not None}


def check_named(raw: RawData, columns: Columns, config: DataConfig) -> None:
    """Refuse columns of groups and times that train lacks, or that are read as something else.

    Raises:
        DataError: One is not there, or holds the texts or the labels.
    """
    errors: list[TunebenchError] = []
    taken = dict.fromkeys(columns.inputs.columns, "texts") | {columns.label: "labels"}
    for role, name in named_columns(config).items():
        if name in taken:
            errors.append(
                DataError(
                    f"data.{role}_column is the column of {taken[name]}.",
                    value=name,
                    allowed=listed([column for column in raw.train.columns if column not in taken], 30) or None,
                    fix=f"name another column, or drop data.{role}_column",
                )
            )
        elif name not in raw.train.columns:
            errors.append(
                DataError(
                    f"There is no such column of {role}s.",
                    value=name,
                    allowed=listed(raw.train.columns, 30),
                    fix=did_you_mean(name, raw.train.columns) or f"drop data.{role}_column",
                )
            )
        taken.setdefault(name, f"{role}s")
    raise_all(errors)


def column_notes(raw: RawData, config: DataConfig) -> list[str]:
    """Say where a column of groups or times is not used, or cannot be checked."""
    notes: list[str] = []
    for part, table in raw.parts.items():
        if part != "train" and config.group_column is not None and config.group_column not in table.columns:
            notes.append(
                f"{part} has no column {config.group_column!r}: whether its groups are also in train is not known."
            )
    if config.time_column is not None and raw.test is not None:
        notes.append(
            f"The data has its own test part, so data.time_column ({config.time_column!r}) holds nothing out; the "
            "audit compares the times of train and test."
        )
    return notes
