"""A real pretrained encoder, trained for a few steps, through the formats that differ most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tunebench
from inference.conftest import run_tiny
from thorough import thorough
from tunebench.inference.export import export_run


@pytest.mark.offline_weights
@pytest.mark.parametrize("compact", [False, pytest.param(True, marks=thorough)])
def test_minilm_makes_the_round_trip(tmp_path: Path, compact: bool) -> None:
    lora = {"lora": {"rank": 4, "placement": "all_linear", "learning_rate": 2e-3}}
    size = {"train_sizes": [64], "test_size": 60} if compact else {"train_sizes": [32], "test_size": 20}
    folder = run_tiny("minilm", tmp_path, strategies=lora, epochs=1, precision="fp32", **size)
    texts = ["a superb film", "an awful, dull film about two men", "the story was fine " * 12]
    logits = {}
    for format_ in ("adapter", "merged", *["onnx-int8"] * compact):
        exported = export_run(folder, out=tmp_path / format_, format=format_)
        assert exported.facts["base"]["source"] == "minilm"
        assert "site-packages" not in (exported.folder / "config.json").read_text()
        predictor = tunebench.load(exported.folder, precision="auto" if "onnx" in format_ else "fp32")
        logits[format_] = predictor.predict_logits(texts)
    np.testing.assert_allclose(logits["merged"], logits["adapter"], atol=1e-4)
    sizes = {path.name: sum(f.stat().st_size for f in path.iterdir()) for path in map(tmp_path.joinpath, logits)}
    assert sizes["adapter"] < sizes["merged"] / 5
    if compact:
        np.testing.assert_allclose(logits["onnx-int8"], logits["adapter"], atol=0.3)
        assert sizes["adapter"] < sizes["onnx-int8"] / 5 < sizes["merged"] / 5
