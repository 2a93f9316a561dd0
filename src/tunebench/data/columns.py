"""Which columns hold texts and labels, and what the labels mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunebench.errors import DataError, TunebenchError, raise_all

TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "body", "tweet")
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")

#: An integer as it is usually written; "01" is not one, or it would be the same class as "1".
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
#: Half a pair: JSON can spell it, but no tokenizer can encode it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 5
#: Longer ones are texts.
_LONGEST_LABEL = 200


def find_column(columns: Sequence[str], *, wanted: str | None, names: Sequence[str], what: str) -> str:
    """Return the column that holds texts or labels.

    Args:
        columns: The columns there are.
        wanted: What the user named, if anything.
        names: Conventional names, looked for without regard to case.
        what: ``text`` or ``label``, for messages.

    Raises:
        DataError: The named column is not there; or none was named, and none or several fit.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(
            f"There is no such {what} column.",
            value=wanted,
            allowed=_shown(columns, 30),
            fix=f"correct data.{what}_column",
        )
    found = [column for column in columns if column.lower() in names]
    if len(found) == 1:
        return found[0]
    problem = "No column looks" if not found else "More than one column looks"
    raise DataError(
        f"{problem} like the {what} column.",
        value=_shown(found or columns, 30),
        allowed=f"one column called {', '.join(names)}, or any that is named",
        fix=f"name it: data.{what}_column in the study, or --set data.{what}_column=NAME",
    )


def check_texts(values: Sequence[Any], *, where: str) -> list[str]:
    """Return the texts of a column.

    Rows are counted from 1, a header left out.

    Raises:
        DataError: Some are no strings, empty, or no valid Unicode.
        ErrorGroup: Several of these.
    """
    odd, empty, broken = [], [], []
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            odd.append(row)
        elif not value.strip():
            empty.append(row)
        elif not is_encodable(value):
            broken.append(row)
    errors: list[TunebenchError] = []
    for rows, what, allowed in (
        (odd, "not strings", "strings; or name another text column"),
        (empty, "empty", "texts with at least one visible character"),
        (broken, "not valid Unicode (half of a surrogate pair)", "characters that UTF-8 can encode"),
    ):
        if rows:
            errors.append(
                DataError(
                    f"{where}: {len(rows)} of {len(values)} texts are {what} ({_rows(rows)}).",
                    value=None if rows is empty else values[rows[0] - 1],
                    allowed=allowed,
                    fix="repair or remove these rows",
                )
            )
    raise_all(errors)
    return list(values)


def is_encodable(text: str) -> bool:
    """Tell whether a text is valid Unicode, so that UTF-8 and a tokenizer can encode it."""
    return _SURROGATE.search(text) is None


def clean_labels(values: Sequence[Any], *, where: str) -> list[str | int]:
    """Return labels as integers, or as strings without surrounding blanks.

    Booleans and whole floats count as integers. A column of strings stays one; whether "1" means the
    integer is decided by :func:`find_classes`, over all of training.

    Raises:
        DataError: Labels are missing (``None``, NaN, blank), are neither, or cannot name a class.
        ErrorGroup: Several of these.
    """
    cleaned: list[str | int] = []
    missing, odd = [], []
    for row, value in enumerate(values, start=1):
        if isinstance(value, str) and value.strip():
            cleaned.append(value.strip())
        elif isinstance(value, (bool, int, np.bool_, np.integer)):
            cleaned.append(int(value))
        elif isinstance(value, (float, np.floating)) and float(value).is_integer():
            cleaned.append(int(value))
        elif value is None or isinstance(value, str) or (isinstance(value, float) and np.isnan(value)):
            missing.append(row)
        else:
            odd.append(row)
    errors: list[TunebenchError] = []
    if missing:
        errors.append(
            DataError(
                f"{where}: {len(missing)} of {len(values)} labels are missing ({_rows(missing)}).",
                fix="repair or remove these rows",
            )
        )
    if odd:
        errors.append(
            DataError(
                f"{where}: {len(odd)} of {len(values)} labels are neither strings nor integers ({_rows(odd)}).",
                value=values[odd[0] - 1],
                allowed="strings or integers",
                fix="name the label column: data.label_column",
            )
        )
    texts = {value for value in cleaned if isinstance(value, str)}
    unfit = sorted((value for value in texts if not _is_name(value)), key=len)
    if unfit:
        errors.append(
            DataError(
                f"{where}: {len(unfit)} of {len(texts)} labels cannot be the names of classes.",
                value=unfit[0],
                allowed=f"up to {_LONGEST_LABEL} characters on one line, without control characters",
                fix="repair these labels, or name the label column: data.label_column",
            )
        )
    raise_all(errors)
    return cleaned


