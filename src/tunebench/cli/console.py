"""What commands print with: rich on a terminal, plain lines in a pipe, JSON on demand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from tunebench.cli.streams import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tunebench.report.tables.render import ReportTable

out = Console(highlight=False, soft_wrap=not is_terminal())
err = Console(stderr=True, highlight=False)


def tell(line: str) -> None:
    """Say what is being done, on standard error."""
    err.print(line, markup=False)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def print_tables(tables: Iterable[ReportTable], *, style: str) -> None:
    """Print tables as text, Markdown, CSV or LaTeX."""
    from tunebench.report.tables.render import RENDERERS, to_rich

    for table in tables:
        if style == "text" and is_terminal():
            out.print(to_rich(table), "")
        else:
            sys.stdout.write(RENDERERS[style](table) + "\n")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table on a terminal, and as tab-separated text in a pipe."""
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    if not is_terminal():
        for line in [columns, *cells]:
            sys.stdout.write("\t".join(line) + "\n")
        return
    table = RichTable(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for line in cells:
        table.add_row(*(escape(text) for text in line))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return next(iter(str(value).splitlines()), "")  # an empty text has no line
