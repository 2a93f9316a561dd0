"""Which columns hold texts and labels, and what the labels mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunebench.errors import DataError, TunebenchError

TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "body", "tweet")
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")


def find_column(columns: Sequence[str], *, wanted: str | None, names: Sequence[str], what: str) -> str:
    """Return the column that holds texts or labels.

    Args:
        columns: The columns there are.
        wanted: What the user named, if anything.
        names: Conventional names, looked for without regard to case.
        what: ``text`` or ``label``, for messages.

    Raises:
        DataError: The named column is not there, none fits, or several do.
    """
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(f"There is no such {what} column.", value=wanted, allowed=", ".join(map(str, columns)))
    found = [column for column in columns if str(column).lower() in names]
    # An exact first choice ("text", "label") wins over its synonyms.
    if found and (len(found) == 1 or names[0] in found):
        return names[0] if names[0] in found else found[0]
    problem = "No column" if not found else "More than one column"
    raise DataError(
        f"{problem} looks like the {what} column.",
        value=", ".join(map(str, found or columns)),
        allowed=f"a column called {', '.join(names)}",
        fix=f"name it: data.{what}_column in the study, or --set data.{what}_column=NAME",
    )


def check_texts(values: Sequence[object], *, where: str) -> list[str]:
    """Return the texts of a column.

    Args:
        values: The column.
        where: File or split, for messages.

    Raises:
        DataError: Something is no string, or a text is empty.
    """
    odd = [i for i, value in enumerate(values) if not isinstance(value, str)]
    if odd:
        raise DataError(
            f"{where}: {len(odd)} of {len(values)} texts are no strings (first rows: {_rows(odd)}).",
            value=values[odd[0]],
            allowed="strings",
            fix="remove or repair these rows, or name another text column",
        )
    texts = [str(value) for value in values]
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        raise DataError(
            f"{where}: {len(empty)} of {len(texts)} texts are empty (first rows: {_rows(empty)}).",
            allowed="texts with at least one visible character",
            fix="remove these rows",
        )
    return texts


def label_values(train: Sequence[object], *, where: str) -> list[str | int]:
    """Return the classes of a label column: integers ascending, or strings sorted.

    Raises:
        DataError: Missing labels, mixed types, or fewer than two classes.
    """
    values = [clean_label(value) for value in train]
    missing = [i for i, value in enumerate(values) if value is None]
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(values)} labels are missing or no labels "
            f"(first rows: {_rows(missing)}).",
            allowed="integers or strings",
            fix="remove or repair these rows",
        )
    classes = set(values)
    if len({type(value) for value in classes}) > 1:
        raise DataError(f"{where}: labels mix strings and integers.", value=sorted(map(str, classes))[:10])
    if len(classes) < 2:
        raise DataError(
            f"{where}: there is a single class, so there is nothing to learn.",
            value=next(iter(classes), None),
            allowed="two or more classes",
        )
    if len(classes) > 1000 or len(classes) > len(values) // 2 > 2:
        raise DataError(
            f"{where}: {len(classes)} classes for {len(values)} texts; this column does not look like labels.",
            fix="name the label column: data.label_column",
        )
    return sorted(classes)  # type: ignore[arg-type]


def encode_labels(values: Sequence[object], classes: Sequence[str | int], *, where: str) -> np.ndarray:
    """Return labels as int64 indices into ``classes``.

    Raises:
        DataError: A label that training does not know.
    """
    index = {value: i for i, value in enumerate(classes)}
    cleaned = [clean_label(value) for value in values]
    unknown = sorted({str(value) for value in cleaned if value not in index})
    if unknown:
        raise DataError(
            f"{where} holds labels that training does not know.",
            value=", ".join(unknown[:10]),
            allowed=", ".join(str(value) for value in classes[:20]),
            fix="repair the labels, or add training examples of these classes",
        )
    return np.array([index[value] for value in cleaned], dtype=np.int64)  # type: ignore[index]


def clean_label(value: object) -> str | int | None:
    """Return a label as a string or an integer; None when it is missing or neither."""
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return int(value) if float(value).is_integer() else None
    if isinstance(value, str):
        text = value.strip()
        if text.lstrip("-").isdigit():
            return int(text)
        return text or None
    return None


def collect(errors: list[TunebenchError], function: object, *args: object, **kwargs: object) -> object:
    """Call a function and keep its error for later instead of raising it."""
    try:
        return function(*args, **kwargs)  # type: ignore[operator]
    except TunebenchError as error:
        errors.append(error)
        return None


def _rows(indices: Sequence[int]) -> str:
    return ", ".join(str(i + 1) for i in indices[:5])
