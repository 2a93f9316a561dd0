"""What a plan says of a run, against what the run then counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thorough import mostly_thorough
from training.test_encoder import make_spec, train
from tunebench.execution.estimates import estimate_each
from tunebench.machine.settings import Execution
from tunebench.store.timings import Timings
from tunebench.training.encoder.rates import _middle
from tunebench.training.estimate import Estimate


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
    found = estimate_each([spec], dataset=dataset, execution=execution, measure=False)[0]
    record, _, _ = train(spec, dataset, tmp_path)
    assert found.train_flops == pytest.approx(record.cost.train_flops, rel=0.05)


def test_layers_that_are_computed_again_need_less_memory_and_more_operations(
    tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    found = []
    for recomputed in (False, True):
        spec, dataset = make_spec(tiny_model("bert"), reviews, gradient_checkpointing=recomputed)
        execution = Execution(device="cpu", threads=1)
        found.append(estimate_each([spec], dataset=dataset, execution=execution, measure=False)[0])
    plain, again = found
    assert again.memory_bytes < plain.memory_bytes and again.seconds > plain.seconds
    assert 1.2 < again.train_flops / plain.train_flops < 1.4


def test_the_measured_batch_is_the_middle_or_everything() -> None:
    texts = np.arange(10)
    assert _middle(texts, 4).tolist() == [3, 4, 5, 6]
    for count in (10, 12, 64):
        assert _middle(texts, count).tolist() == list(range(10))


def test_a_resumed_study_measures_nothing_again(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, dataset = make_spec(tiny_model("bert"), reviews)
    linear = encoder.model_copy(update={"kind": "tfidf", "label": "tfidf", "params": {"choose_by": "selection"}})
    told: list[str] = []

    def estimated(threads: int) -> list[Estimate]:
        """As a process does that finds the study's folder."""
        timings = Timings()
        timings.load(tmp_path)
        execution = Execution(device="cpu", threads=threads)
        options = {"execution": execution, "on_progress": told.append, "timings": timings}
        found = estimate_each([encoder, linear], dataset=dataset, measure=True, **options)
        timings.save(tmp_path)
        return found

    first = estimated(1)
    assert told == [f"measuring {encoder.label}"] and all(one.measured for one in first)
    for place in ("tunebench.training.encoder.cost.measure_rates", "tunebench.training.linear.run._estimated"):
        monkeypatch.setattr(place, lambda *_: pytest.fail("it was measured again"))
    assert estimated(1) == first and len(told) == 1
    with pytest.raises(pytest.fail.Exception):
        estimated(2)
