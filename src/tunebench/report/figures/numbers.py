"""Figures of predicted numbers: against the true ones, and what is left between them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.evidence import Entry
from tunebench.report.figures.panels import NOTHING, finished, legend_of, panels_by_size
from tunebench.report.figures.registry import register
from tunebench.report.figures.style import GREY, new_figure, say_nothing_to_show, styles
from tunebench.tasks.regression import QUANTILES

#: Panels beside each other, and most of them.
_ACROSS, _MOST = 4, 12


def _of_numbers(analysis: Analysis) -> bool:
    return not analysis.comparison.task.labelled


def _entries(analysis: Analysis) -> list[Entry]:
    """Return the entries of numbers, the largest size first."""
    found = analysis.entries if _of_numbers(analysis) else []
    return sorted(found, key=lambda entry: -entry.train_size)


@register("predicted_against_true", "Predicted against true numbers", applies=_of_numbers)
def predicted_against_true(analysis: Analysis) -> Figure:
    """Draw every test text by its true and its predicted number, one panel a strategy and size; first seed."""
    shown = _entries(analysis)[:_MOST]
    across = min(_ACROSS, max(1, len(shown)))
    down = -(-max(1, len(shown)) // across)
    figure = new_figure(1.2 + 2.7 * across, 1.2 + 2.7 * down)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    look_of = styles(analysis.comparison.labels)
    panels = list(grid.flat)
    for axes, entry in zip(panels, shown, strict=False):
        axes.plot(
            *(entry.labels, entry.predictions[0]),
            **{"ls": "", "marker": ".", "ms": 3, "mew": 0, "alpha": 0.35, "color": look_of[entry.label].color},
            rasterized=True,
        )
        ends = [float(entry.labels.min()), float(entry.labels.max())]
        axes.plot(ends, ends, color=GREY, ls=":", lw=1)
        axes.set_title(f"{entry.label}, {entry.train_size:,} examples", parse_math=False)
    for axes in panels[len(shown) :] if shown else ():
        axes.remove()
    if not shown:
        say_nothing_to_show(panels[0], NOTHING)
    name = analysis.comparison.cells[0].spec.data.label_names[:1]
    figure.supylabel("Predicted")
    lines = [f"Across: true {name[0] if name else 'numbers'}. Dotted: predicted = true. First seed."]
    hidden = len(_entries(analysis)) - len(shown)
    if hidden:
        lines.append(f"Not shown: {hidden} more, of smaller sizes.")
    return finished(figure, analysis.comparison, [], lines)


@register("residuals", "Residuals", applies=_of_numbers)
def residuals(analysis: Analysis) -> Figure:
    """Draw predicted less true numbers over the true ones: the mean and the middle 80 %, one panel a size."""
    comparison = analysis.comparison
    figure, panels = panels_by_size(comparison, "True number (mean of the part)", "Predicted - true")
    look_of = styles(comparison.labels)
    entries = _entries(analysis)
    for size, axes in panels.items():
        here = [entry for entry in entries if entry.train_size == size]
        for entry in here:
            style = look_of[entry.label]
            x, middle, low, high = _by_part(entry)
            axes.plot(x, middle, color=style.color, marker=style.marker, ms=4, ls=style.dashes)
            axes.fill_between(x, low, high, color=style.color, alpha=0.12, lw=0)
        if here:
            axes.axhline(0, color=GREY, ls=":", lw=1)
        else:
            say_nothing_to_show(axes, NOTHING)
    notes = [
        f"Lines: mean over the texts of each of up to {QUANTILES} parts of the true numbers, all seeds. Bands: the "
        "middle 80 % of them."
    ]
    return finished(figure, comparison, legend_of(comparison), notes)


def _by_part(entry: Entry) -> tuple[np.ndarray, ...]:
    """Return the mean true number of each part, and mean, 10 % and 90 % of the residuals in it."""
    part = entry.task.strata(entry.labels).argmax(1)
    off = entry.predictions - entry.labels
    rows = [
        (
            entry.labels[part == one].mean(),
            off[:, part == one].mean(),
            *np.quantile(off[:, part == one], (0.1, 0.9)),
        )
        for one in np.unique(part)
    ]
    return tuple(np.array(rows).T)
