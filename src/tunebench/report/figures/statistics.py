"""Figures of what the statistics say: costs, differences, learning curves, reliability."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.evidence import POINTS
from tunebench.analysis.quality import shown_bins
from tunebench.analysis.warnings import OPTIMISTIC, not_shown
from tunebench.report.axis import domain
from tunebench.report.figures.panels import (
    NOTHING,
    bar,
    finished,
    legend_of,
    panels_by_size,
    panels_of_lines,
    said_of_bars,
    too_many,
)
from tunebench.report.figures.registry import register
from tunebench.report.figures.style import (
    GREY,
    footnote,
    new_figure,
    say_nothing_to_show,
    styles,
)
from tunebench.stats import Interval, Refusal, score_at


def predicted(analysis: Analysis) -> bool:
    """Tell whether selected runs have test predictions, from which intervals are computed."""
    return bool(analysis.entries)


@register("score_by_parameters", "Score by trainable parameters", applies=predicted)
def score_by_parameters(analysis: Analysis) -> Figure:
    """Draw the score on test with 95 % intervals against trainable parameters, one panel a size, with the front."""
    comparison = analysis.comparison
    figure, panels = panels_by_size(comparison, "Trainable parameters (log scale)", comparison.on_test)
    look_of = styles(comparison.labels)
    drawn: list[Interval] = []
    for size, axes in panels.items():
        points = analysis.fronts.get((size, "trainable_params"), [])
        for point in points:
            style, score = look_of[point.config.label], analysis.interval(point.config, comparison.metric)
            assert score is not None
            drawn.append(score)
            lengths = bar((score.estimate, score.low, score.high))
            axes.errorbar(
                [point.cost], [score.estimate], lengths, color=style.color, marker=style.marker, capsize=3, lw=1.2
            )
        front = sorted((p.cost, p.score) for p in points if p.on_front)
        if len(front) > 1:
            axes.plot(*zip(*front, strict=True), color=GREY, ls=":", lw=1, zorder=0, drawstyle="steps-post")
        if points:
            axes.set_xscale("log")
        else:
            say_nothing_to_show(axes, NOTHING)
    if drawn:
        middles = [score.estimate for score in drawn]
        figure.axes[0].set_ylim(domain(middles, [(score.low, score.high) for score in drawn]))
    bars = said_of_bars(((score.low, score.high) for score in drawn), figure.axes[0].get_ylim())
    return finished(figure, comparison, legend_of(comparison), [bars, "Dotted: Pareto front."])


@register("differences", "Differences of scores", applies=lambda analysis: bool(analysis.pairs))
def differences(analysis: Analysis) -> Figure:
    """Draw every compared pair's difference with its 95 % interval, and the margin of equivalence."""
    comparison = analysis.comparison
    pairs = analysis.pairs
    figure = new_figure(8.2, 1.8 + 0.34 * max(2, len(pairs)))
    axes = figure.subplots()
    metric = comparison.measure
    margin = comparison.margin / POINTS * metric.scale
    axes.axvspan(-margin, margin, color="0.9", lw=0)
    axes.axvline(0, color=GREY, lw=0.8)
    marks = {"equivalent": "o", "different": "D", "inconclusive": "s"}
    for place, pair in enumerate(pairs):
        found = pair.difference.interval
        middle, low, high = (value * metric.scale for value in (found.estimate, found.low, found.high))
        marker = marks.get(pair.verdict.verdict, "^")
        color = "#0072B2" if pair.verdict.verdict != "inconclusive" else "#999999"
        axes.errorbar([middle], [place], xerr=bar((middle, low, high)), color=color, marker=marker, capsize=3)
    axes.set_yticks(
        range(len(pairs)),
        [f"{p.first.label} − {p.second.label}, {p.first.train_size:,}: {p.verdict.verdict}" for p in pairs],
    )
    axes.invert_yaxis()
    unit = f" ({metric.difference_unit})" if metric.difference_unit else ""
    axes.set_xlabel(f"Difference of {metric.label} on test{unit}")
    axes.set_ylabel("Pair, labels")
    shown = [pair.difference.interval for pair in pairs]
    ends = [(one.low * metric.scale, one.high * metric.scale) for one in shown]
    if pairs:
        low, high = domain([0.0, *(one.estimate for one in shown)], [(one.low, one.high) for one in shown])
        axes.set_xlim(low * metric.scale, high * metric.scale)
    else:
        say_nothing_to_show(axes, "fewer than two strategies with test predictions")
    lines = [
        f"Grey: the margin, {metric.show_margin(comparison.margin)}. {said_of_bars(ends, axes.get_xlim())} "
        "Verdicts after Holm's correction."
    ]
    lines += [OPTIMISTIC] if comparison.selection == "test" else []
    footnote(figure, lines + not_shown(comparison))
    return figure


