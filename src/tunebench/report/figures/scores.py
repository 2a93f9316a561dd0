"""Figures of a comparison: losses, the score by size, while training, and against time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from tunebench.analysis.log_history import binned, last_step, logged_series, mean_curve
from tunebench.analysis.time_warnings import shared_machine
from tunebench.report.axis import domain
from tunebench.report.figures.panels import (
    BARS,
    BLANK,
    configs_shown,
    configurations_of,
    finished,
    panels_by_size,
    panels_of_lines,
    several_sizes,
    single_line,
    too_many,
)
from tunebench.report.figures.registry import register
from tunebench.report.figures.style import (
    GREY,
    label_thousands,
    new_figure,
    plain_log_ticks,
    say_nothing_to_show,
    styles,
)
from tunebench.stats import Interval
from tunebench.tasks.metrics import DEFAULT_METRIC

#: Points of a training loss curve: each is the mean of what was logged in its part of training.
LOSS_POINTS = 40


@register("loss_curves", "Training and evaluation loss")
def loss_curves(analysis: Analysis) -> Figure:
    """Draw both losses against the share of training steps, one panel a size.

    One panel a strategy, where there are many, before the training losses of all others in grey.
    """
    comparison = analysis.comparison
    look_of = styles(comparison.labels)
    many = too_many(comparison)
    figure, panels = panels_of_lines(comparison, "Share of training steps", f"Loss ({comparison.task.loss_unit})")
    dashed = (0, (3, 2))
    for place, config in enumerate(configurations_of(comparison)):
        (x, training), evaluation = _losses(config)
        style, axes = look_of[config.label], panels[config.label, config.train_size]
        if len(x):
            # A few marks tell apart what colour does not; not all lines have them at the same steps.
            every = max(1, len(x) // 5)
            hollow: dict[str, Any] = {"marker": style.marker, "ms": 4.5, "mfc": "white"}
            axes.plot(
                x, training, color=style.color, lw=1.2, alpha=0.75, markevery=(place * 3 % every, every), **hollow
            )
            for other in (panel for panel in figure.axes if many and panel is not axes):
                other.plot(x, training, color="0.88", lw=0.6, zorder=1)
        if len(evaluation[0]):
            axes.plot(*evaluation, color=style.color, ls=dashed, marker=style.marker, ms=4.5)
    for axes in figure.axes:
        if axes.lines:
            axes.set_xlim(0, 1.02)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        elif any(panels[config.label, config.train_size] is axes for config in configurations_of(comparison)):
            say_nothing_to_show(axes, "no loss logged")
        else:
            say_nothing_to_show(axes)
    notes = [f"Training loss: means over {LOSS_POINTS} equal parts of training.", *_all_rates(comparison)]
    if _several_seeds(comparison):
        notes.append("All lines: means over seeds.")
    split = comparison.selection if comparison.selection in ("validation", "test") else None
    if many:
        evaluated = "" if split is None else f" Dashed, with filled ones: evaluation ({split})."
        notes.insert(0, f"Solid, with hollow marks: training.{evaluated} Grey: training of the other strategies.")
        return finished(figure, comparison, [], notes, scores=False)
    kinds = [Line2D([], [], color=GREY, lw=1.2, marker="o", mfc="white", ms=4.5, label="training")]
    if split is not None:
        kinds.append(Line2D([], [], color=GREY, ls=dashed, marker="o", ms=4.5, label=f"evaluation ({split})"))
    entries = [look_of[label].line(label, ls="-") for label in comparison.labels]
    return finished(figure, comparison, [*entries, BLANK, *kinds], notes, scores=False)


def _losses(config: Configuration) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return training and evaluation loss against the share of training steps, means over seeds."""
    train, evaluation = [], []
    for history, last in _histories(config):
        logged, scored = logged_series(history, "loss"), logged_series(history, "eval_loss")
        train.append(binned(logged.steps / last, logged.values, bins=LOSS_POINTS))
        evaluation.append((scored.steps / last, scored.values))
    return mean_curve(train)[:2], mean_curve(evaluation)[:2]


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


@register("score_by_step", "Score while training")
def score_by_step(analysis: Analysis) -> Figure:
    """Draw the score on the selection split by step, one panel a size; bands are the range over seeds."""
    comparison = analysis.comparison
    metric = comparison.selecting
    figure, panels = panels_by_size(comparison, "Training step", f"{metric.heading} on {comparison.evaluated}")
    look_of = styles(comparison.labels)
    bands = False
    for config in configurations_of(comparison):
        style, axes = look_of[config.label], panels[config.train_size]
        scores = [logged_series(history, f"eval_{metric.name}") for history, _ in _histories(config)]
        x, mean, low, high = mean_curve([(found.steps, found.values) for found in scores])
        if not len(x):
            continue
        axes.plot(x, mean, color=style.color, ls=style.dashes, marker=style.marker, ms=4.5)
        if len(config.scored) > 1:
            axes.fill_between(x, low, high, color=style.color, alpha=0.12, lw=0)
            bands = True
    for size, axes in panels.items():
        if axes.lines:
            axes.set_xlim(left=0)
            label_thousands(axes)
        elif any(config.train_size == size for config in configurations_of(comparison)):
            say_nothing_to_show(axes, "no evaluation while training")
        else:
            say_nothing_to_show(axes)
    entries = [look_of[label].line(label) for label in comparison.labels]
    notes = ["Lines: mean over seeds. Bands: smallest to largest."] if bands else []
    notes += _all_rates(comparison)
    return finished(figure, comparison, entries, notes)


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
    notes = ["Small dots: single seeds."] if _several_seeds(comparison) else []
    notes += [*shared_machine(comparison), *_all_rates(comparison)]
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
    return finished(figure, comparison, _entries(comparison, drawn), _notes(comparison, drawn))


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
            bar = [[found.middle - found.ends[0]], [found.ends[1] - found.middle]]
            axes.errorbar(x, found.middle, bar, color=style.color, capsize=2.5, lw=1, alpha=0.8)
        for report in (one for one in _published(comparison, config) if published_as in one):
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


def _notes(comparison: Comparison, drawn: _Drawn) -> list[str]:
    """Return what explains the marks of a figure by size."""
    notes = [BARS] if any(found.ends is not None for found in drawn.points) else []
    notes += ["Dots: single seeds."] if _several_seeds(comparison) else []
    notes += _all_rates(comparison)
    if drawn.zero:
        notes.append(f"Not shown, for a log axis has no 0: {', '.join(drawn.zero)}.")
    if any(report["differs"] for report in drawn.published):
        notes.append(
            "The published runs share the recipe, not the protocol: the table of scores says what differs."
        )
    return notes


def _histories(config: Configuration) -> Iterator[tuple[list[dict[str, Any]], int]]:
    for cell in config.scored:
        if cell.record is not None and (last := last_step(cell.record.log_history)):
            yield cell.record.log_history, last


def _published(comparison: Comparison, config: Configuration) -> list[dict[str, Any]]:
    found = comparison.published(config.cells[0].spec)
    return [] if found is None else [found]


def _all_rates(comparison: Comparison) -> list[str]:
    if all(single_line(comparison, label) for label in comparison.labels):
        return []
    return ["Several learning rates per strategy, none chosen: each is shown."]


def _several_seeds(comparison: Comparison) -> bool:
    return any(len(config.scored) > 1 for label in comparison.labels for config in configs_shown(comparison, label))
