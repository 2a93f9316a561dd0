"""Real studies that take a second: two baselines without an encoder, on made-up reviews."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.api import run_study
from tunebench.execution.display import PlainDisplay
from tunebench.execution.study import StudyResult
from tunebench.machine.settings import Execution
from tunebench.study.yaml_file import check_study

HERE = Execution(device="cpu", threads=1)
SEEDS = [1, 2, 3, 4]
#: Without cross-validation.
FAST = {"choose_by": "selection", "ngrams": 1}


def write_texts(path: Path, *, rows: int = 240, copies: int = 0) -> Path:
    """Write reviews that words tell apart, but for one in five; some of them stand there twice."""
    rng = np.random.default_rng(0)
    lines = []
    for row in range(rows):
        good = row % 2 == 0
        word = "fine" if good == (rng.random() < 0.8) else "dull"
        lines.append([f"review {row} of a {word} film, {rng.integers(99)}", "pos" if good else "neg"])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *lines, *lines[:copies]])
    return path


def two_baselines(texts: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """Return a study, as plain values, of two baselines that differ by a hair."""
    return {
        "name": "s",
        "model": str(model),
        "data": str(texts),
        "strategies": {label: {"kind": "tfidf", "c": [c], **FAST} for label, c in (("weak", 1.0), ("strong", 2.0))},
        "train_sizes": [120],
        "seeds": SEEDS,
        "subset_seed": "per_seed",
        "margin": 40,
    } | changes


def run_baselines(raw: dict[str, Any], folder: Path, told: list[str] | None = None) -> StudyResult:
    """Run a study given as plain values, and add to ``told`` what was said."""
    display = PlainDisplay(stream := io.StringIO(), interval=0.0)
    result = run_study(check_study(raw), folder=folder, execution=HERE, display=display, measure=False)
    if told is not None:
        told += stream.getvalue().splitlines()
    return result
