"""Answers of another model to the test texts of a study: read from a table, and matched with the texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data.label_sets import column_values, split_values
from tunebench.data.labels import is_list, is_missing
from tunebench.data.numbers import as_number
from tunebench.data.readers import READERS, read_table, table_name
from tunebench.data.visible import alike
from tunebench.errors import DataError, did_you_mean
from tunebench.formatting import counted, listed
from tunebench.importing.matching import Match, Reading, match_rows, plain_values, shortened
from tunebench.importing.test_part import StudyTexts

#: Usual names of the column of answers.
_USUAL = ("answer", "answers", "prediction", "predictions", "predicted")
#: Between several labels of a text where the study's own data names no other sign.
_BETWEEN = "|"


@dataclass(frozen=True, eq=False)
class Answers:
    """What another model answers to each test text of a study.

    Attributes:
        predicted: In the form of the study's labels, in the order of its test texts.
        matched: By what rows of the file were matched with texts.
        column: The column of the answers; None where there is one column a label.
        notes: What the user should know, one sentence each.
    """

    predicted: np.ndarray
    matched: Match
    column: str | None
    notes: tuple[str, ...] = ()


def read_answers(
    path: Path, texts: StudyTexts, *, match: Match | None = None, column: str | None = None
) -> Answers:
    """Read the answers to the test texts of a study.

    Args:
        path: A table: CSV, JSON lines, or another kind that is read as data.
        texts: What was asked.
        match: See :func:`~tunebench.importing.matching.match_rows`.
        column: Name of the column of answers.

    Raises:
        DataError: A text has no answer or several, or an answer is none that the study knows.
    """
    if table_name(path) is None:
        raise DataError("Answers are read from a table.", value=str(path), allowed=", ".join(READERS))
    reading = Reading(path, read_table(path), texts)
    found, places = match_rows(reading, match)
    named, values = _values(reading, column)
    predicted = _predicted(reading, [values[place] for place in places], places)
    return Answers(predicted, found, named, tuple(reading.notes))


def _values(reading: Reading, wanted: str | None) -> tuple[str | None, list[Any]]:
    """Return the column of answers and its values; of several labels a text perhaps one column a label."""
    columns, of_labels = reading.table.columns, reading.texts.config.label_columns
    if wanted is not None and wanted not in columns:
        raise DataError(
            "There is no such column of answers.",
            value=wanted,
            allowed=listed(columns, 20),
            fix=did_you_mean(wanted, columns) or "name one that is there: --answer-column",
        )
    found = [wanted] if wanted is not None else [name for name in columns if name.lower() in _USUAL]
    if not found and of_labels is not None and set(of_labels) <= set(columns):
        return None, column_values(reading.table, reading.texts.config, reading.path.name)
    if len(found) != 1:
        raise DataError(
            "More than one column looks like the answers." if found else "No column looks like the answers.",
            value=f"{reading.path}: {listed(found or columns, 20)}",
            allowed=f"one column called {', '.join(_USUAL)}",
            fix="name it: --answer-column",
        )
    return found[0], plain_values(reading, found[0])


def _predicted(reading: Reading, values: Sequence[Any], places: Sequence[int]) -> np.ndarray:
    """Return answers as the study's labels."""
    task, names = reading.texts.task, reading.texts.spec.data.label_names
    if not task.labelled:
        return _numbers(reading, values, places)
    if task.exclusive:
        found = _classes(reading, values, places)
        return np.array([found[_name(value)] for value in values], dtype=np.int64)
    lists = _lists(reading, values)
    flat = [label for row in lists for label in row]
    known = _classes(reading, flat, [place for place, row in zip(places, lists, strict=True) for _ in row])
    given = np.zeros((len(lists), len(names)), dtype=np.int64)
    for number, row in enumerate(lists):
        given[number, [known[_name(label)] for label in row]] = 1
    return given


def _lists(reading: Reading, values: Sequence[Any]) -> list[list[Any]]:
    """Return the labels of each answer: a list, one written as JSON, or text that is split; none of a blank one."""
    parsed = [_as_json(value) if isinstance(value, str) else value for value in values]
    found: list[list[Any]] = split_values(parsed, reading.texts.config.label_delimiter or _BETWEEN)
    return [list(value) for value in found]


def _as_json(value: str) -> Any:
    if not value.lstrip().startswith("["):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if is_list(found) else value


def _name(value: Any) -> str:
    return str(value).strip()


def _classes(reading: Reading, values: Sequence[Any], places: Sequence[int]) -> Mapping[str, int]:
    """Return the number of the class of each distinct answer.

    An answer that differs from a label in case, blanks or quotation marks alone is that label.

    Raises:
        DataError: An answer is missing, or names no label.
    """
    names = reading.texts.spec.data.label_names
    exact = {name: number for number, name in enumerate(names)}
    looks = Counter(map(alike, names))
    near = {alike(name): number for name, number in exact.items() if looks[alike(name)] == 1}
    known: dict[str, int] = {}
    unknown: dict[str, list[int]] = {}
    unlike = 0
    for value, place in zip(values, places, strict=True):
        name = "" if is_missing(value) else _name(value)
        number = exact.get(name, near.get(alike(name)))
        if number is None:
            unknown.setdefault(name, []).append(place)
            continue
        unlike += name not in exact
        known[name] = number
    if unknown:
        rows = sorted(place for places in unknown.values() for place in places)
        raise DataError(
            f"{counted(len(rows), 'answer is', 'answers are')} none of the study's labels ({reading.rows(rows)}).",
            value=listed([repr(shortened(name)) if name else "no answer" for name in unknown], 5),
            allowed=listed(names, 20),
            fix="write a label for each text; you decide what an unclear answer counts as, such as the most common "
            "label",
        )
    if unlike:
        said = counted(unlike, "answer was", "answers were")
        reading.notes.append(f"{said} matched with a label that differs in case, blanks or quotation marks alone.")
    return known


def _numbers(reading: Reading, values: Sequence[Any], places: Sequence[int]) -> np.ndarray:
    numbers = [as_number(value) for value in values]
    odd = {
        place: value
        for place, value, number in zip(places, values, numbers, strict=True)
        if number is None or not np.isfinite(number)
    }
    if odd:
        raise DataError(
            f"{counted(len(odd), 'answer is no finite number', 'answers are no finite numbers')} "
            f"({reading.rows(sorted(odd))}).",
            value=listed([repr(shortened(str(value))) for value in odd.values()], 3),
            fix="write a number for each text",
        )
    return np.array(numbers, dtype=np.float64)
