"""Excel workbooks (``.xlsx``): the first sheet, whose first row names the columns."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import Any

from tunebench.data.reading import PassedOver
from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table
from tunebench.errors import DataError, MissingExtraError, first_line
from tunebench.formatting import listed


def read_xlsx(raw: bytes, place: str, options: ReadOptions | None = None) -> Table:
    """Read the first sheet of a workbook; formulas count as the values that were last computed.

    Raises:
        DataError: It is not a workbook.
        MissingExtraError: ``openpyxl`` is not installed.
    """
    if not raw:
        raise DataError("The file is empty.", value=place)
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError("openpyxl", "excel") from None
    try:
        with warnings.catch_warnings():
            # Of styles and extensions that it does not keep; values are all that is wanted.
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
            rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, IndexError) as error:
        raise DataError(f"The file cannot be read as an Excel workbook: {first_line(error)}", value=place) from None
    filled = [row for row in rows if any(value is not None for value in row)]
    blank = len(rows) - len(filled)
    names = [str(value).strip() if value is not None else "" for value in (filled[0] if filled else [])]
    positions = {name: i for i, name in reversed(list(enumerate(names))) if name}
    return Table(
        tuple(name for name in names if name),
        max(0, len(filled) - 1),
        lambda name: [_value(row, positions[name]) for row in filled[1:]],
        how=(f"sheet {book.worksheets[0].title!r}",),
        passed_over=tuple(_passed_over(names, filled[1:], blank, [sheet.title for sheet in book.worksheets[1:]])),
    )


def _value(row: list[Any], position: int) -> Any:
    return row[position] if position < len(row) else None


def _passed_over(names: list[str], rows: list[list[Any]], blank: int, sheets: list[str]) -> list[PassedOver]:
    found = []
    if sheets:
        found.append(PassedOver(f"sheets {listed(sheets)}", "only the first sheet is read"))
    if blank:
        found.append(PassedOver(f"{blank} rows", "they are empty"))
    for position, name in enumerate(names):
        filled = 0 if name else sum(_value(row, position) is not None for row in rows)
        if filled:
            found.append(PassedOver(f"column {position + 1}", f"it has no name; {filled} of its cells are filled"))
    return found
