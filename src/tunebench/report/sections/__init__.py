"""The sections of the HTML report, in the order of the page."""

from __future__ import annotations

# isort: off
from tunebench.report.sections import overview  # noqa: F401
from tunebench.report.sections import charts  # noqa: F401
from tunebench.report.sections import quality  # noqa: F401
from tunebench.report.sections import texts  # noqa: F401
from tunebench.report.sections import numbers  # noqa: F401
from tunebench.report.sections import runs  # noqa: F401
from tunebench.report.sections.registry import SECTIONS, Section, section
# isort: on

__all__ = ["SECTIONS", "Section", "section"]
