"""The tables of a comparison, in the order of a report.

To add one: a function under ``@register`` in a file beside this, and import the file here. The tests run over the
registry.
"""

from __future__ import annotations

# isort: off
from tunebench.report.tables import data  # noqa: F401
from tunebench.report.tables import scores  # noqa: F401
from tunebench.report.tables import statistics  # noqa: F401
from tunebench.report.tables import curves  # noqa: F401
from tunebench.report.tables import quality  # noqa: F401
from tunebench.report.tables import variance  # noqa: F401
from tunebench.report.tables import tuning  # noqa: F401
from tunebench.report.tables import labels  # noqa: F401
from tunebench.report.tables import numbers  # noqa: F401
from tunebench.report.tables import runs  # noqa: F401
from tunebench.report.tables.registry import TABLES, make_tables, tables_of
from tunebench.report.tables.render import Column, ReportTable
# isort: on

__all__ = ["TABLES", "Column", "ReportTable", "make_tables", "tables_of"]
