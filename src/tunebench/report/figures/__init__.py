"""The figures of a comparison, in the order of a report, and those of single runs.

To add one: a function under ``@register`` in a file beside this, and import the file here. The tests run over the
registry.
"""

from __future__ import annotations

# isort: off
from tunebench.report.figures import scores  # noqa: F401
from tunebench.report.figures import training  # noqa: F401
from tunebench.report.figures import recipe  # noqa: F401
from tunebench.report.figures import statistics  # noqa: F401
from tunebench.report.figures import numbers  # noqa: F401
from tunebench.report.figures.registry import FIGURES, FigureMaker, figures_of, save_figures
# isort: on

__all__ = ["FIGURES", "FigureMaker", "figures_of", "save_figures"]
