"""The whole measurement on a tiny model: every side is served by a process of its own and answers alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thorough import thorough
from tunebench.benchmarks.serving import SIDES, run_serve_bench
from tunebench.benchmarks.serving_result import render_serve
from tunebench.errors import ConfigError
from web.serving.conftest import lively

#: The slowest to export and the one that differs least from another are left to the command itself.
MEASURED = tuple(side for side in SIDES if side not in ("merged", "onnx-int8"))


@pytest.mark.parametrize("measured", [("pipeline", "8 adapters"), pytest.param(MEASURED, marks=thorough)])
def test_every_side_is_measured(measured: tuple[str, ...], reviews: Path, tmp_path: Path) -> None:
    if "onnx" in measured:
        pytest.importorskip("onnxscript")
    told: list[str] = []
    result = run_serve_bench(
        str(lively(tmp_path / "base", "bert")),
        data=str(reviews),
        reviews=40,
        train_size=60,
        max_length=24,
        concurrency=(1, 4),
        sides=measured,
        seconds=2,
        threads=1,
        tell=told.append,
    )
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert list(found["sides"]) == list(measured) and found["left_out"] == {}
    for name, side in found["sides"].items():
        assert side["loads"]["4"]["requests"] == result.reviews == 40
        assert 0 < side["loads"]["1"]["p50_ms"] <= side["loads"]["1"]["p99_ms"]
        # Rounding to bf16 may turn a text or two; anything else would be another model.
        assert side["equal_predictions"] >= 0.95
        assert side["equal_predictions"] == 1 or name != "pipeline"
        assert 0 <= side["score"] <= 1 and side["memory_bytes"] > 1e8
    assert found["throughput_ratio"]["pipeline"] == 1
    text = render_serve(result)
    assert all(f"\n{name}" in text for name in measured)
    if "1 adapter" in measured:
        assert found["memory_ratio_8_adapters"] == pytest.approx(1, abs=0.3)
        assert "8 adapters take" in text


def test_without_a_pipeline_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="compared with the plain pipeline"):
        run_serve_bench("minilm", sides=["merged", "pipeline"])