def fitted(analysis: Analysis) -> bool:
    """Tell whether a learning curve was fitted to some strategy's scores."""
    return any(not isinstance(curve.fit, Refusal) for curve in analysis.curves)


@register("learning_curves", "Score by labels, with fitted curves", applies=fitted)
def learning_curves(analysis: Analysis) -> Figure:
    """Draw the score of single runs against labels, and the fitted power law with its 95 % band."""
    comparison = analysis.comparison
    figure = new_figure(8.2, 4.4)
    axes = figure.subplots()
    look_of = styles(comparison.labels)
    metric = comparison.measure
    refused: dict[str, list[str]] = {}
    for curve in analysis.curves:
        style = look_of[curve.label]
        groups = [g for g in comparison.groups() if g.label == curve.label and g.selected is not None]
        cells = [cell for group in groups if group.selected for cell in group.selected.scored]
        scores = [(cell.spec.train_size, cell.score(metric.name)) for cell in cells]
        runs = [(size, score) for size, score in scores if score is not None]
        if runs:
            axes.plot(*zip(*runs, strict=True), ls="", marker=style.marker, ms=5, color=style.color, alpha=0.8)
        if isinstance(curve.fit, Refusal):
            refused.setdefault(curve.fit.reason, []).append(curve.label)
        else:
            sizes = np.geomspace(curve.fit.sizes[0], curve.fit.sizes[-1] * 2, 60)
            values = [score_at(curve.fit, float(size)) for size in sizes]
            known = [(s, v) for s, v in zip(sizes, values, strict=True) if not isinstance(v, Refusal)]
            x = [size for size, _ in known]
            middle, low, high = (
                [metric.rising(getattr(v, name)) for _, v in known] for name in ("estimate", "low", "high")
            )
            axes.plot(x, middle, color=style.color, ls=style.dashes)
            axes.fill_between(x, low, high, color=style.color, alpha=0.12, lw=0)
    if axes.lines:
        axes.set_xscale("log")
        axes.set_xticks(comparison.sizes, [f"{size:,}" for size in comparison.sizes])
        axes.set_xticks([], minor=True)
    else:
        say_nothing_to_show(axes)
    axes.set_xlabel("Labels (log scale)")
    axes.set_ylabel(comparison.on_test)
    notes = []
    if sum(map(len, refused.values())) < len(comparison.labels):
        notes.append("Lines: power law, drawn to twice the largest size; bands: 95 % by a parametric bootstrap.")
    for reason, labels in refused.items():
        whose = "is fitted" if labels == comparison.labels else f"for {', '.join(labels)}"
        notes.append(f"No curve {whose} ({reason}).")
    return finished(figure, comparison, legend_of(comparison), notes)


def calibrated(analysis: Analysis) -> bool:
    """Tell whether predictions have probabilities: those of labels."""
    return predicted(analysis) and analysis.comparison.task.labelled


@register("reliability", "Reliability of the probabilities", applies=calibrated)
def reliability(analysis: Analysis) -> Figure:
    """Draw how often predictions are right against their confidence; first seed.

    One panel a size; one a strategy where there are many. Of several labels a text: how often a label is there,
    against its probability.
    """
    comparison = analysis.comparison
    exclusive = comparison.task.exclusive
    x, y = ("Confidence", "Share that is right") if exclusive else ("Probability", "Share that has the label")
    figure, panels = panels_of_lines(comparison, f"{x} (mean of the bin)", y)
    look_of = styles(comparison.labels)
    for entry, found in analysis.calibrations:
        style, axes = look_of[entry.label], panels[entry.label, entry.train_size]
        bins = shown_bins(found[0])
        axes.plot(
            [b.confidence for b in bins if b.confidence is not None],
            [b.accuracy.estimate for b in bins if b.accuracy is not None],
            color=style.color,
            marker=style.marker,
            ms=4,
            ls=style.dashes,
            lw=1,
        )
        lowest = 1 / entry.classes if exclusive else 0.0
        axes.plot([lowest, 1], [lowest, 1], color=GREY, ls=":", lw=1)
    for axes in figure.axes:
        if not axes.lines:
            say_nothing_to_show(axes, "no test predictions")
    cut = "15 bins of equal numbers of texts" if exclusive else "All labels together, 15 bins of equal width"
    notes = [f"Dotted: perfect calibration. {cut}, first seed."]
    return finished(figure, comparison, [] if too_many(comparison) else legend_of(comparison), notes)
