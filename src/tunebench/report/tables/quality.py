"""Tables of how predictions are right and wrong: calibration, scores by class, shared errors."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.evidence import Entry
from tunebench.analysis.quality import calibrations, temperatures
from tunebench.formatting import fixed, integer, significant
from tunebench.report.tables.predicted import key_of, with_predictions
from tunebench.report.tables.registry import (
    SIZE,
    STRATEGY,
    N,
    of_labels,
    register,
)
from tunebench.report.tables.render import Column, ReportTable

#: What probabilities were like before they were scaled.
_BEFORE = (
    Column("temperature", "Temperature", show=significant(3)),
    Column("ece_unscaled", "ECE, equal mass, before scaling", show=fixed(4)),
    Column("log_loss_unscaled", "Log loss before scaling", "nats", show=fixed(4)),
)


def _before_scaling(entry: Entry) -> dict[str, float]:
    """Return the means over seeds of :data:`_BEFORE`; nothing where no probabilities were scaled."""
    scales = temperatures(entry)
    if not scales or entry.logits is None:
        return {}
    raw = replace(entry, logits=entry.logits * np.array(scales, dtype=np.float32)[:, None, None])
    found = calibrations(raw)
    return {
        "temperature": statistics.fmean(scales),
        "ece_unscaled": statistics.fmean(one.equal_mass.value for one in found),
        "log_loss_unscaled": statistics.fmean(one.log_loss.estimate for one in found),
    }


@register("calibration", applies=of_labels)
def calibration(analysis: Analysis) -> ReportTable:
    """Return how far probabilities can be believed: means over seeds."""
    columns = (
        STRATEGY,
        SIZE,
        Column("ece", "ECE, equal mass", show=fixed(4)),
        Column("if_calibrated", "below this: no sign of error", show=fixed(4)),
        Column("ece_width", "ECE, equal width", show=fixed(4)),
        Column("brier", "Brier", show=fixed(4)),
        Column("log_loss", "Log loss", "nats", show=fixed(4)),
        *(_BEFORE if any(map(temperatures, analysis.entries)) else ()),
        N,
    )
    rows = []
    for entry, found in analysis.calibrations:
        rows.append(
            key_of(entry)
            | _before_scaling(entry)
            | {
                "ece": statistics.fmean(one.equal_mass.value for one in found),
                "if_calibrated": statistics.fmean(one.equal_mass.if_calibrated for one in found),
                "ece_width": statistics.fmean(one.equal_width.value for one in found),
                "brier": statistics.fmean(one.brier.estimate for one in found),
                "log_loss": statistics.fmean(one.log_loss.estimate for one in found),
            }
        )
    note = (
        "ECE: expected calibration error, 15 bins. A perfectly calibrated classifier stays below the next column "
        "in 95 % of samples."
    )
    if not analysis.comparison.task.exclusive:
        note += (
            " Every label of every text counts as a decision of its own, and the decisions of all labels are "
            "pooled. The bound takes them for independent. Brier and log loss are means over labels."
        )
    bare = "Of these runs no probabilities are known."
    return with_predictions("calibration", "Calibration", analysis, columns, rows, note, without=bare)


@register("per_class", applies=of_labels)
def per_class(analysis: Analysis) -> ReportTable:
    """Return precision, recall and F1 of every class: means over seeds."""
    comparison = analysis.comparison
    columns = (
        STRATEGY,
        SIZE,
        Column("label", "Class", align="left"),
        Column("precision", "Precision", show=fixed(4)),
        Column("recall", "Recall", show=fixed(4)),
        Column("f1", "F1", show=fixed(4)),
        Column("support", "Texts", show=integer),
    )
    rows = []
    for group in comparison.groups():
        for config in group.shown:
            scores = [c.record.scores.per_class for c in config.scored if c.record and c.record.scores]
            # Some imported runs have no more than an accuracy.
            for ones in zip(*filter(None, scores), strict=True):
                rows.append(
                    {
                        "strategy": config.label,
                        "train_size": config.train_size,
                        "label": ones[0].label,
                        "support": ones[0].support,
                        **{
                            name: statistics.fmean(getattr(one, name) for one in ones)
                            for name in ("precision", "recall", "f1")
                        },
                    }
                )
    return with_predictions("per_class", "Scores by class", analysis, columns, rows, "Means over seeds.")


@register("agreement", applies=of_labels)
def agreement(analysis: Analysis) -> ReportTable:
    """Return how strategies share their errors at each size."""
    columns = (
        SIZE,
        Column("all_right", "All right", show=integer),
        Column("disputed", "They differ", show=integer),
        Column("all_wrong", "All wrong", show=integer),
        Column("strategies", "Strategies", align="left"),
    )
    rows = [
        {
            "train_size": one.size,
            "all_right": one.all_right,
            "disputed": len(one.disputed),
            "all_wrong": len(one.all_wrong),
            "strategies": ", ".join(one.labels),
        }
        for one in analysis.agreements
    ]
    note = "Test texts; a strategy's answer is that of its probabilities averaged over seeds."
    if not analysis.comparison.task.exclusive:
        note = "Test texts, right where all labels are; a strategy gives what more than half of its seeds give."
    return with_predictions("agreement", "Shared errors", analysis, columns, rows, note)
