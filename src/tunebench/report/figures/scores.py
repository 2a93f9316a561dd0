"""Figures of the score on test: by training size, and against time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, MeanOverSeeds
from tunebench.analysis.time_warnings import shared_machine
from tunebench.report.axis import domain
from tunebench.report.figures.panels import (
    BLANK,
    all_rates,
    bar,
    configs_shown,
    finished,
    said_of_bars,
    several_seeds,
    several_sizes,
    single_line,
)
from tunebench.report.figures.registry import register
from tunebench.report.figures.style import (
    GREY,
    new_figure,
    plain_log_ticks,
    say_nothing_to_show,
    styles,
)
from tunebench.stats import Interval
from tunebench.tasks.metrics import DEFAULT_METRIC


@register("score_by_size", "Score by training size", applies=several_sizes)
def score_by_size(analysis: Analysis) -> Figure:
    """Draw the score on the test split against training size, with published values hollow."""
    comparison = analysis.comparison
    metric = comparison.measure

    def points(config: Configuration) -> _Points | None:
        found = config.summary(metric.name)
        return None if found is None else _Points(found, analysis.interval(config, metric.name))

    return _by_size(comparison, points, metric.name, comparison.on_test, log=False)


def _has_ratio(analysis: Analysis) -> bool:
    """Tell whether a score may be divided by parameters: an error may not, since both should be small."""
    return several_sizes(analysis) and analysis.comparison.measure.direction == "max"


@register("score_per_million_by_size", "Score per million trainable parameters", applies=_has_ratio)
def score_per_million_by_size(analysis: Analysis) -> Figure:
    """Draw the score per million trainable parameters against training size, on a log axis."""
    comparison = analysis.comparison
    metric = comparison.measure
    heading = f"{metric.heading} per million\ntrainable parameters (log scale)"
    column = "per_million" if metric.name == DEFAULT_METRIC else ""

    def points(config: Configuration) -> _Points | None:
        found = config.per_million(metric.name)
        score = analysis.interval(config, metric.name)
        count = config.scored[0].row["trainable_params"] if found is not None else None
        return None if found is None else _Points(found, score, 1e6 / count if count else 1.0)

    return _by_size(comparison, points, column, heading, log=True)


@register("score_by_train_time", "Score by training time")
def score_by_train_time(analysis: Analysis) -> Figure:
    """Draw the score on test against minutes of training, evaluation left out; larger means more data."""
    comparison = analysis.comparison
    figure = new_figure(8.2, 4.6)
    axes = figure.subplots()
    look_of = styles(comparison.labels)
    several = len(comparison.sizes) > 1
    area = dict(zip(comparison.sizes, np.linspace(4.5 if several else 7, 10, len(comparison.sizes)), strict=True))
    minutes: list[float] = []
    for label in comparison.labels:
        style = look_of[label]
        path = []
        for config in configs_shown(comparison, label):
            time, f1 = config.minutes("train_seconds"), config.summary(comparison.metric)
            if time is None or f1 is None:
                continue
            minutes += time.values
            path.append((time.mean, f1.mean))
            mark: dict[str, Any] = {
                "ls": "",
                "marker": style.marker,
                "color": style.color,
                "ms": area[config.train_size],
            }
            axes.plot([time.mean], [f1.mean], **mark, mec="white", mew=0.6, zorder=3)
            if len(f1.values) > 1 and len(f1.values) == len(time.values):
                axes.plot(time.values, f1.values, ls="", marker=".", ms=3, color=style.color, alpha=0.5)
        if path and single_line(comparison, label):
            axes.plot(*zip(*path, strict=True), color=style.color, ls=style.dashes, lw=1, alpha=0.7)
    axes.set_xlabel("Training time without evaluation (min)")
    axes.set_ylabel(comparison.on_test)
    axes.margins(0.08)
    if not minutes:
        say_nothing_to_show(axes)
    elif min(minutes) > 0 and max(minutes) / min(minutes) > 8:
        axes.set_xscale("log")
        axes.set_xlabel("Training time without evaluation (min, log scale)")
        plain_log_ticks(axes.xaxis)
    entries = [look_of[label].line(label, ls="-") for label in comparison.labels]
    sizes = [
        Line2D([], [], ls="", marker="o", color=GREY, ms=area[size], label=f"{size:,} examples")
        for size in comparison.sizes
    ]
    notes = ["Small dots: single seeds."] if several_seeds(comparison) else []
    notes += [*shared_machine(comparison), *all_rates(comparison)]
    return finished(figure, comparison, [*entries, BLANK, *sizes], notes)


@dataclass(frozen=True)
class _Points:
    """What stands at one size: single seeds, and the interval of their mean, in units of ``per``."""

    seeds: MeanOverSeeds
    interval: Interval | None
    per: float = 1.0

    @property
    def middle(self) -> float:
        return self.seeds.mean if self.interval is None else self.interval.estimate * self.per

    @property
    def ends(self) -> tuple[float, float] | None:
        return None if self.interval is None else (self.interval.low * self.per, self.interval.high * self.per)


@dataclass(frozen=True)
class _Drawn:
    """What a figure by size shows: points, published values, and what a log axis leaves out."""

    points: list[_Points] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    zero: list[str] = field(default_factory=list)


def _by_size(
    comparison: Comparison,
    summarise: Callable[[Configuration], _Points | None],
    published_as: str,
    ylabel: str,
    *,
    log: bool,
) -> Figure:
    """Draw values against training size; ``published_as`` is the column of the published ones."""
    figure = new_figure(8.2, 4.4)
    axes = figure.subplots()
    drawn = _Drawn()
    step = min(0.08, 0.5 / len(comparison.labels))
    for index, label in enumerate(comparison.labels):
        shift = step * (index - (len(comparison.labels) - 1) / 2)
        _draw_strategy(axes, comparison, label, summarise, published_as, drawn, shift=shift, log=log)
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(comparison.sizes)))))
    axes.set_xticks(list(range(len(comparison.sizes))), [f"{size:,}" for size in comparison.sizes])
    axes.set_xlim(-0.5, len(comparison.sizes) - 0.5)
    axes.set_xlabel("Training size (examples)")
    axes.set_ylabel(ylabel)
    if not axes.lines:
        say_nothing_to_show(axes, *(["every score is 0"] if drawn.zero else []))
    elif log:
        # A bar may reach to 0 and below, where a log axis ends.
        middles = [found.middle for found in drawn.points]
        axes.set_yscale("log")
        axes.set_ylim(min(middles) / 1.6, max(middles) * 1.6)
        plain_log_ticks(axes.yaxis)
    else:
        marks = [value for found in drawn.points for value in (found.middle, *found.seeds.values)]
        marks += [report[published_as] for report in drawn.published]
        axes.set_ylim(domain(marks, [found.ends for found in drawn.points if found.ends is not None]))
    return finished(figure, comparison, _entries(comparison, drawn), _notes(comparison, drawn, axes))


def _draw_strategy(
    axes: Axes,
    comparison: Comparison,
    label: str,
    summarise: Callable[[Configuration], _Points | None],
    published_as: str,
    drawn: _Drawn,
    *,
    shift: float,
    log: bool,
) -> None:
    """Draw one strategy at all sizes: a line of means, their bars, single seeds, and published values hollow."""
    style = styles(comparison.labels)[label]
    joined = single_line(comparison, label)
    path = []
    for config in configs_shown(comparison, label):
        found = summarise(config)
        if found is None:
            continue
        if log and found.middle <= 0:
            drawn.zero.append(f"{label} at {config.train_size:,}")
            continue
        x = comparison.sizes.index(config.train_size) + shift
        path.append((x, found.middle))
        drawn.points.append(found)
        if not joined:
            words = config.setting
            axes.annotate(words, path[-1], (7, 0), textcoords="offset points", va="center", fontsize=8)
        values = found.seeds.values
        if len(values) > 1:
            axes.plot([x] * len(values), values, ls="", marker=".", ms=4, color=style.color, alpha=0.6)
        if found.ends is not None:
            lengths = bar((found.middle, *found.ends))
            axes.errorbar(x, found.middle, lengths, color=style.color, capsize=2.5, lw=1, alpha=0.8)
        report = comparison.published_for(config)
        if report is not None and published_as in report:
            hollow: dict[str, Any] = {"marker": style.marker, "mfc": "none", "mec": style.color, "ms": 9}
            axes.plot([x], [report[published_as]], ls="", **hollow, zorder=4)
            drawn.published.append(report)
    if path:
        dashes = style.dashes if joined else ""
        axes.plot(*zip(*path, strict=True), color=style.color, marker=style.marker, ls=dashes)


def _entries(comparison: Comparison, drawn: _Drawn) -> list[Line2D]:
    """Return the legend of a figure by size."""
    look_of = styles(comparison.labels)
    unjoined = {label: {} if single_line(comparison, label) else {"ls": ""} for label in comparison.labels}
    entries = [look_of[label].line(label, **unjoined[label]) for label in comparison.labels]
    if drawn.published:
        words = f"{comparison.publication}: hollow"
        entries += [BLANK, Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, ms=8, label=words)]
    return entries


def _notes(comparison: Comparison, drawn: _Drawn, axes: Axes) -> list[str]:
    """Return what explains the marks of a figure by size."""
    ends = [found.ends for found in drawn.points if found.ends is not None]
    notes = [said_of_bars(ends, axes.get_ylim())] if ends else []
    notes += ["Dots: single seeds."] if several_seeds(comparison) else []
    notes += all_rates(comparison)
    if drawn.zero:
        notes.append(f"Not shown, for a log axis has no 0: {', '.join(drawn.zero)}.")
    if any(report["differs"] for report in drawn.published):
        notes.append(
            "The published runs share the recipe, not the protocol: the table of scores says what differs."
        )
    return notes
