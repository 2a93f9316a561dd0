"""Growth measured on a tiny model, and the power law against numbers made by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tunebench.benchmarks.scaling import run_scaling_bench
from tunebench.benchmarks.scaling_result import Growth, render_scaling, save_scaling_figure


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_power_that_made_the_numbers_is_found(exponent: float) -> None:
    x = np.array([10.0, 30.0, 100.0, 300.0, 1000.0])
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, len(x)))
    fit = Growth("x", "y", tuple(x), tuple(3 * x**exponent * noise)).fit()
    assert fit is not None
    assert fit.low < exponent < fit.high
    assert fit.factor == pytest.approx(3, rel=0.2)
    # The line is the one that the definition of least squares gives.
    slope, intercept = np.polyfit(np.log(x), np.log(3 * x**exponent * noise), 1)
    assert (fit.exponent, np.log(fit.factor)) == pytest.approx((slope, intercept))


def test_three_points_are_no_law() -> None:
    assert Growth("x", "y", (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)).fit() is None


def test_everything_is_measured_and_shown(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    result = run_scaling_bench(
        str(tiny_model("bert")),
        threads=1,
        texts=(10, 20, 40, 80),
        epoch_texts=(32, 64),
        lengths=(8, 16, 4096),
        shapes=((1, 32), (2, 32)),
        runs=(2, 4),
    )
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))["growths"]
    assert found["tokenise"]["fit"]["low"] < found["tokenise"]["fit"]["high"]
    assert found["length, full"]["x"] == [8, 16], "no model is asked for more positions than it has"
    first, second = found["parameters"]["x"]
    assert second == 2 * first
    assert found["report"]["x"] == [2, 4] and found["workers"]["x"] == [1]
    assert all(value > 0 for growth in found.values() for value in growth["y"])
    text = render_scaling(result)
    assert all(name in text for name in found)
    assert [path.suffix for path in save_scaling_figure(result, tmp_path / "s")] == [".png", ".svg"]
