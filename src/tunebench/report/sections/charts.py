"""The charts: scores by size, against cost, losses during training; and the figures of the registry."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from tunebench.analysis.comparison import Configuration
from tunebench.analysis.log_history import binned, last_step, logged_series, mean_curve
from tunebench.report import vega
from tunebench.report.figures.scores import LOSS_POINTS
from tunebench.report.sections.registry import section
from tunebench.report.source import Source

#: Costs that may stand on the axis: column, title, and the size of the unit shown.
COSTS: dict[str, tuple[str, float]] = {
    "train_seconds": ("Training time without evaluation (min)", 60.0),
    "peak_memory_bytes": ("Peak memory (GB)", 1e9),
    "trainable_params": ("Trainable parameters (million)", 1e6),
    "artifact_bytes": ("Size of stored weights (MB)", 1e6),
}
#: Up to so many points each has its size beside it.
_FEW_POINTS = 14
#: A picture above this many bytes as SVG is embedded as PNG instead.
_LARGE_FIGURE = 250_000


@section("by_size", "Score by training size")
def by_size(source: Source) -> dict[str, Any]:
    """Return seeds, means with intervals, and published values, by score."""
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
                mean |= {"y": interval.estimate, "low": interval.low, "high": interval.high, "over": interval.over}
            rows.append(mean)
            published = source.comparison.published(config.scored[0].spec)
            if published is not None and name in published:
                rows.append(base | {"kind": "published", "y": published[name]})
    sizes = [f"{size:,}" for size in source.comparison.sizes]
    series = list(dict.fromkeys(source.series(config) for config in source.configs))
    return {
        "empty": not rows,
        "intervals": any("low" in row for row in rows),
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


@section("cost", "Score against cost")
def cost(source: Source) -> dict[str, Any]:
    """Return the score against every cost, and which points no other beats in both."""
    rows: list[dict[str, Any]] = []
    specs, views = {}, {}
    for name, (title, per) in COSTS.items():
        found = source.analysis.points(source.configs, name)
        if not found:
            continue
        points = [
            {
                "view": name,
                "kind": "point",
                **_key(source, point.config),
                "n": len(point.config.scored),
                "x": point.cost / per,
                "y": point.score,
                "front": point.on_front,
                # Many numbers would lie on each other.
                "named": point.on_front or len(found) <= _FEW_POINTS,
            }
            for point in found
        ]
        x = np.array([point["x"] for point in points])
        path = sorted((point for point in points if point["front"]), key=lambda point: (point["x"], point["y"]))
        rows += points + [point | {"kind": "front"} for point in path]
        log = bool(x.min() > 0 and x.max() / x.min() > 8)
        views[name] = title
        specs[name] = vega.cost(
            source.comparison.labels,
            title + (", log scale" if log else ""),
            score=source.comparison.measure.heading,
            sizes=source.comparison.sizes,
            log=log,
        )
    return {
        "empty": not rows,
        "views": views,
        "busy": any(c.record and c.record.timing and c.record.timing.contended for c in source.comparison.scored),
        "data": {"rows": rows, "specs": specs},
    }


@section("loss", "Loss during training")
def loss(source: Source) -> dict[str, Any]:
    """Return training and evaluation losses of every seed and their means, one panel a size."""
    lines: list[dict[str, Any]] = []
    for config in source.configs:
        key = _key(source, config)
        for kind, curves in (("training", list(_training(config))), ("evaluation", list(_evaluation(config)))):
            curves = [(seed, x, y) for seed, x, y in curves if len(x)]
            if len(curves) > 1:
                lines += [_line(key, kind, "seed", x, y) | {"seed": seed} for seed, x, y in curves]
            mean_x, mean_y, *_ = mean_curve([(x, y) for _, x, y in curves], points=LOSS_POINTS)
            if len(mean_x):
                lines.append(_line(key, kind, "mean", mean_x, mean_y))
    top = max((max(line["y"]) for line in lines), default=1.0)
    spec = vega.loss(source.comparison.labels, top, unit=source.comparison.task.loss_unit)
    return {
        "empty": not lines,
        "several": any(line["kind"] == "seed" for line in lines),
        "evaluated": any(line["part"] == "evaluation" for line in lines),
        "bins": LOSS_POINTS,
        "sizes": source.comparison.sizes,
        "data": {"lines": lines, "split": "size", "specs": {"": spec}},
    }


@section("figures", "Figures")
def figures(source: Source) -> dict[str, Any]:
    """Return every figure that applies as it was written beside the page."""
    from tunebench.report.figures import figures_of

    found = []
    for name, maker in figures_of(source.analysis).items():
        svg = source.folder / "figures" / f"{name}.svg"
        path = svg if svg.stat().st_size <= _LARGE_FIGURE else svg.with_suffix(".png")
        mime = "image/svg+xml" if path.suffix == ".svg" else "image/png"
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({"name": name, "title": maker.title, "uri": f"data:{mime};base64,{content}"})
    return {"figures": found}


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
        "size": config.train_size,
        "at": f"{config.train_size:,}",
    }


def _domain(rows: list[dict[str, Any]], view: str) -> tuple[float, float]:
    """Return what the axis shows: all points, and of intervals as much again, since two seeds' may hold all."""
    shown = [row["y"] for row in rows if row["view"] == view] or [0.0]
    room = max(max(shown) - min(shown), 0.01)
    low = min((row["low"] for row in rows if row["view"] == view and "low" in row), default=min(shown))
    high = max((row["high"] for row in rows if row["view"] == view and "high" in row), default=max(shown))
    return max(low, min(shown) - room / 2) - room / 20, min(high, max(shown) + room / 2) + room / 20


def _training(config: Configuration) -> Iterator[tuple[int | None, np.ndarray, np.ndarray]]:
    for cell in config.scored:
        if cell.record is not None and (last := last_step(cell.record.log_history)):
            logged = logged_series(cell.record.log_history, "loss")
            yield cell.spec.seed, *binned(logged.steps / last, logged.values, bins=LOSS_POINTS)


def _evaluation(config: Configuration) -> Iterator[tuple[int | None, np.ndarray, np.ndarray]]:
    for cell in config.scored:
        if cell.record is not None and (last := last_step(cell.record.log_history)):
            scored = logged_series(cell.record.log_history, "eval_loss")
            yield cell.spec.seed, scored.steps / last, scored.values


def _line(key: dict[str, Any], part: str, kind: str, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    # Four digits are finer than any screen, and keep a page of many runs small.
    return {
        **key,
        "part": part,
        "kind": kind,
        "x": [float(f"{v:.4g}") for v in x],
        "y": [float(f"{v:.4g}") for v in y],
    }
