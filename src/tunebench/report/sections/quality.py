"""Confusion and calibration of the shown configurations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunebench.analysis.configuration import Configuration
from tunebench.analysis.evidence import Entry
from tunebench.analysis.quality import calibrations, shown_bins
from tunebench.report import vega
from tunebench.report.sections.registry import part
from tunebench.report.source import Predictions, Source
from tunebench.stats.reliability import Calibration, calibration

#: Why confusions are left out for several labels a text.
_ONLY_EXCLUSIVE = "Left out: a text may have several labels here, so no label is taken for another."
#: Above so many classes the largest confusions are listed instead of a matrix.
_MATRIX_CLASSES = 12
#: How many of them.
_LISTED = 15


@part("confusion", "errors", "Which classes are confused")
def confusion(source: Source) -> dict[str, Any] | None:
    """Return confusion matrices of the shown configurations, counts summed over seeds, by size."""
    if not source.comparison.task.labelled:
        return None
    if not source.comparison.task.exclusive:
        return {"left_out": _ONLY_EXCLUSIVE}
    names = source.comparison.cells[0].spec.data.label_names
    sizes: dict[int, list[dict[str, Any]]] = {}
    for config in source.configs:
        scores = [cell.record.scores for cell in config.scored if cell.record and cell.record.scores]
        # Some imported runs have no more than an accuracy.
        matrices = [one.confusion for one in scores if one.confusion]
        if not matrices:
            continue
        counts = np.sum(matrices, axis=0)
        share = counts / np.maximum(1, counts.sum(1, keepdims=True))
        found = {"series": source.series(config), "strategy": config.label, "seeds": len(matrices)}
        if len(names) <= _MATRIX_CLASSES:
            found |= {"counts": counts.tolist(), "share": share.tolist()}
        else:
            found |= {"largest": _largest(counts, share, names)}
        sizes.setdefault(config.train_size, []).append(found)
    if not sizes:
        return None
    return {
        "left_out": None,
        "names": names,
        "sizes": dict(sorted(sizes.items(), reverse=True)),
        "matrix": len(names) <= _MATRIX_CLASSES,
    }


@part("calibration", "errors", "How far its probabilities can be believed")
def calibrated(source: Source) -> dict[str, Any] | None:
    """Return reliability diagrams, a panel for each strategy and size: seeds together, and each by itself."""
    if not source.comparison.task.labelled:
        return None
    exclusive = source.comparison.task.exclusive
    rows: list[dict[str, Any]] = []
    for entry in filter(None, (_entry(source, config) for config in source.configs)):
        key = {"series": source.series(entry.config), "strategy": entry.label, "size": entry.train_size}
        key |= {"panel": f"{key['series']}, {entry.train_size:,} labels"}
        if entry.logits is None:
            continue
        several = len(entry.seeds) > 1
        if several:
            for seed, found in zip(entry.seeds, calibrations(entry), strict=True):
                rows += [key | part | {"kind": "seed", "seed": str(seed)} for part in _bins(found)]
        labels, logits = np.concatenate([entry.labels] * len(entry.seeds)), np.concatenate(entry.logits)
        pooled = calibration(labels, logits, rng=np.random.default_rng(0), resamples=1)
        # Seeds score the same examples, so an interval that takes them for so many more would be too narrow.
        rows += [key | part | {"kind": "mean"} for part in _bins(pooled, interval=not several)]
    if not rows:
        return None
    low = min(row["x"] for row in rows)
    places = {row["panel"]: {key: row[key] for key in ("panel", "strategy", "size")} for row in rows}
    ends = (low, 1.0) if exclusive else (0.0, 1.0)
    rows += [place | {"kind": "diagonal", "x": x, "y": x} for place in places.values() for x in ends]
    return {
        "missing": source.without_predictions,
        "exclusive": exclusive,
        "several": any(row["kind"] == "seed" for row in rows),
        "data": {
            "rows": rows,
            "split": "panel",
            "specs": {"": vega.reliability(source.comparison.labels, exclusive=exclusive)},
        },
    }


def _entry(source: Source, config: Configuration) -> Entry | None:
    """Return a configuration's runs with usable predictions, one per seed: of the first draw, as in the tables."""
    runs: dict[int | None, tuple[Predictions, np.ndarray]] = {}
    for cell in config.scored:
        if cell.record is not None and (run := source.predictions.get(cell.spec.run_id)) is not None:
            runs.setdefault(cell.spec.seed, (run, run.given(cell.record.task)))
    if not runs:
        return None
    predicted = np.stack([given for _, given in runs.values()])
    known = [run.logits for run, _ in runs.values() if run.logits is not None]
    labels = next(iter(runs.values()))[0].labels
    logits = np.stack(known) if len(known) == len(runs) else None
    return Entry(config, tuple(runs), labels, predicted, logits)


def _bins(found: Calibration, *, interval: bool = True) -> list[dict[str, Any]]:
    rows = []
    for one in shown_bins(found):
        if one.confidence is None or one.accuracy is None:
            continue
        row = {"count": one.count, "x": round(one.confidence, 4), "y": round(one.accuracy.estimate, 4)}
        if interval:
            row |= {"low": round(one.accuracy.low, 4), "high": round(one.accuracy.high, 4)}
        rows.append(row)
    return rows


def _largest(counts: np.ndarray, share: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    wrong = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    places = [np.unravel_index(place, wrong.shape) for place in order]
    return [
        {"true": names[t], "said": names[p], "count": int(counts[t, p]), "share": float(share[t, p])}
        for t, p in places
        if wrong[t, p]
    ]
