"""What a plan says of a run, against what the run then counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thorough import mostly_thorough
from training.test_encoder import make_spec, train
from tunebench.execution.estimates import estimate_runs
from tunebench.machine.settings import Execution
from tunebench.training.encoder.cost import _middle


@pytest.mark.parametrize(
    ("family", "recipe"),
    mostly_thorough(
        [
            ("bert", {}),
            ("bert", {"batches": "by_length"}),
            ("bert", {"engine": "reference"}),
            ("modernbert", {}),
            ("modernbert", {"batches": "by_length"}),
        ],
        keep=lambda case: case in (("bert", {"engine": "reference"}), ("modernbert", {"batches": "by_length"})),
    ),
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


def test_layers_that_are_computed_again_need_less_memory_and_more_operations(
    tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    found = []
    for recomputed in (False, True):
        spec, dataset = make_spec(tiny_model("bert"), reviews, gradient_checkpointing=recomputed)
        execution = Execution(device="cpu", threads=1)
        found.append(estimate_runs([spec], dataset=dataset, execution=execution, measure=False)[spec.run_id])
    plain, again = found
    assert again.memory_bytes < plain.memory_bytes and again.seconds > plain.seconds
    assert 1.2 < again.train_flops / plain.train_flops < 1.4


def test_the_measured_batch_is_the_middle_or_everything() -> None:
    texts = np.arange(10)
    assert _middle(texts, 4).tolist() == [3, 4, 5, 6]
    for count in (10, 12, 64):
        assert _middle(texts, count).tolist() == list(range(10))
