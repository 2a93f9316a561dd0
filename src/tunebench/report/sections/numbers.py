"""The test texts whose number is predicted worst."""

from __future__ import annotations

from typing import Any

from tunebench.analysis.errors import largest_errors
from tunebench.errors import TunebenchError
from tunebench.report.sections.registry import part
from tunebench.report.sections.texts import shortened, texts_of_test
from tunebench.report.source import Source

#: How many texts are shown.
_SHOWN = 50


@part("largest_errors", "errors", "Largest errors")
def errors(source: Source) -> dict[str, Any] | None:
    """Return the texts on which some strategy is furthest off, at the largest size; nothing of labels."""
    sizes = [entry.train_size for entry in source.analysis.entries]
    if source.comparison.task.labelled or not sizes or not source.predictions:
        return None
    entries = source.analysis.at(max(sizes))
    places = largest_errors(entries, _SHOWN)
    try:
        texts, why = texts_of_test(source), None
    except TunebenchError as error:
        texts, why = {}, f"The texts cannot be shown: {error.what}"
    indices = next(iter(source.predictions.values())).indices
    return {
        "without_texts": why,
        "size": max(sizes),
        "tested": len(entries[0].labels),
        "name": source.comparison.cells[0].spec.data.label_names[0],
        "several": any(len(entry.seeds) > 1 for entry in entries),
        "rows": [
            {
                "row": int(indices[place]) + 1,
                "text": shortened(texts.get(int(indices[place]), "")),
                "true": float(entries[0].labels[place]),
                "said": [(entry.label, float(entry.predictions[:, place].mean())) for entry in entries],
            }
            for place in places.tolist()
        ],
    }
