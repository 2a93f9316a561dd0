"""The colour and the marker that a strategy has on a page."""

from __future__ import annotations

#: In the order of :data:`tunebench.report.figures.style.MARKERS`, as near as Vega has them. Each is drawn in a box
#: from -5 to 5.
MARKERS = {
    "circle": "M0,-4A4,4 0 1 1 0,4A4,4 0 1 1 0,-4Z",
    "square": "M-3.5,-3.5H3.5V3.5H-3.5Z",
    "diamond": "M0,-5L4,0L0,5L-4,0Z",
    "triangle-up": "M0,-4.5L4.5,4L-4.5,4Z",
    "triangle-down": "M0,4.5L4.5,-4L-4.5,-4Z",
    "cross": "M-1.6,-4.5H1.6V-1.6H4.5V1.6H1.6V4.5H-1.6V1.6H-4.5V-1.6H-1.6Z",
    "triangle-right": "M4.5,0L-4,4.5L-4,-4.5Z",
    "triangle-left": "M-4.5,0L4,4.5L4,-4.5Z",
}
_SHAPES = tuple(MARKERS)
#: How many strategies have a colour of their own; ``--s0`` and on in the style sheet.
_COLORS = 8


def look(index: int) -> dict[str, str]:
    """Return colour and shape of the strategy at a place in the order of the plan."""
    # Where colours begin again, the shapes move on by one.
    return {
        "color": f"var(--s{index % _COLORS})",
        "shape": _SHAPES[(index + index // _COLORS) % len(_SHAPES)],
    }
