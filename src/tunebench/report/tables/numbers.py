"""The table of errors of predicted numbers."""

from __future__ import annotations

import statistics
from dataclasses import fields

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.errors import NumberErrors, number_errors
from tunebench.formatting import signed, significant
from tunebench.report.tables.predicted import key_of, with_predictions
from tunebench.report.tables.registry import SIZE, STRATEGY, N, of_numbers, register
from tunebench.report.tables.render import Column, ReportTable


@register("errors", applies=of_numbers)
def errors(analysis: Analysis) -> ReportTable:
    """Return how far predictions are off, and to which side: means over seeds."""
    size = significant(4)
    columns = (
        STRATEGY,
        SIZE,
        Column("bias", "Mean of predicted - true", show=signed(4)),
        Column("sd", "Standard deviation of it", show=size),
        Column("median", "Median absolute error", show=size),
        Column("p95", "95 % below", show=size),
        Column("largest", "Largest", show=size),
        Column("slope", "Spread of predictions / of true numbers", show=size),
        N,
    )
    names = [field.name for field in fields(NumberErrors)]
    rows = []
    for entry in analysis.entries if of_numbers(analysis) else ():
        found = number_errors(entry)
        means = {name: statistics.fmean(getattr(one, name) for one in found) for name in names}
        rows.append(key_of(entry) | means)
    return with_predictions(
        "errors",
        "Errors of the predicted numbers",
        analysis,
        columns,
        rows,
        "Means over seeds, in the unit of the data. Where the spread of predictions is well below that of the true "
        "numbers, extreme numbers are predicted too near the mean.",
    )
