"""The charts' specifications in Vega-Lite; :mod:`tunebench.report.vega_script` draws them.

Colours are CSS variables, so that the page's theme reaches into the pictures; a strategy has a marker
besides its colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunebench.report.marks import look

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def by_size(
    labels: Sequence[str],
    *,
    sizes: Sequence[str],
    series: Sequence[str],
    title: str,
    domain: tuple[float, float],
) -> dict[str, Any]:
    """Return a score by training size: dots are seeds, marks are means with intervals, hollow is published.

    Args:
        labels: Strategies, in the order of their colours.
        sizes: Training sizes as text, ascending.
        series: What stands side by side at a size.
        title: Of the score.
        domain: What the axis shows; bars that go on beyond it are cut.
    """
    x = {
        "field": "at",
        "type": "ordinal",
        "sort": list(sizes),
        "title": "Training size (examples)",
        # A line on either side of a size: what stands between them belongs to it.
        "axis": {"labelAngle": 0, "grid": True, "bandPosition": 0},
    }
    # Neighbours at a size stand 6 % of its room apart, or nearer where they are many.
    steps = max(1 / 0.06, 2.0 * len(series))
    sides = {"type": "point", "domain": list(series), "padding": (steps - len(series) + 1) / 2}
    offset = {"field": "series", "type": "nominal", "sort": None, "scale": sides}
    scale = {"domain": list(domain), "nice": True, "zero": False}
    y = {"field": "y", "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 6}}
    said = [_tip("series", "Strategy"), _tip("at", "Size")]
    value = _tip("y", title, "quantitative", ".4f")
    interval = [_tip("low", "Interval from", "quantitative", ".4f"), _tip("high", "to", "quantitative", ".4f")]
    interval.append(_tip("over", "Interval holds"))
    place = {"x": x, "xOffset": offset, "y": y, "color": _color(labels)}
    return _chart(
        [
            _layer(
                "datum.kind === 'mean'",
                {"type": "line", "strokeWidth": 1.5, "opacity": 0.7},
                **place,
                detail={"field": "series"},
                order={"field": "size", "type": "quantitative"},
            ),
            _layer(
                "datum.kind === 'mean' && isValid(datum.low)",
                {"type": "rule", "strokeWidth": 2, "clip": True},
                **place | {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            ),
            _layer(
                "datum.kind === 'seed'",
                {"type": "point", "filled": True, "size": 18, "opacity": 0.75},
                **place,
                tooltip=[*said, _tip("seed", "Seed", "quantitative"), value],
            ),
            _layer(
                "datum.kind === 'mean'",
                {"type": "point", "filled": True, "size": 95, "opacity": 1},
                **place,
                shape=_shape(labels),
                tooltip=[*said, _tip("n", "Seeds", "quantitative"), value, *interval],
            ),
            _layer(
                "datum.kind === 'published'",
                {"type": "point", "filled": False, "size": 170, "strokeWidth": 1.5},
                **place,
                shape=_shape(labels),
                tooltip=[*said, value],
            ),
        ],
        f"{title} by training size and strategy",
    )


def cost(labels: Sequence[str], title: str, *, score: str, sizes: Sequence[int], log: bool) -> dict[str, Any]:
    """Return the score against a cost, with the front of points that none beats in both.

    Marks grow with the training size; those whose rows say so have their words beside them.
    """
    ordered = sorted(sizes)
    area = {
        "field": "size",
        "type": "ordinal",
        "legend": None,
        "scale": {
            # Vega-Lite would take a scale of steps, which has none where there is one size.
            "type": "ordinal",
            "domain": ordered,
            "range": [45 + 90 * i / max(1, len(ordered) - 1) for i in range(len(ordered))],
        },
    }
    scale: dict[str, Any] = {"type": "log", "nice": False, "padding": 24} if log else {"zero": False, "padding": 24}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": title,
        "scale": scale,
        "axis": {"format": ",~g", "tickCount": 6, "labelOverlap": True},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": f"{score} on test",
        "scale": {"zero": False, "padding": 18},
        "axis": {"tickCount": 6, "format": ".4~g"},
    }
    said = [
        *(_tip("series", "Strategy"), _tip("at", "Size"), _tip("n", "Seeds", "quantitative")),
        *(_tip("x", title, "quantitative", ",.3~g"), _tip("y", score, "quantitative", ".4f")),
    ]
    return _chart(
        [
            _layer(
                "datum.kind === 'front'",
                {"type": "line", "interpolate": "step-after", "strokeDash": [5, 3], "color": "var(--soft)"},
                x=x,
                y=y,
            ),
            _layer(
                "datum.kind === 'point'",
                {"type": "point", "filled": True},
                x=x,
                y=y,
                color=_color(labels),
                shape=_shape(labels),
                size=area,
                tooltip=said,
                opacity={"condition": {"test": "datum.front", "value": 1}, "value": 0.55},
            ),
            _layer(
                "datum.kind === 'point' && datum.named",
                {"type": "text", "dy": -9, "align": "center", "baseline": "bottom", "fontSize": 10.5},
                x=x,
                y=y,
                text={"field": "words"},
                color={"value": "var(--soft)"},
            ),
        ],
        f"{score} against {title}",
    )


def loss(labels: Sequence[str], domain: tuple[float, float], *, unit: str) -> dict[str, Any]:
    """Return losses over the share of training, one seed thin, the mean strong, evaluation dashed.

    Args:
        labels: Strategies, in the order of their colours.
        domain: The smallest and the largest loss, so that all panels have one axis.
        unit: Of the loss.
    """
    x = {
        "field": "x",
        "type": "quantitative",
        "title": "Share of training steps",
        "scale": {"domain": [0, 1]},
        "axis": {"tickCount": 4},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": f"Loss ({unit})",
        "scale": {"domain": list(domain), "nice": True, "zero": False},
        "axis": {"tickCount": 5},
    }
    dash = {
        "field": "part",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": ["training", "evaluation"], "range": [[1, 0], [5, 3]]},
    }
    said = [_tip("series", "Strategy"), _tip("part", "Loss"), _tip("x", "Share", "quantitative", ".2f")]
    value = _tip("y", "Nats", "quantitative", ".3f")
    common = {"x": x, "y": y, "color": _color(labels), "order": {"field": "x", "type": "quantitative"}}
    return _chart(
        [
            _layer(
                "datum.kind === 'seed'",
                {"type": "line", "strokeWidth": 0.8, "opacity": 0.45},
                **common,
                strokeDash=dash,
                detail=[{"field": "series"}, {"field": "seed"}],
            ),
            _layer(
                "datum.kind === 'mean'",
                {"type": "line", "strokeWidth": 1.8},
                **common,
                strokeDash=dash,
                detail={"field": "series"},
            ),
            _layer(
                "datum.kind === 'mean' && datum.part === 'evaluation'",
                {"type": "point", "filled": True, "size": 40},
                x=x,
                y=y,
                color=_color(labels),
                shape=_shape(labels),
                tooltip=[*said, value],
            ),
        ],
        "Training and evaluation loss over the share of training steps",
        height=230,
    )


def reliability(labels: Sequence[str], *, exclusive: bool) -> dict[str, Any]:
    """Return accuracy by confidence in bins; a calibrated model's line is the diagonal.

    Args:
        labels: Strategies.
        exclusive: Whether a text has one label; else each label of each text has a confidence.
    """
    sure, share, right = (
        ("Mean confidence of the bin", "Share predicted correctly", "Correct")
        if exclusive
        else ("Mean probability of the bin", "Share that has the label", "Has the label")
    )
    x = {
        "field": "x",
        "type": "quantitative",
        "title": sure,
        "scale": {"zero": False, "domainMax": 1},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": share,
        "scale": {"zero": False, "domainMax": 1},
    }
    said = [
        *(_tip("series", "Strategy"), _tip("seed", "Seed"), _tip("count", "Decisions", "quantitative", ",")),
        *(_tip("x", "Confidence", "quantitative", ".3f"), _tip("y", right, "quantitative", ".3f")),
        *(_tip("low", "Interval from", "quantitative", ".3f"), _tip("high", "to", "quantitative", ".3f")),
    ]
    detail = [{"field": "series"}, {"field": "seed"}, {"field": "kind"}]
    place = {"x": x, "y": y, "color": _color(labels)}
    line = place | {"detail": detail, "order": {"field": "x", "type": "quantitative"}}
    return _chart(
        [
            _layer(
                "datum.kind === 'diagonal'",
                {"type": "line", "strokeDash": [5, 3], "color": "var(--soft)"},
                x=x,
                y=y,
            ),
            _layer(
                "isValid(datum.low)",
                {"type": "rule", "strokeWidth": 1, "opacity": 0.45},
                **place | {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            ),
            _layer(
                "datum.kind === 'seed'",
                {"type": "line", "strokeWidth": 0.8, "opacity": 0.6},
                **line,
            ),
            _layer(
                "datum.kind === 'mean'",
                {"type": "line", "strokeWidth": 1.6},
                **line,
            ),
            _layer(
                "datum.kind !== 'diagonal'",
                {"type": "point", "filled": True, "opacity": 1},
                **place,
                shape=_shape(labels),
                size={"condition": {"test": "datum.kind === 'mean'", "value": 55}, "value": 18},
                tooltip=said,
            ),
        ],
        f"{share} by confidence",
        height=230,
    )


def _chart(layers: list[dict[str, Any]], description: str, height: int = 340) -> dict[str, Any]:
    quiet = {"domainColor": "var(--rule)", "tickColor": "var(--rule)", "gridColor": "var(--grid)"}
    axis = {**quiet, "labelColor": "var(--soft)", "titleColor": "var(--ink)", "labelFontSize": 11.5}
    return {
        "$schema": _SCHEMA,
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "background": "transparent",
        "layer": layers,
        "config": {
            "view": {"stroke": None},
            "font": "system-ui, sans-serif",
            "axis": axis | {"titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8},
        },
    }


def _layer(keep: str, mark: dict[str, Any], **encoding: Any) -> dict[str, Any]:
    return {"transform": [{"filter": keep}], "mark": mark, "encoding": encoding}


def _tip(field: str, title: str, kind: str = "nominal", digits: str | None = None) -> dict[str, Any]:
    return {"field": field, "title": title, "type": kind, **({"format": digits} if digits else {})}


def _color(labels: Sequence[str]) -> dict[str, Any]:
    return _by_strategy(labels, "color")


def _shape(labels: Sequence[str]) -> dict[str, Any]:
    return _by_strategy(labels, "shape")


def _by_strategy(labels: Sequence[str], part: str) -> dict[str, Any]:
    looks = [look(i)[part] for i in range(len(labels))]
    return {
        "field": "strategy",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(labels), "range": looks},
    }
