"""The test texts whose several labels are predicted worst."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunebench.analysis.label_errors import worst_texts
from tunebench.analysis.quality import answer_of, mean_probabilities
from tunebench.errors import TunebenchError
from tunebench.report.sections.registry import part
from tunebench.report.sections.texts import shortened, texts_of_test
from tunebench.report.source import Source

#: How many texts are shown.
_SHOWN = 50


@part("label_texts", "errors", "Texts with the largest errors")
def label_texts(source: Source) -> dict[str, Any] | None:
    """Return the texts with the largest errors of some strategy, at the largest size; nothing of other tasks."""
    sizes = [entry.train_size for entry in source.analysis.entries]
    task = source.comparison.task
    if not task.labelled or task.exclusive or not sizes or not source.predictions:
        return None
    entries = source.analysis.at(max(sizes))
    places, wrong = worst_texts(entries, _SHOWN)
    try:
        texts, why = texts_of_test(source), None
    except TunebenchError as error:
        texts, why = {}, f"The texts cannot be shown: {error.what}"
    names = source.comparison.cells[0].spec.data.label_names
    indices = next(iter(source.predictions.values())).indices
    said = [(entry, answer_of(entry) == 1, mean_probabilities(entry)) for entry in entries]
    true = entries[0].labels == 1
    return {
        "without_texts": why,
        "size": max(sizes),
        "tested": len(entries[0].labels),
        "wrong": wrong,
        "several": any(len(entry.seeds) > 1 for entry in entries),
        "rows": [
            {
                "row": int(indices[place]) + 1,
                "text": shortened(texts.get(int(indices[place]), "")),
                "true": [names[label] for label in np.flatnonzero(true[place])],
                "said": [
                    (
                        entry.label,
                        entry.logits is not None,
                        _decisions(true[place], given[place], shares[place], names),
                    )
                    for entry, given, shares in said
                ],
            }
            for place in places.tolist()
        ],
    }


def _decisions(
    truth: np.ndarray, given: np.ndarray, shares: np.ndarray, names: tuple[str, ...]
) -> list[tuple[str, str, float]]:
    """Return found, wrongly given and missed labels of a text, each with its probability, likeliest first."""
    kinds = (("found", truth & given), ("wrong", ~truth & given), ("missed", truth & ~given))
    return [
        (kind, names[label], float(shares[label]))
        for kind, chosen in kinds
        for label in sorted(np.flatnonzero(chosen).tolist(), key=lambda label: -shares[label])
    ]
