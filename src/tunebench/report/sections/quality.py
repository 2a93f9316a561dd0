"""Confusion and calibration of the shown arms."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunebench.comparison import Summary
from tunebench.rendering import Column, Table, fixed, integer, to_csv
from tunebench.report import vega
from tunebench.report.sections.registry import section
from tunebench.report.source import Source
from tunebench.stats.reliability import Calibration, calibration

#: Above so many classes the largest confusions are listed instead of a matrix.
_MATRIX_CLASSES = 12
#: How many of them.
_LISTED = 15
#: Bins of the reliability diagram, and simulations of what a calibrated model would show.
_BINS = 10
_RESAMPLES = 100


@section("confusion", "Confusion")
def confusion(source: Source) -> dict[str, Any]:
    """Return confusion matrices of the shown arms, counts summed over seeds, by size."""
    names = source.comparison.cells[0].spec.data.label_names
    sizes: dict[int, list[dict[str, Any]]] = {}
    for arm in source.arms:
        matrices = [cell.record.scores.confusion for cell in arm.scored if cell.record and cell.record.scores]
        counts = np.sum(matrices, axis=0)
        share = counts / np.maximum(1, counts.sum(1, keepdims=True))
        found = {"series": source.series(arm), "strategy": arm.label, "seeds": len(matrices)}
        if len(names) <= _MATRIX_CLASSES:
            found |= {"counts": counts.tolist(), "share": share.tolist()}
        else:
            found |= {"largest": _largest(counts, share, names)}
        sizes.setdefault(arm.train_size, []).append(found)
    return {
        "names": names,
        "sizes": dict(sorted(sizes.items(), reverse=True)),
        "matrix": len(names) <= _MATRIX_CLASSES,
    }


@section("calibration", "Calibration")
def calibrated(source: Source) -> dict[str, Any]:
    """Return reliability diagrams and errors of the shown arms: seeds together, and each by itself."""
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    for arm in source.arms:
        key = {"series": source.series(arm), "strategy": arm.label, "size": arm.train_size}
        stored = {c.spec.seed: source.predictions.get(c.spec.run_id) for c in arm.scored}
        known = {seed: run for seed, run in stored.items() if run is not None}
        scores: list[Calibration] = []
        for seed, run in known.items():
            # A generator of its own: a run's numbers must not depend on what else is in the study.
            rng = np.random.default_rng(seed)
            found = calibration(run.labels, run.logits, rng=rng, bins=_BINS, resamples=_RESAMPLES)
            scores.append(found)
            if len(known) > 1:
                rows += [key | part | {"kind": "seed", "seed": str(seed)} for part in _bins(found)]
        if known:
            runs = list(known.values())
            labels, logits = (np.concatenate([getattr(run, part) for run in runs]) for part in ("labels", "logits"))
            pooled = calibration(labels, logits, rng=np.random.default_rng(0), bins=_BINS, resamples=1)
            # Seeds score the same examples, so an interval that takes them for so many more would be too narrow.
            rows += [key | part | {"kind": "mean"} for part in _bins(pooled, interval=len(runs) == 1)]
        if scores:
            table.append(
                {
                    "strategy": source.series(arm),
                    "train_size": arm.train_size,
                    "ece": Summary(tuple(s.equal_mass.value for s in scores)),
                    "if_calibrated": Summary((float(np.mean([s.equal_mass.if_calibrated for s in scores])),)),
                    "brier": Summary(tuple(s.brier.estimate for s in scores)),
                    "log_loss": Summary(tuple(s.log_loss.estimate for s in scores)),
                    "n": len(scores),
                }
            )
    sizes = sorted({row["size"] for row in rows})
    low = min((row["x"] for row in rows), default=0.0)
    rows += [{"kind": "diagonal", "size": size, "x": x, "y": x} for size in sizes for x in (low, 1.0)]
    made = Table("calibration", "Calibration on the test split", _COLUMNS, tuple(table), _NOTES)
    return {
        "empty": not table,
        "missing": source.without_predictions,
        "several": any(row["kind"] == "seed" for row in rows),
        "table": made,
        "csv": to_csv(made),
        "sizes": sizes,
        "data": {"rows": rows, "specs": {"": vega.reliability(source.comparison.labels)}},
    }


_COLUMNS = (
    Column("strategy", "Strategy", align="left"),
    Column("train_size", "Size", show=integer),
    Column("ece", "Calibration error", show=fixed(4)),
    Column("if_calibrated", "Calibrated stays under", show=fixed(4)),
    Column("brier", "Brier score", show=fixed(4)),
    Column("log_loss", "Log loss", "nats", show=fixed(4)),
    Column("n", "n"),
)
_NOTES = (
    "Calibration error: mean distance between confidence and accuracy, over bins of equal numbers of test "
    "examples. It is never 0; 95 % of perfectly calibrated models would stay under the value beside it.",
    "Where n > 1: mean ± standard deviation over n seeds.",
)


def _bins(found: Calibration, *, interval: bool = True) -> list[dict[str, Any]]:
    rows = []
    for part in found.equal_mass.bins:
        if part.confidence is None or part.accuracy is None:
            continue
        row = {"count": part.count, "x": round(part.confidence, 4), "y": round(part.accuracy.estimate, 4)}
        if interval:
            row |= {"low": round(part.accuracy.low, 4), "high": round(part.accuracy.high, 4)}
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
