"""Figures of what happened while training: losses, and the score on the selection split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.log_history import LOSS_POINTS, Line, logged_series, losses_by_share, mean_curve
from tunebench.report.figures.panels import (
    BLANK,
    all_rates,
    configurations_of,
    finished,
    panels_by_size,
    panels_of_lines,
    several_seeds,
    too_many,
)
from tunebench.report.figures.registry import register
from tunebench.report.figures.style import GREY, label_thousands, say_nothing_to_show, styles
from tunebench.store.cell import Cell


def _logged(*beginnings: str) -> Callable[[Analysis], bool]:
    """Return what tells whether any run logged a value whose name begins so.

    A study without finished runs has every figure, and each says so.
    """

    def applies(analysis: Analysis) -> bool:
        ended = analysis.comparison.scored
        entries = (entry for history in _histories(ended) for entry in history)
        return not ended or any(key.startswith(beginnings) for entry in entries for key in entry)

    return applies


@register("loss_curves", "Training and evaluation loss", applies=_logged("loss", "eval_loss"))
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
    notes = [f"Training loss: means over {LOSS_POINTS} equal parts of training.", *all_rates(comparison)]
    if several_seeds(comparison):
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


def _losses(config: Configuration) -> tuple[Line, Line]:
    """Return training and evaluation loss against the share of training steps, means over seeds."""
    found = [losses_by_share(history) for history in _histories(config.scored)]
    return mean_curve([line for line, _ in found])[:2], mean_curve([line for _, line in found])[:2]


@register("score_by_step", "Score while training", applies=_logged("eval_"))
def score_by_step(analysis: Analysis) -> Figure:
    """Draw the score on the selection split by step, one panel a size; bands are the range over seeds.

    Where the seeds of a strategy chose different lengths of training, each length has a line of its own.
    """
    comparison = analysis.comparison
    metric = comparison.selecting
    figure, panels = panels_by_size(comparison, "Training step", f"{metric.heading} on {comparison.evaluated}")
    look_of = styles(comparison.labels)
    bands = several_lengths = False
    for config in configurations_of(comparison):
        style, axes = look_of[config.label], panels[config.train_size]
        lengths = _by_length(config.scored)
        several_lengths |= len(lengths) > 1
        for cells in lengths:
            scores = [logged_series(history, f"eval_{metric.name}") for history in _histories(cells)]
            x, mean, low, high = mean_curve([(found.steps, found.values) for found in scores])
            if not len(x):
                continue
            axes.plot(x, mean, color=style.color, ls=style.dashes, marker=style.marker, ms=4.5)
            if len(cells) > 1:
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
    notes += ["Seeds with other epochs or another batch size have a line of their own."] if several_lengths else []
    notes += all_rates(comparison)
    return finished(figure, comparison, entries, notes)


def _by_length(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group runs by how long they train: the same step of a longer run has another learning rate."""
    groups: dict[tuple[int | None, int | None], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.spec.epochs, cell.spec.batch_size), []).append(cell)
    return list(groups.values())


def _histories(cells: Sequence[Cell]) -> list[list[dict[str, Any]]]:
    return [cell.record.log_history for cell in cells if cell.record is not None]
