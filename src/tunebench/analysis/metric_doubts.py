"""The metrics that stand beside the one that decides, and where they say something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tunebench.analysis.evidence import Entry
from tunebench.analysis.wording import show_difference, show_interval
from tunebench.stats import Difference
from tunebench.tasks.metrics import DEFAULT_METRIC

#: A class with fewer test texts makes a mean over classes a matter of these few.
FEW_TESTED = 20
#: Classes that a sentence names.
_NAMED = 3


def beside_of(chosen: Entry, ranked: Sequence[Entry]) -> str:
    """Return the metrics that are always shown, of the chosen strategy and of the best of the others."""
    metrics = [
        metric
        for name, metric in chosen.task.shown_metrics(chosen.metric.name).items()
        if metric is not chosen.metric
    ]

    def scores(entry: Entry, names: bool) -> str:
        shown = [show_interval(entry.interval(metric)) for metric in metrics]
        return " and ".join(
            f"{m.label} {value}" if names else value for m, value in zip(metrics, shown, strict=True)
        )

    line = f"Beside it, {chosen.label} has {scores(chosen, True)}"
    other = next((entry for entry in ranked if entry is not chosen), None)
    each = "95 %" if other is None and len(metrics) == 1 else "95 % each"
    more = "" if other is None else f"; {other.label} has {scores(other, False)}"
    return f"{line}{more} ({each})."


def metric_doubts(
    chosen: Entry, ranked: Sequence[Entry], difference: Callable[[Entry, Entry], Difference]
) -> list[str]:
    """Return where another metric prefers another strategy, and which classes the test part has few texts of."""
    lines = []
    for name, metric in chosen.task.shown_metrics(chosen.metric.name).items():
        if metric is chosen.metric:
            continue
        best = max(ranked, key=lambda entry: metric.merit(entry.interval(metric).estimate))
        if best is chosen:
            continue
        found = difference(replace(best, metric=metric), replace(chosen, metric=metric)).interval
        if min(metric.merit(found.low), metric.merit(found.high)) > 0:
            lines.append(
                f"By {metric.label}, {best.label} is ahead of {chosen.label} ({show_difference(found, metric)}, "
                f"95 % for this pair by itself); --metric {name} decides by it."
            )
    return [*lines, *_few_tested(chosen)]


def _few_tested(chosen: Entry) -> list[str]:
    if chosen.metric.name != DEFAULT_METRIC:
        return []
    names = chosen.config.cells[0].spec.data.label_names
    counts = chosen.task.counts(chosen.labels, chosen.classes)
    few = [(int(n), str(name)) for name, n in zip(names, counts, strict=False) if 0 < n < FEW_TESTED]
    if not few:
        return []
    shown = ", ".join(f"{name} ({n})" for n, name in sorted(few)[:_NAMED])
    noun = "classes" if chosen.task.exclusive else "labels"
    more = f" and {len(few) - _NAMED} more {noun}" if len(few) > _NAMED else ""
    return [
        f"Macro F1 weighs all {noun} alike, and the test part has fewer than {FEW_TESTED} texts of {shown}{more}: "
        "a few texts decide much of it."
    ]
