"""Tables of several labels a text: the errors of each label, and which labels go together."""

from __future__ import annotations

from itertools import combinations

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.label_errors import label_errors, together
from tunebench.formatting import fixed, integer
from tunebench.report.tables.predicted import key_of, with_predictions
from tunebench.report.tables.registry import SIZE, STRATEGY, register
from tunebench.report.tables.render import Column, ReportTable

#: Pairs of labels that are listed of each strategy and size.
_PAIRS = 20


def _of_sets(analysis: Analysis) -> bool:
    task = analysis.comparison.task
    return task.labelled and not task.exclusive


@register("label_errors", applies=_of_sets)
def errors_by_label(analysis: Analysis) -> ReportTable:
    """Return how often each label is found, missed and wrongly given, and what is given in its place."""
    names = analysis.comparison.cells[0].spec.data.label_names
    columns = (
        STRATEGY,
        SIZE,
        Column("label", "Label", align="left"),
        Column("texts", "Texts", show=integer),
        Column("found", "Found", show=fixed(1)),
        Column("missed", "Missed", show=fixed(1)),
        Column("wrong", "Wrongly given", show=fixed(1)),
        Column("instead", "Most often given where it is missed", align="left"),
        Column("instead_texts", "Texts with that", show=fixed(1)),
    )
    rows = [
        key_of(entry)
        | {
            "label": name,
            "texts": found.texts,
            "found": found.found,
            "missed": found.missed,
            "wrong": found.wrong,
            "instead": None if found.instead is None else names[found.instead],
            "instead_texts": None if found.instead is None else found.instead_texts,
        }
        for entry in (analysis.entries if _of_sets(analysis) else ())
        for name, found in zip(names, label_errors(entry), strict=True)
    ]
    note = "Counts of test texts, means over seeds."
    return with_predictions("label_errors", "Errors by label", analysis, columns, rows, note)


@register("label_pairs", applies=_of_sets)
def pairs_of_labels(analysis: Analysis) -> ReportTable:
    """Return how many texts have two labels, and how many are given both."""
    names = analysis.comparison.cells[0].spec.data.label_names
    columns = (
        STRATEGY,
        SIZE,
        Column("first", "First", align="left"),
        Column("second", "Second", align="left"),
        Column("have", "Texts with both", show=integer),
        Column("given", "Given both", show=fixed(1)),
    )
    rows = []
    for entry in analysis.entries if _of_sets(analysis) else ():
        have, given = together(entry)
        pairs = [pair for pair in combinations(range(len(names)), 2) if have[pair] or given[pair]]
        pairs.sort(key=lambda pair: (-have[pair], -given[pair]))
        rows += [
            key_of(entry) | {"first": names[a], "second": names[b], "have": int(have[a, b]), "given": given[a, b]}
            for a, b in pairs[:_PAIRS]
        ]
    note = f"Counts of test texts, means over seeds; the {_PAIRS} commonest pairs."
    return with_predictions("label_pairs", "Labels that go together", analysis, columns, rows, note)
