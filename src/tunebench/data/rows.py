"""Which rows of a table are used: the sound ones, less what the user leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunebench.data.columns import check_texts, is_empty
from tunebench.data.groups import read_groups
from tunebench.data.label_sets import LabelSets
from tunebench.data.labels import Labels
from tunebench.data.reading import PassedOver
from tunebench.data.reference import DataConfig
from tunebench.data.table import Table
from tunebench.data.target import Cleaner
from tunebench.data.times import read_times
from tunebench.data.types import Time
from tunebench.data.used_rows import UsedRows
from tunebench.errors import DataError

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
    """

    texts: list[str] | None
    labels: Labels | LabelSets | None
    left_out: tuple[PassedOver, ...] = ()
    groups: list[str] | None = None
    times: list[Time] | None = None


def read_rows(
    table: Table,
    text_column: str,
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
        text_column: The column of texts.
        label_values: Its column of labels.
        where: The split's name, for messages.
        config: What is to be left out.
        clean: Checks the labels.
        catch: Keeps errors, so that those of texts and labels can be reported together.
    """
    values, numbers = table.values(text_column), table.numbers
    labels: Labels | LabelSets | None = catch(lambda: clean(label_values, where=where, numbers=numbers))
    kept = range(len(values)) if labels is None else labels.rows
    left_out = () if labels is None else labels.left_out
    if config.texts.empty == "drop":
        empty = {row for row in kept if is_empty(values[row])}
        if empty:
            why = "the text is empty; left out by data.texts.empty: drop"
            left_out = (*left_out, PassedOver(f"{len(empty)} of {len(values)} rows of {where}", why))
            kept = [row for row in kept if row not in empty]
            labels = None if labels is None else labels.less(empty)
    texts = catch(lambda: _texts(values, kept, where, numbers))

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
    )


def _texts(values: Sequence[Any], rows: Any, where: str, numbers: Sequence[int] | None) -> list[str]:
    if not len(rows):
        raise DataError(f"{where}: every row is left out by data.labels and data.texts.", fix="change these keys")
    return check_texts(values, where=where, rows=rows, fix_empty=_FIX_EMPTY, numbers=numbers)
