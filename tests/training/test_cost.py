"""What a plan says of a run, against what the run then counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.test_encoder import make_spec, train
from tunebench.execution.estimates import estimate_runs
from tunebench.machine.settings import Execution


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        ("bert", {}),
        ("bert", {"batches": "by_length"}),
        ("bert", {"engine": "reference"}),
        ("modernbert", {}),
        ("modernbert", {"batches": "by_length"}),
    ],
)
def test_the_estimate_counts_what_the_run_counts(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, family: str, recipe: dict[str, str]
) -> None:
    """Padding too, where batches have it: random ones outside of the fast layers."""
    spec, dataset = make_spec(tiny_model(family), reviews, **recipe)
    execution = Execution(device="cpu", threads=1)
    found = estimate_runs([spec], dataset=dataset, execution=execution, measure=False)[spec.run_id]
    record, _, _ = train(spec, dataset, tmp_path)
    assert found.train_flops == pytest.approx(record.cost.train_flops, rel=0.05)