def _is_name(label: str) -> bool:
    """Tell whether a label can stand in a table, a figure and a file: one line of valid, printable text."""
    if len(label) > _LONGEST_LABEL:
        return False
    return not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in label)


def find_classes(labels: Sequence[str | int], *, where: str) -> tuple[str | int, ...]:
    """Return the classes in label order: integers ascending, or strings sorted.

    Strings are integers exactly when each one is written as one.

    Raises:
        DataError: Strings are mixed with integers, there is a single class, or hardly two texts share one.
    """
    distinct = set(labels)
    if len({type(label) for label in distinct}) > 1:
        raise DataError(
            f"{where}: labels mix strings and integers.",
            value=_shown(sorted(map(repr, distinct))),
            allowed="all of one kind",
            fix="write all labels the same way",
        )
    if all(isinstance(label, str) and _INTEGER.fullmatch(label) for label in distinct):
        distinct = {int(label) for label in distinct}
    if len(distinct) < 2:
        raise DataError(
            f"{where}: there is a single class, so there is nothing to learn.",
            value=next(iter(distinct), None),
            allowed="two or more classes",
            fix="add examples of another class, or name another column: data.label_column",
        )
    if len(distinct) > max(10, len(labels) // 2):
        raise DataError(
            f"{where}: {len(distinct)} classes among {len(labels)} texts; this does not look like labels.",
            value=_shown([str(label) for label in labels]),
            fix="name the label column: data.label_column",
        )
    return tuple(sorted(distinct))


def encode_labels(labels: Sequence[str | int], classes: Sequence[str | int], *, where: str) -> np.ndarray:
    """Return labels as int64 indices into ``classes``, of shape ``(labels,)``.

    Raises:
        DataError: Labels that training does not know.
    """
    index: dict[str | int, int] = {}
    for position, value in enumerate(classes):
        # Where "1" means 1, both spellings are known: a CSV file may stand beside a Parquet one.
        index[value] = index[str(value)] = position
    unknown = [label for label in labels if label not in index]
    if unknown:
        distinct = sorted(map(str, set(unknown)))
        raise DataError(
            f"{where}: {len(unknown)} of {len(labels)} labels are unknown in train ({len(distinct)} distinct).",
            value=_shown(distinct),
            allowed=_shown([str(value) for value in classes], 20),
            fix="repair these labels (-1 often marks a test split without labels), or add them to train",
        )
    return np.array([index[label] for label in labels], dtype=np.int64)


def name_classes(classes: Sequence[str | int], declared: Sequence[str] | None) -> tuple[str, ...]:
    """Return one name a class: the declared one where integers index into the declaration."""
    if declared is None or not all(isinstance(c, int) and 0 <= c < len(declared) for c in classes):
        return tuple(str(value) for value in classes)
    return tuple(declared[int(value)] for value in classes)


def _rows(rows: Sequence[int]) -> str:
    first = ", ".join(map(str, rows[:_SHOWN]))
    return f"{'row' if len(rows) == 1 else 'rows'} {first}{', ...' if len(rows) > _SHOWN else ''}"


def _shown(values: Sequence[str], limit: int = 10) -> str:
    cut = [value if len(value) <= 40 else value[:37] + "..." for value in values[:limit]]
    return ", ".join(cut) + (f" and {len(values) - limit} more" if len(values) > limit else "")
