"""Figures of what a recipe chooses: the learning rate, and what is read of a long text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from matplotlib.transforms import ScaledTranslation

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.evidence import Entry
from tunebench.analysis.group import Group
from tunebench.analysis.tuning import chose_each
from tunebench.formatting import learning_rate
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
from tunebench.report.figures.style import Style, say_nothing_to_show, styles
from tunebench.stats import Interval
from tunebench.store.imported import AnyRun
from tunebench.tasks.metric import Metric

_CUTS = ("head", "head_tail", "tail")
#: What may differ between strategies that a figure of cuts joins by a line.
_FREE = ("truncation", "head_share", "learning_rate", "seed", "subset_seed", "train_size")


@dataclass(frozen=True)
class _Rates:
    """The selection split's score of one strategy and size.

    Attributes:
        means: By learning rate, ascending, of the seeds that went to their end.
        singles: Of each of several seeds.
        stopped: Of runs that the search stopped, the best until then.
        chosen: Of the chosen rates, where there were several.
    """

    means: list[tuple[float, float]]
    singles: list[tuple[float, float]]
    stopped: list[tuple[float, float]]
    chosen: list[tuple[float, float]]

    @classmethod
    def of(cls, group: Group, metric: Metric) -> _Rates:
        """Collect them; a strategy without a learning rate, or one that is not known, has none."""
        found = cls([], [], [], [])
        for config in _best_of_each_rate(group, metric):
            rate = config.shown_learning_rate
            if rate is None:
                continue
            scores = [(c.status, c.row["selection_score"]) for c in config.judging]
            whole = [value for status, value in scores if status == "complete" and value is not None]
            early = [value for status, value in scores if status == "pruned" and value is not None]
            if whole:
                found.means.append((rate, float(np.mean(whole))))
                found.singles.extend((rate, value) for value in whole if len(whole) > 1)
                if group.chose(config) and len(group.configs) > 1:
                    found.chosen.append(found.means[-1])
            elif early:
                found.stopped.append((rate, max(early, key=metric.merit)))
        return found

    @property
    def scores(self) -> list[tuple[float, float]]:
        """One score a rate: the mean, or the best of what was stopped."""
        return self.means + self.stopped

    def below(self, bottom: float) -> list[tuple[float, float, bool]]:
        """Return rates and scores below a value, and whether they are single seeds' whose mean is not."""
        means = [(rate, value, False) for rate, value in self.scores if value < bottom]
        known = {rate for rate, *_ in means}
        return means + [(rate, v, True) for rate, v in self.singles if v < bottom and rate not in known]

    def draw(self, axes: Axes, style: Style) -> None:
        """Draw them into a panel."""
        color, marker = style.color, style.marker
        for points, look in (
            (self.means, {"ls": style.dashes, "marker": marker}),
            (self.singles, {"ls": "", "marker": ".", "ms": 4, "alpha": 0.6}),
            (self.stopped, {"ls": "", "marker": marker, "mfc": "none"}),
            (self.chosen, {"ls": "", "marker": "o", "ms": 13, "mfc": "none", "mew": 1.4}),
        ):
            if points:
                axes.plot(*zip(*points, strict=True), color=color, **look)


def _best_of_each_rate(group: Group, metric: Metric) -> list[Configuration]:
    """Return one configuration a learning rate: where other settings are searched too, the chosen or the best."""
    found: dict[float | None, Configuration] = {}

    def merit(config: Configuration) -> tuple[bool, float]:
        scores = list(config.selection_scores().values())
        return group.chose(config), metric.merit(float(np.mean(scores))) if scores else -np.inf

    for config in group.configs:
        before = found.get(config.learning_rate)
        if before is None or merit(config) > merit(before):
            found[config.learning_rate] = config
    return list(found.values())


