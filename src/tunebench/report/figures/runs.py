"""The figures of a single run: loss by step and by epoch, seconds per step, confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunebench.analysis.log_history import logged_series, mean_by_epoch
from tunebench.formatting import learning_rate
from tunebench.report.figures.style import COLORS, GREY, label_thousands, look, new_figure, save
from tunebench.store.imported import is_imported
from tunebench.store.record import RunRecord

#: Up to so many classes, every field of the confusion matrix holds its number.
_NUMBERED_CLASSES = 10

RunFigureFunction = Callable[[RunRecord], Figure | None]


def loss_by_step(record: RunRecord) -> Figure | None:
    """Draw training and evaluation loss by step; None where nothing was logged."""
    train, evaluation = logged_series(record.log_history, "loss"), logged_series(record.log_history, "eval_loss")
    if not len(train) and not len(evaluation):
        return None
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(train.steps, train.values, color=COLORS[0], lw=1, label="training")
    if len(evaluation):
        axes.plot(
            evaluation.steps, evaluation.values, color=COLORS[1], marker="o", ls="--", label=_evaluated(record)
        )
    if record.selected is not None:
        axes.axvline(record.selected.step, color=GREY, lw=1, ls=":", label="scored checkpoint")
    axes.set_xlim(left=0)
    label_thousands(axes, ticks=6)
    axes.set_xlabel("Training step")
    axes.set_ylabel(f"Loss ({record.task.loss_unit})")
    return _finished(figure, record, "Loss by step")


def loss_by_epoch(record: RunRecord) -> Figure | None:
    """Draw the mean training loss of each epoch and the evaluation losses; None where nothing was logged."""
    epochs, means = mean_by_epoch(logged_series(record.log_history, "loss"))
    evaluation = logged_series(record.log_history, "eval_loss")
    if not len(epochs) and not len(evaluation):
        return None
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(epochs, means, color=COLORS[0], marker="s", label="training, mean of the epoch")
    if len(evaluation):
        axes.plot(
            evaluation.epochs, evaluation.values, color=COLORS[1], marker="o", ls="--", label=_evaluated(record)
        )
    last = max([0.0, *map(float, epochs), *evaluation.epochs.tolist()])
    axes.set_xlim(0, (record.spec.epochs or last) + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(f"Loss ({record.task.loss_unit})")
    return _finished(figure, record, "Loss by epoch")


def step_seconds(record: RunRecord) -> Figure | None:
    """Draw the seconds of every step, with their median after the warm-up; None where there are none."""
    if record.timing is None or not record.timing.step_seconds:
        return None
    timing = record.timing
    seconds = np.array(timing.step_seconds)
    steps = np.arange(1, len(seconds) + 1)
    # A pause (a suspended machine) would press all other steps onto the axis.
    top = 1.5 * float(np.quantile(seconds, 0.99))
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(steps, np.minimum(seconds, top), ls="", marker=".", ms=3, color=COLORS[0], label="one step")
    above = seconds > top
    if above.any():
        label = f"longer, up to {seconds.max():,.2f} s"
        axes.plot(steps[above], np.full(above.sum(), top), ls="", marker="^", ms=5, color=COLORS[1], label=label)
    if timing.seconds_per_step is not None:
        label = f"median {timing.seconds_per_step:.3f} s (first {timing.warmup_steps} left out)"
        axes.axhline(timing.seconds_per_step, color="black", lw=1, ls="--", label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.08 * top)
    label_thousands(axes, ticks=6)
    axes.set_xlabel("Training step")
    axes.set_ylabel("Time per step (s)")
    return _finished(figure, record, "Seconds per step")


def confusion(record: RunRecord) -> Figure | None:
    """Draw the confusion matrix on the test split: counts, coloured by share of the true class."""
    if record.scores is None or not record.scores.confusion:
        return None
    counts = np.array(record.scores.confusion)
    names = [_shorten(score.label) for score in record.scores.per_class]
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    side = max(3.6, min(12.0, 0.55 * len(names) + 1.8))
    figure = new_figure(side + 1.6, side + 0.6)
    axes = figure.subplots()
    axes.grid(visible=False)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="Share of the true class", shrink=0.85)
    ticks = np.arange(len(names))
    long = max(map(len, names)) > 6 or len(names) > 4
    # Class names are the user's: a dollar sign in one is no formula.
    axes.set_xticks(ticks, names, rotation=45 if long else 0, ha="right" if long else "center", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    if len(names) <= _NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    return _finished(figure, record, "Confusion on test", legend=False)


#: All figures of a run by file name. A new one is a function and an entry here.
RUN_FIGURES: dict[str, RunFigureFunction] = {
    "loss_by_step": loss_by_step,
    "loss_by_epoch": loss_by_epoch,
    "step_seconds": step_seconds,
    "confusion": confusion,
}


def save_run_figures(record: RunRecord, folder: Path) -> list[Path]:
    """Write the figures a record has the data for, as PNG and SVG.

    Args:
        record: The run; also one that failed.
        folder: Where to; made if missing.

    Returns:
        The paths written.
    """
    paths = []
    for name, function in RUN_FIGURES.items():
        with look():
            figure = function(record)
        if figure is not None:
            paths += save(figure, folder / name)
    return paths


def _finished(figure: Figure, record: RunRecord, title: str, *, legend: bool = True) -> Figure:
    spec = record.spec
    about = (
        f"{spec.label}, {spec.train_size:,} examples, rate {learning_rate(spec.learning_rate)}, "
        f"seed {'not known' if is_imported(spec) and spec.seed is None else spec.seed}"
    )
    figure.suptitle(f"{title}\n{about}", x=0.01, ha="left", fontsize=10.5, parse_math=False)
    if legend:
        figure.axes[0].legend(loc="best")
    return figure


def _evaluated(record: RunRecord) -> str:
    return f"evaluation ({record.spec.selection or 'split not known'})"


def _shorten(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
