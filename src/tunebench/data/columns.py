"""Which columns hold texts and labels, and whether the texts are sound."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from tunebench.data.inputs import Inputs
from tunebench.data.label_sets import says_yes_or_no
from tunebench.data.labels import LONGEST_LABEL
from tunebench.data.numbers import as_number
from tunebench.data.part_names import part_named
from tunebench.data.reading import PassedOver, named_rows
from tunebench.data.table import Table
from tunebench.data.usual_inputs import PAIRS, found_note, usual_inputs
from tunebench.data.visible import is_blank
from tunebench.errors import DataError, TunebenchError, did_you_mean, raise_all
from tunebench.formatting import listed

TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "body", "tweet")
#: Usual names of what stands beside a text, or of a text of a pair.
MORE_TEXT_NAMES = frozenset(
    [*"title subject headline summary description".split(), *(name for names in PAIRS for name in names)]
)
#: Usual names of a column that says which part a row belongs to.
SPLIT_NAMES = ("split", "set", "part", "partition", "subset", "fold")
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")

#: Half a pair: JSON can spell it, but no tokenizer can encode it.
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Rows whose content is looked at where names do not tell.
_GUESSED_FROM = 1000
#: Parts of a file that were not read, named in a message.
_NAMED = 3
_REPAIR = "repair or remove these rows"


@dataclass(frozen=True)
class Columns:
    """The columns used.

    Attributes:
        inputs: The columns of texts.
        label: Name of the column of labels.
        notes: What was concluded from the content or from names, one sentence each.
    """

    inputs: Inputs
    label: str
    notes: tuple[str, ...] = ()


def find_columns(table: Table, *, inputs: Inputs | None, label: str | None, together: bool = True) -> Columns:
    """Return the columns that hold texts and labels.

    They are the ones the user names, else those with a usual name. A file without a header has no names to go by:
    there the labels are the only column of few values that repeat, and the texts are the longest of the others.

    Args:
        table: The training rows.
        inputs: Columns of texts that the user names, if any.
        label: The same for labels.
        together: Take columns that make a text together by their names, where none is named; otherwise only say so.

    Raises:
        DataError: A named column is not there; or none was named, and none or several fit.
        ErrorGroup: Both.
    """
    if table.headless and inputs is None and label is None and (guess := _guess(table)) is not None:
        first, second = guess
        note = f"The file names no columns: {first} holds the longest texts, and {second} few values that repeat."
        return Columns(Inputs(columns=(first,)), second, (note,))
    errors: list[TunebenchError] = []
    # Of texts none of which is longer, the first is named as an example.
    another = next((name for name in table.columns if name.lower() in MORE_TEXT_NAMES), None)
    # Only messages need it, and it reads every column.
    likely = cache(lambda: _guess(table) or (another, _only_measured(table)))
    texts: Inputs | None = None
    usual, labels = None, None
    try:
        usual = usual_inputs(table.columns, TEXT_NAMES) if inputs is None else None
        texts = (usual if together else None) or _find_inputs(table, inputs, lambda: likely()[0])
    except TunebenchError as error:
        errors.append(error)
    try:
        labels = find_column(
            table.columns,
            wanted=label,
            names=LABEL_NAMES,
            role="label",
            guess=lambda: likely()[1],
            otherwise=lambda: _several_columns(table) + _not_read(table),
        )
    except DataError as error:
        errors.append(error)
    raise_all(errors)
    assert texts is not None and labels is not None
    if labels in texts.columns:
        raise DataError(
            "Texts and labels cannot be the same column.", value=labels, allowed=listed(table.columns, 30)
        )
    return Columns(texts, labels, () if usual is None else (found_note(usual, taken=together),))


def _find_inputs(table: Table, wanted: Inputs | None, guess: Callable[[], str | None]) -> Inputs:
    if wanted is not None and len(wanted.columns) > 1:
        raise_all([_missing_column(name, table, wanted) for name in wanted.columns if name not in table.columns])
        return wanted
    name = find_column(
        table.columns,
        wanted=None if wanted is None else wanted.columns[0],
        names=TEXT_NAMES,
        role="text",
        guess=guess,
        otherwise=lambda: _not_read(table),
    )
    return Inputs(columns=(name,), join=None if wanted is None else wanted.join)


def _missing_column(name: str, table: Table, wanted: Inputs) -> DataError:
    key = "data.text_columns" if wanted.join is None else "data.join"
    return DataError(
        "There is no such text column.",
        value=name,
        allowed=listed(table.columns, 30),
        fix=did_you_mean(name, table.columns) or f"name columns that are there in {key}",
    )


def find_column(
    columns: Sequence[str],
    *,
    wanted: str | None,
    names: Sequence[str],
    role: Literal["text", "label"],
    setting: str | None = None,
    guess: Callable[[], str | None] = lambda: None,
    otherwise: Callable[[], str] = lambda: "",
) -> str:
    """Return the column that holds texts or labels.

    Args:
        columns: The columns there are.
        wanted: What the user named, if anything.
        names: Usual names, compared without regard to case.
        role: What the column holds, for messages.
        setting: How the user names it, for messages; by default the study's key.
        guess: Returns the column that looks likely by its content; called for messages only.
        otherwise: Returns another fix where none was named and none fits; called for messages only.

    Raises:
        DataError: The named column is not there; or none was named, and none or several fit.
    """
    setting = setting or f"--set data.{role}_column="
    if wanted is not None:
        if wanted in columns:
            return wanted
        instead = guess() or columns[0]
        raise DataError(
            f"There is no such {role} column.",
            value=wanted,
            allowed=listed(columns, 30),
            fix=f"name one that is there: {setting}{shlex.quote(instead)}",
        )
    found = [column for column in columns if column.lower() in names]
    if len(found) == 1:
        return found[0]
    problem = "No column looks" if not found else "More than one column looks"
    example = guess()
    likely = "" if example is None else f" ({example!r} looks likely)"
    raise DataError(
        f"{problem} like the {role} column.",
        value=listed(found or columns, 30),
        allowed=f"one column called {', '.join(names)}, or any that is named",
        fix=f"name it: {setting}{shlex.quote(example or 'NAME')}{likely}{otherwise()}",
    )


def _only_measured(table: Table) -> str | None:
    """Return the column of numbers with fractions; None where there is none, or several."""
    found = [name for name in table.columns if _has_fractions(table.values(name))]
    return found[0] if len(found) == 1 else None


def _several_columns(table: Table) -> str:
    """Say how to read columns of 0 and 1 as one label each; nothing where there are not several."""
    found = [name for name in table.columns if says_yes_or_no(table.values(name)[:_GUESSED_FROM])]
    if len(found) < 2:
        return ""
    names = shlex.quote(f"[{', '.join(found)}]")
    return f"; or, where each column of 0 and 1 is a label: --set data.label_columns={names}"


def _not_read(table: Table) -> str:
    """Say what of the file was passed over, as the column may be there; nothing where it was read as a whole."""
    first = ", ".join(map(str, table.passed_over[:_NAMED]))
    return f"; or mend what was not read: {first}" if first else ""


def unused_columns(
    train: Table, others: Collection[Table], columns: Columns, *, used: Collection[str] = ()
) -> list[PassedOver]:
    """Name the columns that are not read, those that may be missed with the reason.

    Args:
        train: The training rows.
        others: The other parts.
        columns: The columns of texts and labels.
        used: Other columns that are read.
    """
    every = dict.fromkeys([*train.columns, *(name for table in others for name in table.columns)])
    read = columns.inputs.columns
    rest = [name for name in every if name not in (*read, columns.label, *used)]
    found = []
    instead = " and ".join(map(repr, read)) + (" is read" if len(read) == 1 else " are read")
    for name in [name for name in rest if name.lower() in (*TEXT_NAMES, *MORE_TEXT_NAMES)]:
        why = f"{instead}; --set data.text_column={shlex.quote(name)} reads this one instead"
        found.append(PassedOver(f"column {name!r}", why))
        rest.remove(name)
    for name in [name for name in rest if name.lower() in SPLIT_NAMES and name in train.columns]:
        values = {str(value) for value in train.values(name)}
        why = f"it seems to name splits ({listed(sorted(values), 5)}); all rows of the file are train"
        if len(values) > 1 and all(map(part_named, values)) and not others:
            why += f"; --set data.split_column={shlex.quote(name)} puts each row into its part"
        found.append(PassedOver(f"column {name!r}", why))
        rest.remove(name)
    for name in [name for name in rest if name in train.columns]:
        usual = name.lower() in LABEL_NAMES
        if usual or _has_fractions(train.values(name)):
            what = "reads this one instead" if usual else "predicts its numbers instead"
            why = f"{columns.label!r} is the label; --set data.label_column={shlex.quote(name)} {what}"
            found.append(PassedOver(f"column {name!r}", why))
            rest.remove(name)
    if rest:
        what = f"column {rest[0]!r}" if len(rest) == 1 else f"{len(rest)} columns: {listed(map(repr, rest))}"
        found.append(PassedOver(what, "neither texts nor labels"))
    return found


def _has_fractions(values: Sequence[Any]) -> bool:
    """Tell whether the first values are all numbers, some of them with a fraction."""
    numbers = [as_number(value) for value in values[:_GUESSED_FROM]]
    whole = [number is not None and (number.is_integer() or not math.isfinite(number)) for number in numbers]
    return None not in numbers and not all(whole)


def _guess(table: Table) -> tuple[str, str] | None:
    """Return the columns of texts and labels by their content; None where that does not tell them apart."""
    lengths: dict[str, float] = {}
    few: list[str] = []
    for name in table.columns:
        values = table.values(name)[:_GUESSED_FROM]
        strings = [value for value in values if isinstance(value, str)]
        distinct = len({str(value) for value in values})
        # What has fields of its own is no label.
        if any(isinstance(value, dict) for value in values):
            continue
        if 2 <= distinct <= len(values) // 2 and max(map(len, map(str, values))) <= LONGEST_LABEL:
            few.append(name)
        elif len(strings) == len(values):
            lengths[name] = sum(map(len, strings)) / max(1, len(strings))
    if len(few) != 1 or not lengths:
        return None
    longest = sorted(lengths, key=lambda name: -lengths[name])
    if len(longest) > 1 and lengths[longest[0]] < 2 * lengths[longest[1]]:
        return None
    return longest[0], few[0]


def check_texts(
    values: Sequence[Any],
    *,
    where: str,
    rows: Sequence[int] | None = None,
    fix_empty: str = _REPAIR,
    numbers: Sequence[int] | None = None,
    column: str | None = None,
) -> list[str]:
    """Return the texts of a column.

    Rows are counted from 1 in messages, a header left out.

    Args:
        values: A value a row of the column.
        where: The split's name, for messages.
        rows: The rows that are wanted, from 0; all by default.
        fix_empty: What to do about empty texts.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.
        column: The column's name, where there are several of texts.

    Raises:
        DataError: Some are not strings, are empty, or are not valid Unicode.
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
    place = "" if column is None else f" in {column!r}"
    for found, what, allowed, fix in (
        (odd, "not strings", "strings; or name another text column", _REPAIR),
        (empty, "empty", "texts with at least one visible character", fix_empty),
        (broken, "not valid Unicode (half of a surrogate pair)", "characters that UTF-8 can encode", _REPAIR),
    ):
        if found:
            errors.append(
                DataError(
                    f"{where}: {len(found)} of {len(values)} texts{place} are {what} "
                    f"({named_rows(found, numbers)}).",
                    value=None if found is empty else values[found[0]],
                    allowed=allowed,
                    fix=fix,
                )
            )
    raise_all(errors)
    return [values[row] for row in wanted]


def is_empty(value: Any) -> bool:
    """Tell whether there is no text: the value is missing, or shows no character."""
    if isinstance(value, str):
        return is_blank(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_encodable(text: str) -> bool:
    """Tell whether a text is valid Unicode, so that UTF-8 and a tokenizer can encode it."""
    return _SURROGATE.search(text) is None