class _RateLocator(FixedLocator):
    """Ticks of a panel at learning rates, but for those whose labels would run into the one before."""

    def __init__(self, axes: Axes, rates: Sequence[float]) -> None:
        super().__init__(rates)
        self._axes, self._rates = axes, rates

    def __call__(self) -> list[float]:
        """Return the ticks for the panel's present width."""
        low, high = sorted(self._axes.get_xlim())
        pixels = self._axes.figure.dpi / 72
        kept: list[float] = []
        end = -np.inf
        for rate in (rate for rate in self._rates if low <= rate <= high):
            place = self._axes.transData.transform((rate, 0))[0] / pixels
            half = 2.7 * len(learning_rate(rate))  # a letter of 10 points is about 5.4 points wide
            if place - half > end:
                kept.append(rate)
                end = place + half + 4
        return kept


def rates_differ(analysis: Analysis) -> bool:
    """Tell whether several learning rates were run of a strategy."""
    return any(len(set(group.tried)) > 1 for group in analysis.comparison.groups())


@register("score_by_learning_rate", "Score by learning rate", applies=rates_differ)
def score_by_learning_rate(analysis: Analysis) -> Figure:
    """Draw the selection split's score against the learning rate; the chosen one ringed.

    One panel a size; or one a strategy, where there are many, before all others in grey.
    """
    comparison = analysis.comparison
    metric = comparison.selecting
    found = {(group.label, group.train_size): _Rates.of(group, metric) for group in comparison.groups()}
    look_of = styles(comparison.labels)
    many = too_many(comparison)
    drawn = [value for rates in found.values() for _, value in rates.scores]
    bottom = _bottom(drawn) if metric.higher_is_better else None
    heading = f"{metric.heading} on {comparison.evaluated}"
    figure, panels = panels_of_lines(comparison, "Learning rate (log scale)", heading)
    for key, rates in found.items():
        rates.draw(panels[key], look_of[key[0]])
        for other, axes in panels.items():
            if many and other != key and rates.means:
                axes.plot(*zip(*rates.means, strict=True), color="0.85", lw=0.8, zorder=1)
    tried = sorted({rate for rates in found.values() for rate, _ in rates.scores})
    top = max((v for rates in found.values() for _, v in rates.scores + rates.singles), default=1.0)
    unknown = [group.label for group in comparison.groups() if group.configs[0].shown_learning_rate is None]
    for axes in figure.axes:
        if axes.lines:
            axes.set_xscale("log")
            axes.margins(0.12)  # room for rings
            axes.xaxis.set_major_locator(_RateLocator(axes, tried))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: learning_rate(rate)))
            axes.xaxis.set_minor_locator(FixedLocator(tried))
            axes.xaxis.set_minor_formatter(NullFormatter())
            if bottom is not None:
                axes.set_ylim(bottom, top + 0.12 * (top - bottom))
        else:
            known = len(unknown) < len(found)
            say_nothing_to_show(axes, "no score on a selection split" if known else "no learning rate is known")
    if bottom is not None:
        for axes in figure.axes:
            inside = [(rates, look_of[key[0]]) for key, rates in found.items() if panels[key] is axes]
            _mark_below(axes, inside, bottom)
    notes = _notes(list(found.values()), bottom, others=many, by_seed=any(map(chose_each, comparison.groups())))
    if unknown:
        notes.append(f"No learning rate, or none that is known: {', '.join(dict.fromkeys(unknown))}.")
    return finished(figure, comparison, [] if many else legend_of(comparison), notes, scores=False)


def _notes(found: list[_Rates], bottom: float | None, *, others: bool, by_seed: bool) -> list[str]:
    """Explain the marks that are drawn, and no others."""
    ring = "Ring: chosen by one seed or more." if by_seed else "Ring: the chosen rate."
    marks = {
        "Grey: the other strategies.": others,
        ring: any(rates.chosen for rates in found),
        "Small dots: single seeds.": any(rates.singles for rates in found),
    }
    lines = [" ".join(words for words, drawn in marks.items() if drawn)] if any(marks.values()) else []
    if any(rates.stopped for rates in found):
        lines.append("Hollow: stopped early by the search, with its best score until then.")
    if bottom is not None:
        alone = any(single for rates in found for *_, single in rates.below(bottom))
        small = "; a small one: that of a single seed" if alone else ""
        lines.append(f"Triangle with a number: a score below the axis{small}.")
    return lines


