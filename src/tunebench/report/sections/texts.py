"""The error browser: test texts on which strategies disagree, or all fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.analysis.configuration import Configuration
from tunebench.analysis.quality import votes
from tunebench.data.inputs import Inputs
from tunebench.data.reference import DataConfig
from tunebench.data.text import Text, sides_of
from tunebench.errors import TunebenchError
from tunebench.report.sections.registry import part
from tunebench.report.source import Source
from tunebench.store.data_place import read_again
from tunebench.store.imported import is_imported

#: How many entries the page holds at most, and how many characters of texts.
MOST_ENTRIES = 300
_MOST_CHARACTERS = 900_000
#: Longer texts are cut in the middle: the verdict often stands at the end.
_LONGEST = 6_000


@dataclass(frozen=True, eq=False)
class Verdict:
    """The joint prediction of the seeds of a configuration.

    Attributes:
        series: Its name in the list of strategies.
        probabilities: Mean over seeds, shape ``(n, classes)``; where none are known, the share of seeds that
            predict each class.
        known: Whether they are probabilities.
        said: The class with the largest one, shape ``(n,)``.
        seeds_right: How many seeds by themselves are right, shape ``(n,)``.
        seeds: How many there are.
    """

    series: str
    probabilities: np.ndarray
    known: bool
    said: np.ndarray
    seeds_right: np.ndarray
    seeds: int


@dataclass(frozen=True, eq=False)
class Size:
    """All verdicts at one training size, on the same test examples."""

    train_size: int
    labels: np.ndarray
    indices: np.ndarray
    verdicts: tuple[Verdict, ...]

    @property
    def right(self) -> np.ndarray:
        """Which verdicts are right, shape ``(verdicts, n)``."""
        return np.array([verdict.said == self.labels for verdict in self.verdicts])


@part("texts", "errors", "Texts on which strategies disagree or fail")
def texts(source: Source) -> dict[str, Any] | None:
    """Return a choice of test texts that not every strategy gets right; nothing of runs without predictions."""
    if not source.comparison.task.labelled or not source.comparison.task.exclusive or not source.predictions:
        return None
    try:
        rows = texts_of_test(source)
    except TunebenchError as error:
        return {"missing": f"The texts cannot be shown: {error.what}"}
    sizes = verdicts_by_size(source)
    entries, kept = choose(sizes, {i: len(text) for i, text in rows.items()})
    names = source.comparison.cells[0].spec.data.label_names
    series = list(dict.fromkeys(verdict.series for size in sizes for verdict in size.verdicts))
    strategies = {source.series(config): source.comparison.labels.index(config.label) for config in source.configs}
    return {
        "shown": len(entries),
        "found": {size.train_size: int((~size.right.all(0)).sum()) for size in sizes},
        "tested": len(sizes[0].labels),
        "names": names,
        "series": series,
        "sizes": [size.train_size for size in sizes],
        "cut": _LONGEST,
        "long": any(len(rows[row]) > _LONGEST for row in kept),
        "data": {
            "names": names,
            "series": series,
            "styles": [strategies[name] for name in series],
            "strategies": [source.comparison.labels[strategies[name]] for name in series],
            "texts": {str(row): shortened(rows[row]) for row in sorted(kept)},
            "entries": entries,
        },
    }


def verdicts_by_size(source: Source) -> list[Size]:
    """Return the verdicts of all configurations that have predictions, the largest size first."""
    first = next(iter(source.predictions.values()))
    found = []
    for train_size in sorted({config.train_size for config in source.configs}, reverse=True):
        configs = [config for config in source.configs if config.train_size == train_size]
        verdicts = tuple(v for v in (_verdict(source, config, first.labels) for config in configs) if v is not None)
        if verdicts:
            found.append(Size(train_size, first.labels, first.indices, verdicts))
    return found


def choose(sizes: list[Size], lengths: dict[int, int]) -> tuple[list[dict[str, Any]], set[int]]:
    """Choose which errors to show.

    Errors form groups: the size, the true class, and which strategies are right. Turn by turn each group
    gives its next, so that rare kinds are not crowded out; within a group those come first on which the
    strategies that are wrong are surest. Nothing is drawn, so the same study gives the same choice.

    Args:
        sizes: The verdicts.
        lengths: Characters of each text by row number; rows that are not in it are passed over.

    Returns:
        The entries, by size, then row, and the row numbers they use.
    """
    groups: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for number, size in enumerate(sizes):
        right = size.right
        surest = np.array([v.known * v.probabilities.max(1) for v in size.verdicts])
        doubt = np.where(right, 0, surest).max(0)
        for place in np.flatnonzero(~right.all(0)).tolist():
            if int(size.indices[place]) in lengths:
                key = (number, int(size.labels[place]), *right[:, place].tolist())
                groups.setdefault(key, []).append((-float(doubt[place]), place))
    queues = [(key[0], iter(sorted(groups[key]))) for key in sorted(groups)]
    chosen: list[tuple[int, int]] = []
    kept: set[int] = set()
    characters = 0
    while queues and len(chosen) < MOST_ENTRIES:
        left = []
        for number, queue in queues:
            following = next(queue, None)
            if following is None or len(chosen) == MOST_ENTRIES:
                continue
            left.append((number, queue))
            row = int(sizes[number].indices[following[1]])
            more = 0 if row in kept else min(lengths[row], _LONGEST)
            if characters + more <= _MOST_CHARACTERS:
                chosen.append((number, following[1]))
                kept.add(row)
                characters += more
        queues = left
    return [_entry(sizes[number], place) for number, place in sorted(chosen)], kept


def _entry(size: Size, place: int) -> dict[str, Any]:
    label = int(size.labels[place])
    return {
        "row": int(size.indices[place]),
        "size": size.train_size,
        "label": label,
        "said": {
            verdict.series: [
                int(verdict.said[place]),
                _share(verdict, place, int(verdict.said[place])),
                _share(verdict, place, label),
                int(verdict.seeds_right[place]),
                verdict.seeds,
            ]
            for verdict in size.verdicts
        },
    }


def _share(verdict: Verdict, place: int, label: int) -> float | None:
    """Return the probability of a label as the page shows it; None where none is known."""
    return round(float(verdict.probabilities[place, label]), 3) if verdict.known else None


def _verdict(source: Source, config: Configuration, labels: np.ndarray) -> Verdict | None:
    cells = [c for c in config.scored if c.record is not None and c.spec.run_id in source.predictions]
    if not cells:
        return None
    # Each with the thresholds of its own run.
    stored = [(c.record.task, source.predictions[c.spec.run_id]) for c in cells if c.record]
    predicted = np.stack([run.given(task) for task, run in stored])
    shares = [
        task.outputs.probabilities(run.logits.astype(np.float64)) for task, run in stored if run.logits is not None
    ]
    known = len(shares) == len(stored)
    mean = np.mean(shares, axis=0) if known else votes(predicted, len(config.cells[0].spec.data.label_names))
    tuned = config.cells[0].spec.thresholds == "tuned"
    said = (predicted.mean(0) > 0.5).astype(np.int64) if tuned else mean.argmax(1)
    return Verdict(source.series(config), mean, known, said, (predicted == labels).sum(0), len(stored))


def texts_of_test(source: Source) -> dict[int, str]:
    """Return the test texts by row number.

    Raises:
        TunebenchError: The data cannot be read, or is not what the study was made with.
    """
    if source.imported:
        raise TunebenchError("the runs were imported, without their texts.")
    spec = next(cell.spec for cell in source.comparison.cells if not is_imported(cell.spec))
    config = source.study.data if source.study else DataConfig(source=spec.data.source, revision=spec.data.revision)
    dataset = read_again(source.folder, config, spec.data)
    stored = next(iter(source.predictions.values()))
    split = dataset.train if dataset.test is None else dataset.test
    if len(stored.indices) > len(split) or not np.array_equal(split.labels[stored.indices], stored.labels):
        raise TunebenchError("the stored labels differ from those of the data.")
    return {row: _shown(split.texts[row], dataset.inputs) for row in stored.indices.tolist()}


def _shown(text: Text, inputs: Inputs | None) -> str:
    """Return a text for a reader: those of a pair one below the other, with the names of their columns."""
    if isinstance(text, str) or inputs is None:
        return "\n".join(sides_of(text))
    return "\n".join(f"{name}: {side}" for name, side in zip(inputs.columns, text, strict=True))


def shortened(text: str) -> str:
    """Return a text, cut in the middle where it is long."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} […] {text[-half:]}"
