"""Figures of several panels: one a training size, or one a strategy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.warnings import OPTIMISTIC, not_shown
from tunebench.report.figures.style import footnote, legend_beside, new_figure, styles

#: A gap in a legend.
BLANK = Line2D([], [], ls="", label="")


#: What a bar is, in every figure.
_BARS = "Bars: 95 % intervals over test texts, and over seeds where there are several."
#: Said in a panel without what it compares.
NOTHING = "no selected run with test predictions"


#: More lines than these in one panel cannot be told apart.
_FEW = 6
#: A length that no axis holds, and that can be drawn.
_FAR = 1e9
#: Panels beside each other where each strategy has one.
_ACROSS = 4


def bar(*drawn: tuple[float, float, float]) -> list[list[float]]:
    """Return the lengths of the bars of some intervals, below and above, as matplotlib takes them.

    Where an interval has no end, the bar goes on far beyond any axis.

    Args:
        drawn: Estimate and ends of each.
    """
    return [
        [min(middle - low, _FAR) for middle, low, _ in drawn],
        [min(high - middle, _FAR) for middle, _, high in drawn],
    ]


def said_of_bars(ends: Iterable[tuple[float, float]], limits: tuple[float, float]) -> str:
    """Return what a bar is, and that it continues where an axis cuts one.

    Args:
        ends: Of the intervals, in units of the axis.
        limits: Of the axis.
    """
    cut = any(low < limits[0] or high > limits[1] for low, high in ends)
    return f"{_BARS} A bar at the edge continues." if cut else _BARS


def too_many(comparison: Comparison) -> bool:
    """Tell whether lines of all strategies in one panel could not be told apart: each gets a panel of its own."""
    return len(comparison.sizes) == 1 and len(comparison.labels) > _FEW


def panels_of_lines(comparison: Comparison, xlabel: str, ylabel: str) -> tuple[Figure, dict[tuple[str, int], Axes]]:
    """Return a figure, and its panel for every strategy and size: one a size, unless there are :func:`too_many`."""
    if too_many(comparison):
        figure, by_strategy = _panels_by_strategy(comparison, xlabel, ylabel)
        return figure, {(label, comparison.sizes[0]): axes for label, axes in by_strategy.items()}
    figure, by_size = panels_by_size(comparison, xlabel, ylabel)
    return figure, {(label, size): axes for label in comparison.labels for size, axes in by_size.items()}


def panels_by_size(comparison: Comparison, xlabel: str, ylabel: str) -> tuple[Figure, dict[int, Axes]]:
    """Return a figure with a panel a training size."""
    sizes = comparison.sizes
    across = min(3, len(sizes))
    down = -(-len(sizes) // across)
    figure = new_figure(3.1 + 3.3 * across, 1.6 + 2.9 * down)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    panels = dict(zip(sizes, grid.flat, strict=False))
    for size, axes in panels.items():
        axes.set_title(f"{size:,} examples")
        axes.set_xlabel(xlabel)
    for row in grid:
        row[0].set_ylabel(ylabel)
    for axes in grid.flat[len(sizes) :]:
        axes.remove()
    return figure, panels


def _panels_by_strategy(comparison: Comparison, xlabel: str, ylabel: str) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with a panel a strategy, all on the same axes."""
    labels = comparison.labels
    down = -(-len(labels) // _ACROSS)
    figure = new_figure(2.5 * _ACROSS, 1.2 + 2.05 * down)
    grid = figure.subplots(down, _ACROSS, sharex=True, sharey=True, squeeze=False)
    panels = dict(zip(labels, grid.flat, strict=False))
    for place, (label, axes) in enumerate(panels.items()):
        axes.set_title(label, parse_math=False)
        if place % _ACROSS == 0:
            axes.set_ylabel(ylabel)
        if place + _ACROSS >= len(labels):
            axes.set_xlabel(xlabel)
            axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(labels) :]:
        axes.remove()
    return figure, panels


def several_sizes(analysis: Analysis) -> bool:
    """Tell whether a comparison has more than one training size."""
    return len(analysis.comparison.sizes) > 1


def finished(
    figure: Figure,
    comparison: Comparison,
    entries: Sequence[Line2D],
    notes: Sequence[str] = (),
    *,
    scores: bool = True,
) -> Figure:
    """Add the legend outside of the panels, and under everything what a reader must know.

    Args:
        figure: The figure, drawn.
        comparison: What it shows.
        entries: Of the legend; none where panels name what they hold.
        notes: What explains the marks.
        scores: Whether it shows scores, of which a reader must know how they were selected.
    """
    if entries:
        legend_beside(figure, entries)
    lines = [*notes]
    if scores and comparison.selection == "test":
        lines.append(OPTIMISTIC)
    if not any(axes.lines for axes in figure.axes):
        for axes in figure.axes:
            axes.tick_params(axis="y", left=False, labelleft=False)
    lines += not_shown(comparison)
    footnote(figure, lines)
    return figure


def legend_of(comparison: Comparison) -> list[Line2D]:
    """Return the legend of all strategies."""
    return [style.line(label) for label, style in styles(comparison.labels).items()]


def configurations_of(comparison: Comparison) -> Iterator[Configuration]:
    """Yield the runs to show that have scores, by strategy."""
    for label in comparison.labels:
        yield from (config for config in configs_shown(comparison, label) if config.scored)


def configs_shown(comparison: Comparison, label: str) -> list[Configuration]:
    """Return what is shown of a strategy: the selected learning rates, or all."""
    return [config for group in comparison.groups() if group.label == label for config in group.shown]


def single_line(comparison: Comparison, label: str) -> bool:
    """Tell whether a strategy has one value a size; several learning rates are points, not a line."""
    return all(len(group.shown) == 1 for group in comparison.groups() if group.label == label)


def all_rates(comparison: Comparison) -> list[str]:
    """Return the note of a comparison in which no learning rate was chosen."""
    if all(single_line(comparison, label) for label in comparison.labels):
        return []
    return ["Several learning rates per strategy, none chosen: each is shown."]


def several_seeds(comparison: Comparison) -> bool:
    """Tell whether a strategy that is shown has runs of more than one seed."""
    return any(len(config.scored) > 1 for label in comparison.labels for config in configs_shown(comparison, label))
