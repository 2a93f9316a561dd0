"""Which columns hold texts and labels, and what the labels mean."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tunebench.data.reading import PassedOver, listed
from tunebench.data.table import Table
from tunebench.errors import DataError, TunebenchError, raise_all

TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "body", "tweet")
#: Usual names of what stands beside a text, or of the second text of a pair.
MORE_TEXT_NAMES = frozenset(
    "title subject headline summary description question question1 question2 sentence1 sentence2 "
    "premise hypothesis text1 text2 text_a text_b".split()
)
#: Usual names of a column that says which part a row belongs to.
SPLIT_NAMES = ("split", "set", "part", "partition", "subset", "fold")
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")

#: An integer as it is usually written; "01" is not one, or it would be the same class as "1".
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
#: Half a pair: JSON can spell it, but no tokenizer can encode it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 5
#: Rows whose content is looked at where names do not tell.
_GUESSED_FROM = 1000
#: Longer ones are texts.
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class Columns:
    """The columns used.

    Attributes:
        text: Name of the column of texts.
        label: Name of the column of labels.
        notes: What was concluded from the content rather than from names, one sentence each.
    """

    text: str
    label: str
    notes: tuple[str, ...] = ()


def find_columns(table: Table, *, text: str | None, label: str | None) -> Columns:
    """Return the columns that hold texts and labels.

    They are the ones the user names, else those with a usual name. A file without a header has no names to go by:
    there the labels are the only column of few values that repeat, and the texts are the longest of the others.

    Args:
        table: The training rows.
        text: Column of texts that the user names, if any.
        label: The same for labels.

    Raises:
        DataError: A named column is not there; or none was named, and none or several fit.
        ErrorGroup: Both.
    """
    guess = _guess(table)
    if table.headless and guess is not None and text is None and label is None:
        first, second = guess
        note = f"The file names no columns: {first} holds the longest texts, and {second} few values that repeat."
        return Columns(first, second, (note,))
    errors: list[TunebenchError] = []
    found: dict[str, str] = {}
    roles: list[tuple[Literal["text", "label"], str | None, Sequence[str]]] = [
        ("text", text, TEXT_NAMES),
        ("label", label, LABEL_NAMES),
    ]
    likely = (None, None) if guess is None else guess
    for (role, wanted, names), column in zip(roles, likely, strict=True):
        try:
            found[role] = find_column(table.columns, wanted=wanted, names=names, role=role, guess=column)
        except DataError as error:
            errors.append(error)
    raise_all(errors)
    if found["text"] == found["label"]:
        raise DataError(
            "Texts and labels cannot be the same column.", value=found["text"], allowed=listed(table.columns, 30)
        )
    return Columns(found["text"], found["label"])


def find_column(
    columns: Sequence[str],
    *,
    wanted: str | None,
    names: Sequence[str],
    role: Literal["text", "label"],
    setting: str | None = None,
    guess: str | None = None,
) -> str:
    """Return the column that holds texts or labels.

    Args:
        columns: The columns there are.
        wanted: What the user named, if anything.
        names: Usual names, compared without regard to case.
        role: What the column holds, for messages.
        setting: How the user names it, for messages; by default the study's key.
        guess: The column that looks likely by its content, for messages.

    Raises:
        DataError: The named column is not there; or none was named, and none or several fit.
    """
    setting = setting or f"--set data.{role}_column="
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(
            f"There is no such {role} column.",
            value=wanted,
            allowed=listed(columns, 30),
            fix=f"name one that is there: {setting}{shlex.quote(guess or columns[0])}",
        )
    found = [column for column in columns if column.lower() in names]
    if len(found) == 1:
        return found[0]
    problem = "No column looks" if not found else "More than one column looks"
    likely = "" if guess is None else f" ({guess!r} looks likely by its content)"
    raise DataError(
        f"{problem} like the {role} column.",
        value=listed(found or columns, 30),
        allowed=f"one column called {', '.join(names)}, or any that is named",
        fix=f"name it: {setting}{shlex.quote(guess or 'NAME')}{likely}",
    )


def unused_columns(train: Table, test: Table | None, columns: Columns) -> list[PassedOver]:
    """Name the columns that are not read, those that may be missed with the reason."""
    every = dict.fromkeys([*train.columns, *(test.columns if test is not None else ())])
    rest = [name for name in every if name not in (columns.text, columns.label)]
    found = []
    for name in [name for name in rest if name.lower() in (*TEXT_NAMES, *MORE_TEXT_NAMES)]:
        why = f"{columns.text!r} is read; --set data.text_column={shlex.quote(name)} reads this one instead"
        found.append(PassedOver(f"column {name!r}", why))
        rest.remove(name)
    for name in [name for name in rest if name.lower() in SPLIT_NAMES and name in train.columns]:
        parts = listed(sorted({str(value) for value in train.values(name)}), 5)
        found.append(
            PassedOver(f"column {name!r}", f"it seems to name splits ({parts}); all rows of the file are train")
        )
        rest.remove(name)
    if rest:
        what = f"column {rest[0]!r}" if len(rest) == 1 else f"{len(rest)} columns: {listed(map(repr, rest))}"
        found.append(PassedOver(what, "neither texts nor labels"))
    return found


def _guess(table: Table) -> tuple[str, str] | None:
    """Return the columns of texts and labels by their content; None where that does not tell them apart."""
    lengths: dict[str, float] = {}
    few: list[str] = []
    for name in table.columns:
        values = table.values(name)[:_GUESSED_FROM]
        strings = [value for value in values if isinstance(value, str)]
        distinct = len({str(value) for value in values})
        if 2 <= distinct <= len(values) // 2 and max(map(len, map(str, values))) <= _LONGEST_LABEL:
            few.append(name)
        elif len(strings) == len(values):
            lengths[name] = sum(map(len, strings)) / max(1, len(strings))
    if len(few) != 1 or not lengths:
        return None
    longest = sorted(lengths, key=lambda name: -lengths[name])
    if len(longest) > 1 and lengths[longest[0]] < 2 * lengths[longest[1]]:
        return None
    return longest[0], few[0]


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
