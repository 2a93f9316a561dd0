"""What ``tunebench bench --scaling`` measured, and its table and figure.

A power law is fitted to each growth, which is a straight line between logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PowerLaw:
    """``y = factor * x ** exponent`` with a 95 % interval of the exponent (t, over the points)."""

    factor: float
    exponent: float
    low: float
    high: float


@dataclass(frozen=True)
class Growth:
    """One thing measured against another.

    Attributes:
        x_name: What was varied.
        y_name: What was measured, with its unit.
        x: Its values.
        y: The measurements.
    """

    x_name: str
    y_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def fit(self) -> PowerLaw | None:
        """Return the least-squares line between logarithms; None for fewer than four points."""
        from scipy import stats

        if len(self.x) < 4:
            return None
        found = stats.linregress(np.log(self.x), np.log(self.y))
        half = float(stats.t.ppf(0.975, len(self.x) - 2) * found.stderr)
        slope = float(found.slope)
        return PowerLaw(math.exp(float(found.intercept)), slope, slope - half, slope + half)


@dataclass
class ScalingResult:
    """Everything measured, by a short name of each measurement."""

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    precision: str
    growths: dict[str, Growth]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, fits included."""
        found = asdict(self)
        for name, growth in self.growths.items():
            fit = growth.fit()
            found["growths"][name]["fit"] = None if fit is None else asdict(fit)
        return found


def render_scaling(result: ScalingResult) -> str:
    """Return measurements and fits as text."""
    info = result.machine
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads, {result.precision}",
        "",
    ]
    for name, growth in result.growths.items():
        lines.append(f"{name}: {growth.y_name} by {growth.x_name}")
        lines.append("  " + "  ".join(f"{x:,.0f}: {y:.3g}" for x, y in zip(growth.x, growth.y, strict=True)))
        if fit := growth.fit():
            lines.append(f"  grows as its power {fit.exponent:.2f} [{fit.low:.2f}, {fit.high:.2f}]")
    return "\n".join(lines) + "\n"


def save_scaling_figure(result: ScalingResult, stem: Path) -> list[Path]:
    """Draw every growth with its fit, one panel for each pair of axes, as SVG and PNG.

    Args:
        result: The measurements.
        stem: Path without ending.

    Returns:
        The paths written.
    """
    from tunebench.report.figures.style import look, new_figure, save, styles

    panels: dict[tuple[str, str], list[str]] = {}
    for name, growth in result.growths.items():
        unit = "seconds" if growth.x_name == "runs" else growth.y_name
        panels.setdefault((growth.x_name, unit), []).append(name)
    with look():
        columns = 3
        rows = math.ceil(len(panels) / columns)
        figure = new_figure(10, 3.1 * rows)
        for number, ((x_name, y_name), names) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, number)
            for name, style in styles(names).items():
                growth = result.growths[name]
                fit = growth.fit()
                label = name if fit is None else f"{name}: power {fit.exponent:.2f}"
                axes.plot(growth.x, growth.y, ls="", marker=style.marker, color=style.color, label=label)
                if fit is not None:
                    ends = np.array([min(growth.x), max(growth.x)])
                    axes.plot(ends, fit.factor * ends**fit.exponent, color=style.color, ls=style.dashes)
            # Room above the points for the names.
            axes.margins(y=0.3)
            _scale(axes, sorted({x for name in names for x in result.growths[name].x}))
            axes.set_xlabel(x_name.capitalize())
            axes.set_ylabel(y_name.capitalize())
            axes.legend(fontsize=8, loc="upper left")
        return save(figure, stem)


def _scale(axes: Any, points: Sequence[float]) -> None:
    """Scale both axes by logarithm where there is a range, marking what was measured; a few points stay plain."""
    from matplotlib.ticker import EngFormatter, NullLocator

    from tunebench.report.figures.style import plain_log_ticks

    if len(points) > 2:
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
        axes.margins(x=0.3)
    if len(points) <= 5:
        axes.set_xticks(points)
