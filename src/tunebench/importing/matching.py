"""Which row of a file answers which test text of a study: by its number, by the text itself, or by the order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tunebench.data.classes import whole_number
from tunebench.data.reading import named_rows
from tunebench.data.table import Table
from tunebench.data.text import sides_of
from tunebench.errors import DataError, TunebenchError, raise_all
from tunebench.formatting import counted, listed
from tunebench.importing.test_part import ROW, StudyTexts

#: How a row of the file says which text it answers.
Match = Literal["row", "text", "order"]


@dataclass
class Reading:
    """A file of answers that is being read.

    Attributes:
        path: The file.
        table: Its content.
        texts: What was asked.
        notes: What the user should know, one sentence each.
    """

    path: Path
    table: Table
    texts: StudyTexts
    notes: list[str] = field(default_factory=list)

    def rows(self, rows: Sequence[int]) -> str:
        """Return rows, given from 0, as a reader counts them."""
        return named_rows(rows, self.table.numbers)


def match_rows(reading: Reading, match: Match | None) -> tuple[Match, list[int]]:
    """Return the place in the file of each test text, and how it was found.

    Args:
        reading: The file and the texts.
        match: How rows say which text they answer; by default by their row number where there is such a column,
            else by the text.

    Raises:
        DataError: Nothing says which text a row answers; or a text has no row, or several.
    """
    found = match or _found_match(reading)
    return found, {"row": _by_row, "text": _by_text, "order": _by_order}[found](reading)


def _found_match(reading: Reading) -> Match:
    columns = reading.table.columns
    if ROW in columns:
        return "row"
    if set(reading.texts.columns) <= set(columns):
        return "text"
    raise DataError(
        "Nothing says which test text a row answers.",
        value=f"{reading.path}: columns {listed(columns, 20)}",
        allowed=f"a column {ROW!r}, or {_text_columns(reading)}",
        fix="--match order, if the rows are in the order of the study's test texts",
    )


def _text_columns(reading: Reading) -> str:
    names = reading.texts.columns
    return f"the text itself in {'columns' if len(names) > 1 else 'a column'} {listed(map(repr, names))}"


def _by_row(reading: Reading) -> list[int]:
    """Return the place in the file of each test text, by the numbers in the column of rows."""
    _need(reading, (ROW,), "row")
    numbers = [
        whole_number(value) if isinstance(value, (int, str)) else None for value in plain_values(reading, ROW)
    ]
    odd = [place for place, number in enumerate(numbers) if number is None]
    if odd:
        raise DataError(
            f"{reading.path.name}: the column {ROW!r} holds no row number in {reading.rows(odd)}.",
            allowed="whole numbers from 1, as tunebench data test-texts writes them",
        )
    places = _placed(reading, numbers, (reading.texts.rows + 1).tolist(), lambda number: f"row {number}")
    if set(reading.texts.columns) <= set(reading.table.columns):
        own, theirs = _keys_of_texts(reading), _keys_of_file(reading)
        other = [place for key, place in zip(own, places, strict=True) if theirs[place] != key]
        if other:
            texts = counted(len(other), "text differs", "texts differ")
            raise DataError(
                f"{reading.path.name}: {texts} from that of the same row in the study's data "
                f"({reading.rows(other)}).",
                fix="number the rows as tunebench data test-texts does; or --match text",
            )
    return places


def _by_text(reading: Reading) -> list[int]:
    """Return the place in the file of each test text, by the text; blanks count as one, whatever they are."""
    _need(reading, reading.texts.columns, "text")
    own, theirs = _keys_of_texts(reading), _keys_of_file(reading)
    copies = sum(count for count in Counter(own).values() if count > 1)
    if copies:
        reading.notes.append(f"{copies:,} test texts are copies of each other; copies have the same answer.")
    return _placed(reading, theirs, own, lambda key: repr(shortened(" / ".join(key))))


def _by_order(reading: Reading) -> list[int]:
    count, rows = len(reading.texts.rows), reading.table.rows
    if count != rows:
        raise DataError(
            f"The file has {rows:,} rows, and the study has {count:,} test texts; by their order they cannot be "
            "matched.",
            value=str(reading.path),
            fix=f"add a column {ROW!r} (tunebench data test-texts writes it), or the text itself",
        )
    reading.notes.append("Rows were matched with test texts by their order, which nothing confirms.")
    return list(range(count))


def _placed(reading: Reading, theirs: Sequence[Any], own: Sequence[Any], shown: Callable[[Any], str]) -> list[int]:
    """Return the place of each of the study's keys among the file's.

    Raises:
        DataError: One is not there; or stands there twice.
    """
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(theirs):
        places.setdefault(key, []).append(place)
    wanted = dict.fromkeys(own)
    missing = [key for key in wanted if key not in places]
    twice = [key for key in wanted if len(places.get(key, ())) > 1]
    errors: list[TunebenchError] = []
    if missing:
        errors.append(
            DataError(
                f"Test texts without an answer: {len(missing):,} of {len(wanted):,}.",
                value=f"{reading.path}: {listed(map(shown, missing), 3)}",
                fix="answer every test text: without the hard ones the score would flatter",
            )
        )
    if twice:
        errors.append(
            DataError(
                f"{counted(len(twice), 'test text is', 'test texts are')} answered more than once.",
                value=f"{reading.path}: {listed(map(shown, twice), 3)}",
                fix="keep one answer for each text",
            )
        )
    raise_all(errors)
    spare = len(places) - len(wanted)
    if spare:
        rows = counted(spare, "row of the file that answers", "rows of the file that answer")
        reading.notes.append(f"Passed over: {rows} no test text.")
    return [places[key][0] for key in own]


def _need(reading: Reading, columns: Sequence[str], match: str) -> None:
    absent = [name for name in columns if name not in reading.table.columns]
    if absent:
        raise DataError(
            f"--match {match} needs a column that the file does not have.",
            value=f"{reading.path}: {listed(map(repr, absent))}",
            allowed=listed(reading.table.columns, 20),
        )


def _keys_of_texts(reading: Reading) -> list[tuple[str, ...]]:
    return [tuple(map(_key, sides_of(text))) for text in reading.texts.texts]


def _keys_of_file(reading: Reading) -> list[tuple[str, ...]]:
    sides = [reading.table.values(name) for name in reading.texts.columns]
    return [tuple(_key("" if side is None else str(side)) for side in row) for row in zip(*sides, strict=True)]


def _key(text: str) -> str:
    # The sign that keeps spreadsheets from running a text as a formula stands before some of those we write.
    return " ".join(text.split()).removeprefix("'")


def shortened(text: str) -> str:
    """Return a text that a message holds."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain_values(reading: Reading, column: str) -> list[Any]:
    """Return the values of a column; numbers that are whole are integers, since missing ones make others floats."""
    return [
        int(value) if isinstance(value, float) and value.is_integer() else value
        for value in (one.item() if isinstance(one, np.generic) else one for one in reading.table.values(column))
    ]
