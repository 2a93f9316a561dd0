"""The look of all figures, and how they are saved so that the same figure gives the same bytes."""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

#: Okabe and Ito's palette with its grey in place of yellow, which white paper swallows:
#: https://jfly.uni-koeln.de/color/
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "0.35"

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tunebench",
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 12.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.markersize": 5.5,
    "lines.linewidth": 1.5,
}


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn: never by colour alone."""

    color: str
    marker: str
    dashes: Any

    def line(self, label: str | None = None, **options: Any) -> Line2D:
        """Return an entry of a legend."""
        look = {"color": self.color, "marker": self.marker, "ls": self.dashes, **options}
        return Line2D([], [], label=label, **look)


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style per strategy; colours repeat after eight, each time with other markers and dashes."""
    return {
        label: Style(COLORS[i % 8], MARKERS[(i + i // 8) % 8], DASHES[(i // 8 + i) % len(DASHES)])
        for i, label in enumerate(labels)
    }


@contextmanager
def look() -> Iterator[None]:
    """Apply the look to what is drawn or saved inside; nothing of it stays behind."""
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that lays itself out; no window system is needed."""
    return Figure(figsize=(width, height), layout="constrained")


def label_thousands(axes: Axes, *, ticks: int = 4) -> None:
    """Give the x axis a few ticks at integers, with thousands separators."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_log_ticks(axis: Axis) -> None:
    """Label a log axis 0.01, 0.1, 1 in plain numbers, and in between where it spans little."""
    low, high = sorted(axis.get_view_interval())
    narrow = low > 0 and high / low < 30
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def say_nothing_to_show(axes: Axes, words: str = "no finished run yet") -> None:
    """Write into an empty panel why it is empty, and take its grid away."""
    axes.grid(visible=False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY)


def legend_beside(figure: Figure, entries: Sequence[Line2D]) -> None:
    """Put the legend right of the panels; where it is long, the figure grows."""
    figure.set_figheight(max(figure.get_figheight(), 1.4 + 0.19 * len(entries)))
    figure.legend(handles=list(entries), loc="outside right upper")


def head(figure: Figure, title: str) -> None:
    """Write the title above everything, broken where it would run into the legend."""
    text = figure.suptitle(title, x=0.01, ha="left", parse_math=False)
    beside = max((legend.get_window_extent().width for legend in figure.legends), default=0.0)
    width, room = text.get_window_extent().width, 0.96 * figure.bbox.width - beside
    if width > room:
        text.set_text(textwrap.fill(title, int(len(title) * room / width), break_on_hyphens=False))


def footnote(figure: Figure, lines: Sequence[str]) -> None:
    """Write small lines under everything else, broken where they are longer than the figure is wide."""
    if lines:
        width = int(figure.get_figwidth() * 72 / 5)  # a letter is about 5 points wide
        broken = [part for line in lines for part in textwrap.wrap(line, width)]
        figure.supxlabel("\n".join(broken), x=0.01, ha="left", fontsize=8, color=GREY)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG (160 dpi, 256 colours) and SVG, each moved into place when it is whole.

    Args:
        figure: The figure.
        stem: Path without ending; missing folders are made.

    Returns:
        The two paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    with look(), _without_glyph_warnings():
        # Laid out once. Figure.savefig would draw it a second time for each format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        return [
            _written(figure, stem.with_name(f"{stem.name}.{ending}"), write) for ending, write in WRITERS.items()
        ]


def _written(figure: Figure, path: Path, write: Callable[[Figure, Path], None]) -> Path:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(figure, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_png(figure: Figure, path: Path) -> None:
    figure.set_dpi(160)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(path, metadata={"Software": None})
    reduce_colours(path)


def _write_svg(figure: Figure, path: Path) -> None:
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(path, metadata={"Date": None})


#: How a figure is written, by the ending; without what differs from machine to machine or day to day.
WRITERS: dict[str, Callable[[Figure, Path], None]] = {"png": _write_png, "svg": _write_svg}


def reduce_colours(path: Path) -> None:
    """Rewrite a PNG with a palette of 256 colours: a third of the size, and figures look the same."""
    with Image.open(path) as drawn:
        reduced = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """Class names may be in a script the bundled font does not have: boxes, no noise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        yield
