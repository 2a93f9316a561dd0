"""Which columns hold texts and labels, and whether the texts are sound."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tunebench.data.reading import named_rows
from tunebench.data.visible import is_blank
from tunebench.errors import DataError, TunebenchError, raise_all

TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "body", "tweet")
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")

#: Half a pair: JSON can spell it, but no tokenizer can encode it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPAIR = "repair or remove these rows"


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


def check_texts(
    values: Sequence[Any], *, where: str, rows: Sequence[int] | None = None, fix_empty: str = _REPAIR
) -> list[str]:
    """Return the texts of a column.

    Rows are counted from 1 in messages, a header left out.

    Args:
        values: A value a row of the column.
        where: The split's name, for messages.
        rows: The rows that are wanted, from 0; all by default.
        fix_empty: What to do about empty texts.

    Raises:
        DataError: Some are no strings, show nothing, or are no valid Unicode.
        ErrorGroup: Several of these.
    """
    odd, empty, broken = [], [], []
    wanted = range(len(values)) if rows is None else rows
    for row in wanted:
        value = values[row]
        if is_empty(value):
            empty.append(row)
        elif not isinstance(value, str):
            odd.append(row)
        elif not is_encodable(value):
            broken.append(row)
    errors: list[TunebenchError] = []
    for found, what, allowed, fix in (
        (odd, "not strings", "strings; or name another text column", _REPAIR),
        (empty, "empty", "texts with at least one visible character", fix_empty),
        (broken, "not valid Unicode (half of a surrogate pair)", "characters that UTF-8 can encode", _REPAIR),
    ):
        if found:
            errors.append(
                DataError(
                    f"{where}: {len(found)} of {len(values)} texts are {what} ({named_rows(found)}).",
                    value=None if found is empty else values[found[0]],
                    allowed=allowed,
                    fix=fix,
                )
            )
    raise_all(errors)
    return [values[row] for row in wanted]


def is_empty(value: Any) -> bool:
    """Tell whether there is no text: the value is missing, or shows nothing."""
    if isinstance(value, str):
        return is_blank(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_encodable(text: str) -> bool:
    """Tell whether a text is valid Unicode, so that UTF-8 and a tokenizer can encode it."""
    return _SURROGATE.search(text) is None


def _shown(values: Sequence[str], limit: int = 10) -> str:
    cut = [value if len(value) <= 40 else value[:37] + "..." for value in values[:limit]]
    return ", ".join(cut) + (f" and {len(values) - limit} more" if len(values) > limit else "")
