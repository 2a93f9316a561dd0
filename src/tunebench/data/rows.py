"""Which rows of a table are used: the sound ones, less what the user leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunebench.data.columns import check_texts, is_empty
from tunebench.data.groups import read_groups
from tunebench.data.inputs import Inputs
from tunebench.data.labels import KeptLabels
from tunebench.data.reading import PassedOver, named_rows
from tunebench.data.reference import DataConfig
from tunebench.data.table import Table
from tunebench.data.target import Cleaner
from tunebench.data.text import Text
from tunebench.data.times import read_times
from tunebench.data.types import Time
from tunebench.data.used_rows import UsedRows
from tunebench.errors import DataError, TunebenchError, raise_all

#: Calls a function, and keeps its error instead of raising it; returns ``None`` then.
Catch = Callable[[Callable[[], Any]], Any]

_FIX_EMPTY = (
    "repair these rows, or leave them out: data.texts.empty: drop in the study, or --set data.texts.empty=drop"
)


@dataclass(frozen=True)
class Rows:
    """The rows of one split that are used; rows read are these and those left out.

    Attributes:
        texts: Their texts; ``None`` where some are not sound.
        labels: Their labels; ``None`` where some are not sound.
        left_out: Rows that are not used, by reason.
        groups: Their groups; ``None`` where no column names them, or some are not sound.
        times: Their times; ``None`` likewise.
        notes: What the user should know of the texts, one sentence each.
    """

    texts: list[Text] | None
    labels: KeptLabels[Any] | None
    left_out: tuple[PassedOver, ...] = ()
    groups: list[str] | None = None
    times: list[Time] | None = None
    notes: tuple[str, ...] = ()


def read_rows(
    table: Table,
    inputs: Inputs,
    label_values: Sequence[Any],
    *,
    where: str,
    config: DataConfig,
    clean: Cleaner,
    catch: Catch,
) -> Rows:
    """Check the texts and labels of one split.

    Args:
        table: Its rows.
        inputs: The columns of texts.
        label_values: Its column of labels.
        where: The split's name, for messages.
        config: What is to be left out.
        clean: Checks the labels.
        catch: Keeps errors, so that those of texts and labels can be reported together.
    """
    columns, numbers = {name: table.values(name) for name in inputs.columns}, table.numbers
    labels: KeptLabels[Any] | None = catch(lambda: clean(label_values, where=where, numbers=numbers))
    kept = range(table.rows) if labels is None else labels.rows
    left_out = () if labels is None else labels.left_out
    if config.texts.empty == "drop":
        lacks = any if inputs.pair else all
        empty = {row for row in kept if lacks(is_empty(values[row]) for values in columns.values())}
        if empty:
            what = "a text of the pair" if inputs.pair else "the text"
            why = f"{what} is empty; left out by data.texts.empty: drop"
            left_out = (*left_out, PassedOver(f"{len(empty)} of {table.rows} rows of {where}", why))
            kept = [row for row in kept if row not in empty]
            labels = None if labels is None else labels.less(empty)
    texts = catch(lambda: _texts(inputs, columns, kept, where, numbers))

    def used(column: str | None) -> UsedRows | None:
        if column is None or column not in table.columns:
            return None
        return UsedRows(table.values(column), kept, column, where, numbers)

    groups, times = used(config.group_column), used(config.time_column)
    return Rows(
        texts,
        labels,
        left_out,
        groups=None if groups is None else catch(partial(read_groups, groups)),
        times=None if times is None else catch(partial(read_times, times)),
        notes=() if inputs.join is None else _missing_notes(columns, kept, where, numbers),
    )


def _texts(
    inputs: Inputs,
    columns: dict[str, list[Any]],
    rows: Sequence[int],
    where: str,
    numbers: Sequence[int] | None,
) -> list[Text]:
    if not len(rows):
        raise DataError(f"{where}: every row is left out by data.labels and data.texts.", fix="change these keys")
    errors, checked = [], []
    for name, values in columns.items():
        # What is joined may lack a part.
        wanted = rows if inputs.join is None else [row for row in rows if not is_empty(values[row])]
        column = name if len(columns) > 1 else None
        options: dict[str, Any] = {"where": where, "fix_empty": _FIX_EMPTY, "numbers": numbers, "column": column}
        try:
            checked.append(check_texts(values, rows=wanted, **options))
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    if inputs.join is None:
        return inputs.texts(checked)
    parts = [["" if is_empty(values[row]) else values[row] for row in rows] for values in columns.values()]
    joined: list[Any] = [None] * len(columns[inputs.columns[0]])
    for row, text, *some in zip(rows, inputs.texts(parts), *parts, strict=True):
        joined[row] = text if any(some) else None
    return list(check_texts(joined, where=where, rows=rows, fix_empty=_FIX_EMPTY, numbers=numbers))


def _missing_notes(
    columns: dict[str, list[Any]], rows: Sequence[int], where: str, numbers: Sequence[int] | None
) -> tuple[str, ...]:
    """Say where texts that are joined lack a column, though not all of them."""
    whole = [row for row in rows if not all(is_empty(values[row]) for values in columns.values())]
    notes = []
    for name, values in columns.items():
        lacking = [row for row in whole if is_empty(values[row])]
        if lacking:
            notes.append(
                f"{where}: {len(lacking)} of {len(rows)} texts have no {name!r} ({named_rows(lacking, numbers)}); "
                "its place in the joined text is left empty."
            )
    return tuple(notes)
