"""Draw a training step of the fast engine into ``docs/images/step.svg``: ``make step``.

Above: what a layer of an encoder computes, and what does it. Below: where the time of a step goes, from what
``tunebench bench --profile`` measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "docs" / "results" / "profile-minilm-epyc.json"

#: Colour and hatch of what does the work, and how it is called.
KINDS = {
    "product": ("#9ecae1", "", "products with weights (oneDNN)"),
    "attention": ("#f6b26b", "//", "attention (native kernel)"),
    "gelu": ("#fbe0bd", "..", "GELU (native kernel)"),
    "other": ("#d9d9d9", "", "dropout + residual + norm (native kernel), embeddings, loss, optimiser and more"),
}
#: A layer, from its input on.
LAYER = (
    ("query, key,\nvalue", "product"),
    ("attention", "attention"),
    ("output", "product"),
    ("dropout +\nresidual + norm", "other"),
    ("up", "product"),
    ("GELU", "gelu"),
    ("down", "product"),
    ("dropout +\nresidual + norm", "other"),
)
#: Operators of the profile by their kind; what is not named is one of the many others.
OPERATORS = {
    "mm": "product",
    "mkldnn::_linear_pointwise": "product",
    "AttentionKernel": "attention",
    "AttentionKernelBackward": "attention",
    "GeluKernel": "gelu",
    "GeluKernelBackward": "gelu",
}


def milliseconds(profile: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds of a step by kind."""
    found = dict.fromkeys(KINDS, 0.0)
    for line in profile["lines"]:
        found[OPERATORS.get(line["operator"], "other")] += line["milliseconds"]
    return found


def draw(path: Path) -> None:
    """Draw both parts."""
    measured = json.loads(PROFILE.read_text())
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1.0, 1.5])
    _draw_layer(above)
    _draw_time(below, measured)
    legend = [Patch(fc=c, ec="#57606a", hatch=hatch, label=label) for c, hatch, label in KINDS.values()]
    figure.legend(handles=legend, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    # The same file gives the same picture: no date, and ids that do not change.
    with matplotlib.rc_context({"svg.hashsalt": "step", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _draw_layer(axes: Axes) -> None:
    for number, (name, kind) in enumerate(LAYER):
        colour, hatch, _ = KINDS[kind]
        box = FancyBboxPatch(
            (number - 0.42, -0.3), 0.84, 0.6, boxstyle="round,pad=0.02", fc=colour, ec="#57606a", hatch=hatch
        )
        axes.add_patch(box)
        axes.text(number, 0, name, ha="center", va="center", fontsize=8, bbox=_behind(hatch))
        arrow = {"arrowstyle": "->", "color": "#57606a"}
        axes.annotate("", (number - 0.44, 0), (number - 0.56, 0), arrowprops=arrow)
    axes.set(xlim=(-0.7, len(LAYER) - 0.4), ylim=(-0.5, 0.5))
    axes.set_title(
        "One layer, forward; the backward pass goes through the same boxes from right to left", fontsize=10
    )
    axes.axis("off")


def _behind(hatch: str) -> dict[str, Any] | None:
    """Return what makes a text readable on a hatched box."""
    return {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8} if hatch else None


def _draw_time(axes: Axes, measured: dict[str, Any]) -> None:
    names = {"full": "full fine-tuning", "lora": "LoRA"}
    for row, profile in enumerate(measured["profiles"]):
        found, left = milliseconds(profile), 0.0
        whole = sum(found.values())
        for kind, value in found.items():
            colour, hatch, _ = KINDS[kind]
            axes.barh(row, value, left=left, height=0.6, color=colour, edgecolor="#57606a", hatch=hatch)
            if value > 0.05 * whole:
                share = f"{100 * value / whole:.0f} %"
                axes.text(left + value / 2, row, share, ha="center", va="center", fontsize=9, bbox=_behind(hatch))
            left += value
    axes.set_yticks(range(len(measured["profiles"])), [names[p["strategy"]] for p in measured["profiles"]])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(
        f"milliseconds of operators in a step: MiniLM, {measured['batch']} texts of "
        f"{measured['mean_tokens']:.0f} tokens on average,\n{measured['precision']}, {measured['threads']} threads "
        f"of an {measured['machine']['cpu']} with AVX512-BF16",
        fontsize=9,
    )


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "step.svg")
