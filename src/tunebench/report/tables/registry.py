"""The registry of tables of a comparison, and the columns that many of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.errors import ConfigError
from tunebench.formatting import integer, learning_rate
from tunebench.report.tables.render import Column, Table

TableFunction = Callable[[Analysis], Table]

#: All tables by name, in the order of a report. A new one is one function under ``@register``.
TABLES: dict[str, TableFunction] = {}


def plain_words(status: str) -> str:
    """Return a status as words: ``out_of_memory`` is ``out of memory``."""
    return status.replace("_", " ")


def _some(words: str, limit: int = 4) -> str:
    found = words.split()
    return ", ".join(found if len(found) <= limit else [*found[: limit - 1], "…", found[-1]])


STRATEGY = Column("strategy", "Strategy", align="left")
SIZE = Column("train_size", "Size", show=integer)
RATE = Column("learning_rate", "Rate", show=learning_rate)
N = Column("n", "n")
STATUS = Column("status", "Status", align="left", show=plain_words)
SEEDS = Column("seeds", "Seeds", align="left", show=_some)
SELECTION = Column("selection", "Selection", csv_only=True)


def register(name: str) -> Callable[[TableFunction], TableFunction]:
    """Add a table to the registry, under a name."""

    def add(function: TableFunction) -> TableFunction:
        TABLES[name] = function
        return function

    return add


def make_tables(analysis: Analysis, names: Sequence[str] | None = None) -> list[Table]:
    """Return the named tables, or every table of the registry in its order.

    Raises:
        ConfigError: A name is none.
    """
    unknown = [name for name in names or () if name not in TABLES]
    if unknown:
        raise ConfigError("There is no such table.", value=", ".join(unknown), allowed=", ".join(TABLES))
    return [TABLES[name](analysis) for name in names or TABLES]


def made(
    name: str,
    title: str,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    comparison: Comparison,
    notes: list[str],
) -> Table:
    """Finish a table: columns of published values go where no cell has one."""
    rows = [row | {"selection": comparison.selection} for row in rows]
    known = {key for row in rows for key, value in row.items() if value is not None}
    optional = ("published_", "selection_macro_f1", "error")
    kept = tuple(c for c in columns if c.key in known or not c.key.startswith(optional))
    heading = f"{title}: {comparison.title}"
    return Table(name, heading, kept, tuple(rows), tuple(dict.fromkeys((*notes, *comparison.notes))))