def _bottom(scores: list[float]) -> float | None:
    """Return where the axis should begin, if one run that learnt nothing would press all others together.

    That is eight times as far below the best score as the median is; None where none lies beyond ten times.
    """
    if not scores:
        return None
    best = max(scores)
    middle = best - float(np.median(scores))
    return best - 8 * middle if 0 < 10 * middle < best - min(scores) else None


def _mark_below(axes: Axes, drawn: list[tuple[_Rates, Style]], bottom: float) -> None:
    """Mark what is below the axis with its score, above each other where rates are the same."""
    height: Counter[float] = Counter()
    for rates, style in drawn:
        for rate, value, single in rates.below(bottom):
            up = 22 * height[rate]
            height[rate] += 1
            assert isinstance(axes.figure, Figure)
            place = axes.get_xaxis_transform() + ScaledTranslation(0, up / 72, axes.figure.dpi_scale_trans)
            size = 3.5 if single else 5.5
            axes.plot(rate, 0.05, marker="v", ms=size, ls="", color=style.color, transform=place)
            axes.annotate(
                f"{value:.2f}",
                (rate, 0.05),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 6 + up),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize="small",
            )


def cuts_differ(analysis: Analysis) -> bool:
    """Tell whether the strategies of a comparison read different parts of long texts."""
    return len({cell.spec.truncation for cell in analysis.comparison.cells} - {None}) > 1


@register("score_by_truncation", "Score by what is read of a text", applies=cuts_differ)
def score_by_truncation(analysis: Analysis) -> Figure:
    """Draw the score on test with 95 % intervals by what is read of a text, one panel a size.

    Strategies that differ in nothing else, but for their learning rate, are joined by a line.
    """
    comparison = analysis.comparison
    figure, panels = panels_by_size(comparison, "Read of a long text", comparison.on_test)
    look_of = styles(comparison.labels)
    shown: dict[str, Style] = {}
    drawn: list[Interval] = []
    for size, axes in panels.items():
        families = [family for family in _families(analysis.at(size)) if len(family) > 1]
        for place, family in enumerate(families):
            name = family[0].label
            style = shown.setdefault(name, look_of[name])
            scores = [entry.interval() for entry in family]
            drawn += scores
            y = [score.estimate for score in scores]
            lengths = bar(*((s.estimate, s.low, s.high) for s in scores))
            # Side by side, so that bars do not lie on each other.
            x = [_CUTS.index(_cut(entry)) + 0.08 * (place - (len(families) - 1) / 2) for entry in family]
            axes.errorbar(x, y, lengths, color=style.color, marker=style.marker, ls=style.dashes, capsize=3)
        axes.set_xticks(range(len(_CUTS)), ["beginning", "both ends", "end"])
        axes.set_xlim(-0.5, len(_CUTS) - 0.5)
        if not families:
            say_nothing_to_show(axes, NOTHING)
    if drawn:
        middles = [score.estimate for score in drawn]
        figure.axes[0].set_ylim(domain(middles, [(score.low, score.high) for score in drawn]))
    notes = [said_of_bars(((score.low, score.high) for score in drawn), figure.axes[0].get_ylim())]
    return finished(figure, comparison, [style.line(name) for name, style in shown.items()], notes)


def _families(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Yield strategies that differ in how texts are cut and in learning rate alone, the first cut first."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if _cut(entry) is None:
            continue  # imported, and not told
        recipe = {key: value for key, value in _spec(entry).effective.items() if key not in _FREE}
        found.setdefault(json.dumps(recipe, sort_keys=True), []).append(entry)
    for family in found.values():
        yield sorted(family, key=lambda entry: _CUTS.index(_cut(entry)))


def _spec(entry: Entry) -> AnyRun:
    return entry.config.cells[0].spec


def _cut(entry: Entry) -> Any:
    return _spec(entry).truncation
