"""The sections of the HTML report and their parts, in the order of the page."""

from __future__ import annotations

# isort: off
from tunebench.report.sections import answer  # noqa: F401
from tunebench.report.sections import charts  # noqa: F401
from tunebench.report.sections import quality  # noqa: F401
from tunebench.report.sections import texts  # noqa: F401
from tunebench.report.sections import label_texts  # noqa: F401
from tunebench.report.sections import numbers  # noqa: F401
from tunebench.report.sections import setup  # noqa: F401
from tunebench.report.sections import runs  # noqa: F401
from tunebench.report.sections.registry import PARTS, SECTIONS, Part, Section, part, section_of
# isort: on

__all__ = ["PARTS", "SECTIONS", "Part", "Section", "part", "section_of"]
