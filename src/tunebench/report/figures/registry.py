"""The registry of figures of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from tunebench.analysis.analysis import Analysis
from tunebench.report.figures.style import head, look, save

DrawFunction = Callable[[Analysis], Figure]


@dataclass(frozen=True)
class FigureMaker:
    """A figure of the registry; calling it draws it.

    Attributes:
        title: Heading, and text where the picture cannot be seen.
        draw: Draws it, but for the heading.
        applies: Tells whether a comparison has what it is about; elsewhere it is left out.
    """

    title: str
    draw: DrawFunction
    applies: Callable[[Analysis], bool] = lambda analysis: True

    def __call__(self, analysis: Analysis) -> Figure:
        """Draw the figure; a comparison without finished runs gives a figure that says so."""
        with look():
            figure = self.draw(analysis)
            head(figure, f"{self.title}: {analysis.comparison.title}")
            return figure


#: All figures by name, in the order of a report. A new one is one function under ``@register``.
FIGURES: dict[str, FigureMaker] = {}


def register(
    name: str, title: str, *, applies: Callable[[Analysis], bool] = lambda analysis: True
) -> Callable[[DrawFunction], DrawFunction]:
    """Add a figure to the registry, under a name and with a heading; see :class:`FigureMaker`."""

    def add(function: DrawFunction) -> DrawFunction:
        FIGURES[name] = FigureMaker(title, function, applies)
        return function

    return add


def figures_of(analysis: Analysis) -> dict[str, FigureMaker]:
    """Return the figures of the registry that apply to a comparison."""
    return {name: maker for name, maker in FIGURES.items() if maker.applies(analysis)}


def save_figures(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every figure that applies as ``<name>.png`` and ``<name>.svg``; return the paths."""
    makers = figures_of(analysis).items()
    return [path for name, maker in makers for path in save(maker(analysis), folder / name)]
