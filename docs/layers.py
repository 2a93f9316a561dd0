"""Draw the layers of the package and the imports between them into ``docs/images/layers.svg``: ``make layers``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from test_layers import ORDER, SOURCE, imports, place  # noqa: E402

#: Used by nearly every layer: lines to them would hide the others.
COMMON = ("errors", "schema", "recipe", "stats", "formatting", "templates", "files", "machine", "__init__")


def draw(path: Path) -> None:
    """Draw a box for each folder, and a line where one imports another; the lowest layer stands below."""
    layers = [[p for p in line.split() if p != "__init__"] for line in ORDER.strip().splitlines()]
    centre = {p: (12 * (i + 0.5) / len(row), y) for y, row in enumerate(layers) for i, p in enumerate(row)}
    edges = Counter((place(a), place(b)) for a, b, _ in imports(SOURCE) if place(a) != place(b))
    figure = Figure(figsize=(9.6, 8.4), layout="constrained")
    axes = figure.add_subplot()
    for (user, used), count in edges.items():
        if used not in COMMON:
            (x, y), (u, v) = centre[user], centre[used]
            axes.plot([x, u], [y - 0.26, v + 0.26], color="#57606a", lw=0.5 + 0.1 * min(count, 20), alpha=0.45)
    for name, (x, y) in centre.items():
        colour = "#eaeef2" if name in COMMON else "#ddf4ff"
        box = FancyBboxPatch((x - 0.8, y - 0.24), 1.6, 0.48, boxstyle="round,pad=0.03", fc=colour, ec="#57606a")
        axes.add_patch(box).set_zorder(3)
        label = name if (SOURCE / name).is_dir() else f"{name}.py"
        axes.text(x, y, label, ha="center", va="center", fontsize=10, zorder=4)
    axes.set(xlim=(0, 12), ylim=(-0.6, len(layers) - 0.4))
    axes.axis("off")
    # The same code gives the same file: no date, and ids that do not change.
    with matplotlib.rc_context({"svg.hashsalt": "layers", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "layers.svg")
