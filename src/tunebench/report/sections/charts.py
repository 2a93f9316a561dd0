"""The charts: scores by size, against cost, losses during training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tunebench.analysis.configuration import Configuration
from tunebench.analysis.costs import COSTS, units_of
from tunebench.analysis.log_history import LOSS_POINTS, losses_by_share, mean_curve
from tunebench.formatting import common_unit
from tunebench.report import vega
from tunebench.report.axis import domain
from tunebench.report.sections.registry import part
from tunebench.report.source import Source

#: Up to so many points each has its size beside it.
_FEW_POINTS = 14
#: More strategies than these get a panel each where lines of all would be a knot.
_FEW_LINES = 5


@part("by_size", "labels")
def by_size(source: Source) -> dict[str, Any] | None:
    """Return seeds, means with intervals, and published values, by score; nothing of a single size."""
    rows: list[dict[str, Any]] = []
    views = _scores(source)
    for name in views:
        for config in source.configs:
            found = config.summary(name)
            if found is None:
                continue
            base = {"view": name, **_key(source, config)}
            seeds = [c.spec.seed for c in config.scored if c.value(name) is not None]
            rows += [base | {"kind": "seed", "y": y, "seed": s} for y, s in zip(found.values, seeds, strict=True)]
            mean = base | {"kind": "mean", "y": found.mean, "n": len(found.values)}
            interval = source.analysis.interval(config, name)
            if interval is not None:
                mean |= {"y": interval.estimate, "over": interval.over}
                if math.isfinite(interval.high - interval.low):
                    mean |= {"low": interval.low, "high": interval.high}
            rows.append(mean)
            published = source.comparison.published_for(config)
            if published is not None and name in published:
                rows.append(base | {"kind": "published", "y": published[name]})
    sizes = [f"{size:,}" for size in source.comparison.sizes]
    if not rows or len(sizes) < 2:
        return None
    series = list(dict.fromkeys(source.series(config) for config in source.configs))
    return {
        "drawn": _labels(rows),
        "published": any(row["kind"] == "published" for row in rows),
        "views": views,
        "data": {
            "rows": rows,
            "specs": {
                name: vega.by_size(
                    source.comparison.labels, sizes=sizes, series=series, title=title, domain=_domain(rows, name)
                )
                for name, title in views.items()
            },
        },
    }


@part("cost_chart", "cost")
def cost(source: Source) -> dict[str, Any] | None:
    """Return the score against every cost, and which points no other beats in both."""
    sizes = source.comparison.sizes
    rows: list[dict[str, Any]] = []
    specs, views = {}, {}
    for name, kind in COSTS.items():
        found = source.analysis.points(source.configs, name)
        if not found:
            continue
        per, unit = common_unit((point.cost for point in found), units_of(name, source.comparison))
        points = [
            {
                "view": name,
                "kind": "point",
                **_key(source, point.config),
                "n": len(point.config.scored),
                "x": point.cost / per,
                "y": point.score,
                "front": point.on_front,
                # What stands beside the mark; many words would lie on each other.
                "words": f"{point.config.train_size:,}" if len(sizes) > 1 else source.series(point.config),
                "named": point.on_front or len(found) <= _FEW_POINTS,
            }
            for point in found
        ]
        x = np.array([point["x"] for point in points])
        path = sorted((point for point in points if point["front"]), key=lambda point: (point["x"], point["y"]))
        rows += points + [point | {"kind": "front"} for point in path]
        log = bool(x.min() > 0 and x.max() / x.min() > 8)
        title = f"{kind.label} ({unit})" if unit else kind.label
        views[name] = title
        specs[name] = vega.cost(
            source.comparison.labels,
            title + (", log scale" if log else ""),
            score=source.comparison.measure.heading,
            sizes=sizes,
            log=log,
        )
    if not rows:
        return None
    return {
        "drawn": _labels(rows),
        "views": views,
        "several": len(sizes) > 1,
        "busy": any(c.record and c.record.timing and c.record.timing.contended for c in source.comparison.scored),
        "data": {"rows": rows, "specs": specs},
    }


@part("loss", "measured", "Loss during training")
def loss(source: Source) -> dict[str, Any] | None:
    """Return training and evaluation losses of every seed and their means, in panels by size or by strategy."""
    lines: list[dict[str, Any]] = []
    for config in source.configs:
        key = _key(source, config)
        found = [
            (cell.spec.seed, losses_by_share(cell.record.log_history))
            for cell in config.scored
            if cell.record is not None
        ]
        for place, kind in enumerate(("training", "evaluation")):
            curves = [(seed, *both[place]) for seed, both in found if len(both[place][0])]
            if len(curves) > 1:
                lines += [_line(key, kind, "seed", x, y) | {"seed": seed} for seed, x, y in curves]
            mean_x, mean_y, *_ = mean_curve([(x, y) for _, x, y in curves], points=LOSS_POINTS)
            if len(mean_x):
                lines.append(_line(key, kind, "mean", mean_x, mean_y))
    if not lines:
        return None
    values = [value for line in lines for value in line["y"]]
    ends = (min(values), max(values))
    spec = vega.loss(source.comparison.labels, ends, unit=source.comparison.task.loss_unit)
    return {
        "drawn": _labels(lines),
        "several": any(line["kind"] == "seed" for line in lines),
        "evaluated": any(line["part"] == "evaluation" for line in lines),
        "bins": LOSS_POINTS,
        "sizes": source.comparison.sizes,
        "data": {"lines": lines, **panels(lines), "specs": {"": spec}},
    }


def panels(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return what splits a chart of lines into panels: the size; with many strategies each has its own."""
    return {"split": "size" if len(_labels(rows)) <= _FEW_LINES else "panel"}


def _scores(source: Source) -> dict[str, str]:
    """Return the scores that may stand on the axis, with their titles: the study's metric first."""
    task = source.comparison.task
    metrics = task.shown_metrics(source.comparison.metric).items()
    loss = f"Loss on test ({task.metrics[task.loss].unit})"
    return {name: f"{metric.heading} on test" for name, metric in metrics} | {"test_loss": loss}


def _key(source: Source, config: Configuration) -> dict[str, Any]:
    return {
        "strategy": config.label,
        "series": source.series(config),
        "panel": f"{config.label}, {config.train_size:,} labels",
        "size": config.train_size,
        "at": f"{config.train_size:,}",
    }


def _domain(rows: list[dict[str, Any]], view: str) -> tuple[float, float]:
    """Return what the axis of a score shows."""
    here = [row for row in rows if row["view"] == view]
    return domain([row["y"] for row in here] or [0.0], [(row["low"], row["high"]) for row in here if "low" in row])


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """Return the strategies that a chart shows, for its legend."""
    return list(dict.fromkeys(row["strategy"] for row in rows if "strategy" in row))


def _line(key: dict[str, Any], part: str, kind: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    # Four digits are finer than any screen, and keep a page of many runs small.
    return {
        **key,
        "part": part,
        "kind": kind,
        "x": [float(f"{v:.4g}") for v in x],
        "y": [float(f"{v:.4g}") for v in y],
    }
