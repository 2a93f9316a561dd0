"""The figures of a suite: mean scores against time, differences from the best, and scores on each data set.

A figure shows one panel a training size. A new one is one function under ``@_register``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunebench.analysis.costs import COSTS
from tunebench.analysis.evidence import POINTS
from tunebench.analysis.suite import AtSize, SuiteAnalysis
from tunebench.analysis.suite_words import with_labels
from tunebench.formatting import common_unit, counted
from tunebench.report.figures.style import (
    GREY,
    Style,
    footnote,
    head,
    legend_beside,
    look,
    new_figure,
    plain_log_ticks,
    save,
    say_nothing_to_show,
    styles,
)
from tunebench.stats import MetaMean, Refusal, on_front

DrawFunction = Callable[[SuiteAnalysis, dict[str, Axes]], list[str]]

#: Of a panel in inches: its width, the height of what is no row, and that of a row.
_WIDTH, _FRAME, _ROW = 4.2, 1.5, 0.27


@dataclass(frozen=True)
class SuiteFigure:
    """A figure of a suite; calling it draws it.

    Attributes:
        title: Heading.
        draw: Draws into the panels, and returns what explains the marks.
        rows: How many rows a panel has; None for a panel that has none.
        legend: Whether marks are explained beside the panels; where each strategy is a row, they need not be.
    """

    title: str
    draw: DrawFunction
    rows: Callable[[AtSize], int] | None
    legend: bool

    def __call__(self, suite: SuiteAnalysis) -> Figure:
        """Draw the figure; a suite without scores gives one that says so."""
        with look():
            sizes = list(suite.at.values())
            rows = 8 if self.rows is None else max(map(self.rows, sizes), default=1)
            figure = new_figure(1.6 + _WIDTH * max(1, len(sizes)), max(2.6, _FRAME + _ROW * rows))
            panels = figure.subplots(1, max(1, len(sizes)), squeeze=False, sharey=self.rows is None)[0]
            if not sizes:
                say_nothing_to_show(panels[0])
            for at, axes in zip(sizes, panels, strict=False):
                over = counted(len(at.data_sets), "data set")
                axes.set_title(f"{with_labels(at.size)}, {over}", parse_math=False)
            notes = self.draw(suite, {at.size: axes for at, axes in zip(sizes, panels, strict=False)})
            if self.legend:
                legend_beside(figure, [style.line(label, ls="") for label, style in styles(suite.labels).items()])
            footnote(figure, notes)
            head(figure, f"{self.title}: {suite.name}")
            return figure


#: All figures by name, in the order of the folder's listing.
SUITE_FIGURES: dict[str, SuiteFigure] = {}


def _register(
    name: str, title: str, *, rows: Callable[[AtSize], int] | None = None, legend: bool = True
) -> Callable[[DrawFunction], DrawFunction]:
    def add(function: DrawFunction) -> DrawFunction:
        SUITE_FIGURES[name] = SuiteFigure(title, function, rows, legend)
        return function

    return add


def save_suite_figures(suite: SuiteAnalysis, folder: Path) -> list[Path]:
    """Write every figure as ``<name>.png`` and ``<name>.svg``; return the paths."""
    return [path for name, maker in SUITE_FIGURES.items() for path in save(maker(suite), folder / name)]


@_register("mean_scores", "Mean score and training time")
def mean_scores(suite: SuiteAnalysis, panels: dict[str, Axes]) -> list[str]:
    """Draw mean scores over data sets against mean training times, with a line through the best for their time."""
    look_of, kind, metric = styles(suite.labels), COSTS["train_seconds"], suite.metric
    for size, axes in panels.items():
        at = suite.at[size]
        seconds = at.costs("train_seconds")
        means = dict(zip(at.everywhere, at.merits.mean(0), strict=True))
        shown = [label for label in at.everywhere if label in seconds]
        spent = [seconds[label] for label in shown]
        per, unit = common_unit(spent, kind.units)
        for label in shown:
            style = look_of[label]
            point = seconds[label] / per, means[label] * metric.sign
            axes.plot(*point, ls="", color=style.color, marker=style.marker, ms=8)
        front = on_front(np.array([means[label] for label in shown]), np.array([seconds[label] for label in shown]))
        best = sorted((label for label, there in zip(shown, front, strict=True) if there), key=seconds.__getitem__)
        axes.plot(
            [seconds[label] / per for label in best],
            [means[label] * metric.sign for label in best],
            color=GREY,
            lw=1,
            zorder=0,
        )
        if spent and max(spent) > 3 * min(spent) > 0:
            axes.set_xscale("log")
            plain_log_ticks(axes.xaxis)
        axes.set_xlabel(f"Mean {kind.label.lower()} ({unit})")
        if not shown:
            say_nothing_to_show(axes, "no strategy has scores and times on all data sets")
        axes.set_ylabel(f"Mean {metric.label} on test")
        axes.label_outer(remove_inner_ticks=False)
    return [
        "Means over data sets of the strategies that all of them have. The line joins those that no other one "
        "beats in both score and time.",
    ]


@_register("mean_differences", "Mean difference from the best", rows=lambda at: len(at.tests) + 1, legend=False)
def mean_differences(suite: SuiteAnalysis, panels: dict[str, Axes]) -> list[str]:
    """Draw each strategy's mean difference from the best, with its intervals and each data set's difference."""
    look_of, metric = styles(suite.labels), suite.metric
    for size, axes in panels.items():
        at = suite.at[size]
        labels = [label for label in at.others if label in at.tests]
        if at.best is None or not labels:
            say_nothing_to_show(axes, "no strategy to compare with the best")
            continue
        within = suite.margin / POINTS * metric.scale
        axes.axvspan(-within, within, color="0.9", zorder=0)
        axes.axvline(0, color=GREY, lw=1)
        for row, label in enumerate(labels):
            pair = at.pair(label, at.best)
            if pair is None or isinstance(pair.mean, Refusal):
                continue
            _mean_row(
                axes, row, pair.mean, [one.difference.estimate for one in pair.on], look_of[label], metric.scale
            )
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(f"minus {at.best} ({metric.difference_unit})", parse_math=False)
    return [
        "Mean differences over data sets with their 95 % intervals (random effects). Small marks: each data set. "
        f"Shaded: the margin of {metric.show_margin(suite.margin)}.",
    ]


def _mean_row(axes: Axes, row: int, mean: MetaMean, on: list[float], style: Style, scale: float) -> None:
    """Draw the mean difference of a strategy, and that of each data set under it."""
    interval = mean.as_difference().interval
    axes.plot([scale * value for value in on], [row + 0.25] * len(on), ls="", color="0.55", marker="|", ms=6)
    axes.plot([scale * interval.low, scale * interval.high], [row, row], color=style.color, lw=2.5, zorder=2)
    axes.plot(scale * mean.estimate, row, color=style.color, marker=style.marker, ms=7, zorder=3)


@_register("scores", "Scores on each data set", rows=lambda at: len(at.data_sets) + 1)
def scores(suite: SuiteAnalysis, panels: dict[str, Axes]) -> list[str]:
    """Draw the score of every strategy on every data set."""
    look_of, metric = styles(suite.labels), suite.metric
    for size, axes in panels.items():
        entries = suite.at[size].entries
        for row, own in enumerate(entries.values()):
            for label, entry in own.items():
                style = look_of[label]
                axes.plot(entry.interval().estimate, row, ls="", color=style.color, marker=style.marker, mfc="none")
        axes.set_yticks(range(len(entries)), list(entries), parse_math=False)
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlabel(f"{metric.heading} on test")
    return []
