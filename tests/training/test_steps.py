"""Settings of the steps: accumulated gradients, limits, warm-up, restarts and optimisers."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from thorough import mostly_thorough
from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import load_study
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.registry import run_one

CPU = Execution(device="cpu", threads=1)
SHARED = {"engine": "reference", "randomness": "fast_engine"}


def config(model: Path, place: Path, **changes: Any) -> StudyConfig:
    raw = {
        "name": "steps",
        "model": str(model),
        "data": str(place),
        "strategies": {"full": {"learning_rate": 1e-3}},
        "train_sizes": [120],
        "seeds": [1],
        "max_length": 16,
        "epochs": 1,
        "batch_size": 32,
        "precision": "fp32",
        "evaluations_per_epoch": 1,
    }
    return StudyConfig.model_validate(raw | changes)


def trained(study: StudyConfig, place: Path, stop_after: int | None = None) -> tuple[RunRecord, RunFolder, int]:
    """Train the one run of a study; return its record, its folder and the steps that were planned."""
    plan = make_plan(study, execution=CPU, measure=False)
    (run,) = plan.runs
    folder, calls = RunFolder(place / run.spec.run_id), iter(range(10**6))
    folder.begin(run.spec)

    def stop() -> bool:
        return stop_after is not None and next(calls) + 1 >= stop_after

    record = run_one(Attempt(run.spec, plan.dataset, folder, CPU, stop=stop))
    return record, folder, plan.estimates[run.spec.run_id].steps


def rates(record: RunRecord) -> list[float]:
    return [entry["learning_rate"] for entry in record.log_history if "learning_rate" in entry]


@pytest.fixture(scope="module")
def without_dropout(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Path:
    folder = tmp_path_factory.mktemp("dry") / "model"
    shutil.copytree(tiny_model("distilbert"), folder)
    facts = json.loads((folder / "config.json").read_text())
    facts |= {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    ("engine", "changes"),
    mostly_thorough(
        [("fast", {}), ("fast", {"class_weights": {"pos": 3}}), ("reference", {"label_smoothing": 0.1})],
        keep=lambda case: bool(case[1]),
    ),
)
def test_accumulated_gradients_are_those_of_the_larger_batch(
    without_dropout: Path, reviews: Path, tmp_path: Path, engine: str, changes: dict[str, Any]
) -> None:
    found = []
    for size, times in ((32, 1), (8, 4)):
        study = config(
            without_dropout, reviews, engine=engine, batch_size=size, gradient_accumulation=times, **changes
        )
        found.append(trained(study, tmp_path))
    (large, kept, planned), (small, folder, also) = found
    assert large.timing and small.timing and large.run_id != small.run_id
    # 108 texts: three steps of 32, and one of 12, whose batches have 8 and 4.
    assert len(large.timing.step_seconds) == len(small.timing.step_seconds) == planned == also == 4
    if engine == "reference":
        # Its order of texts is the Trainer's own, the same for both.
        assert rates(large) == rates(small)
    losses = [[entry["loss"] for entry in record.log_history if "loss" in entry] for record in (large, small)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    # Not the weights: Adam makes whole steps of gradients that are nothing but rounding, as of the keys' biases.
    first, second = (folder.read_predictions()["logits"] for folder in (kept, folder))
    np.testing.assert_allclose(first, second, atol=2e-4)


def test_accumulation_resumes_where_it_stopped(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    study = config(tiny_model("distilbert"), reviews, batch_size=8, gradient_accumulation=3, epochs=2)
    _, whole, _ = trained(study, tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(study, tmp_path / "cut", 3)
    _, cut, _ = trained(study, tmp_path / "cut")
    assert whole.weights.read_bytes() == cut.weights.read_bytes()


def test_most_steps_end_the_schedule_too(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    study = config(tiny_model("distilbert"), reviews, batch_size=8, epochs=3, max_steps=10, warmup_steps=4)
    record, _, planned = trained(study, tmp_path)
    assert record.timing and len(record.timing.step_seconds) == planned == 10
    # The rate of a step is that before the schedule moves on.
    expected = [min(step / 4, (10 - step) / 6) * 1e-3 for step in range(10)]
    np.testing.assert_allclose(rates(record), expected, atol=1e-12)


def test_the_rate_begins_anew_as_often_as_asked(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    study = config(tiny_model("distilbert"), reviews, batch_size=9, schedule="cosine_with_restarts", restarts=3)
    record, _, _ = trained(study, tmp_path)
    found = rates(record)
    assert len(found) == 12 and sum(b > a for a, b in itertools.pairwise(found)) == 3
    assert found[::3] == pytest.approx([1e-3] * 4)
    assert found[1] == pytest.approx(1e-3 * (1 + math.cos(math.pi / 3)) / 2)


def test_adafactor_learns_and_resumes(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    study = config(tiny_model("distilbert"), reviews, batch_size=16, optimizer="adafactor")
    _, whole, _ = trained(study, tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(study, tmp_path / "cut", 5)
    _, cut, _ = trained(study, tmp_path / "cut")
    assert whole.weights.read_bytes() == cut.weights.read_bytes()
    _, plain, _ = trained(config(tiny_model("distilbert"), reviews, batch_size=16), tmp_path / "plain")
    assert plain.weights.read_bytes() != whole.weights.read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("optimizer=sgd",), "optimizer: this is not one of the choices(?s:.)*adafactor"),
        (("warmup_steps=5", "warmup_ratio=0.1"), "say the same twice"),
        (("max_steps=5", "min_steps=6"), "max_steps: 5 .* is below min_steps: 6"),
        (("max_steps=5", "warmup_steps=5"), "leaves no step of max_steps: 5"),
        (("restarts=3",), "restarts has no effect without schedule: cosine_with_restarts"),
        (("randomness=fast_engine",), "randomness has no effect without engine: reference; remove it, or set both"),
        (("gradient_accumulation=0",), "gradient_accumulation: this is out of range"),
    ],
)
def test_settings_that_contradict_each_other_have_a_message(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(TunebenchError, match=message):
        load_study("quickstart", overrides=settings)


@pytest.mark.parametrize(
    ("family", "engine", "kind"),
    mostly_thorough(
        [
            ("distilbert", "fast", "lora"),
            ("bert", "reference", "full"),
            ("bert", "fast", "full"),
            ("modernbert", "fast", "full"),
        ],
        keep=lambda case: case[2] == "lora" or case[1] == "reference",
    ),
)
def test_gradient_checkpointing_gives_the_same_result_with_dropout(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, family: str, engine: str, kind: str
) -> None:
    found = []
    for recomputed in (False, True):
        changes = {"engine": engine, "gradient_checkpointing": recomputed, "train_sizes": [60], "batch_size": 16}
        study = config(tiny_model(family), reviews, strategies={kind: {"learning_rate": 1e-3}}, **changes)
        found.append(trained(study, tmp_path))
    (plain, kept, _), (again, folder, _) = found
    assert plain.run_id != again.run_id
    losses = [[entry["loss"] for entry in record.log_history if "loss" in entry] for record in (plain, again)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    first, second = (folder.read_predictions()["logits"] for folder in (kept, folder))
    np.testing.assert_allclose(first, second, atol=1e-5)
    # The record says which layers computed again, and counts it.
    assert plain.cost and again.cost and plain.cost.train_flops and again.cost.train_flops
    assert 1.1 < again.cost.train_flops / plain.cost.train_flops < 1.5
    said = again.environment.machine["gradient_checkpointing"]
    assert said == ("fast layers" if again.environment.machine["fast_layers"] else "Transformers' layers")
    assert "gradient_checkpointing" not in plain.environment.machine


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
def test_word_embeddings_that_no_training_text_uses_stay_as_they_are(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    record, stored, _ = trained(config(folder, reviews, train_sizes=[40]), tmp_path)
    before = load_file(folder / "model.safetensors")
    (name,) = [name for name in before if name.endswith(("word_embeddings.weight", "tok_embeddings.weight"))]
    after = load_file(stored.weights)
    moved = (after[name] != before[name]).any(1)
    # Padding has a row among those that are trained, and no gradient.
    said = record.environment.machine["trained_embedding_rows"] - 1, record.environment.machine["embedding_rows"]
    assert (int(moved.sum()), len(moved)) == said
    assert said[0] < said[1]
    decayed, _, _ = trained(config(folder, reviews, train_sizes=[40], weight_decay=0.01), tmp_path)
    assert "trained_embedding_rows" not in decayed.environment.machine


def test_what_is_not_there_is_refused_with_its_reason(tiny_model: Callable[[str], Path], reviews: Path) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(TunebenchError, match="lion comes from bitsandbytes, which is not installed"):
            make_plan(config(tiny_model("distilbert"), reviews, optimizer="lion"), execution=CPU, measure=False)


@pytest.mark.parametrize(
    ("family", "strategy", "changes"),
    mostly_thorough(
        [
            ("bert", {"kind": "full"}, {}),
            ("distilbert", {"kind": "lora", "placement": "all_linear"}, {"gradient_accumulation": 2}),
            ("bert", {"kind": "last_k", "layers": 1}, {"frozen_dropout": False, "gradient_checkpointing": True}),
        ],
        keep=lambda case: case[1]["kind"] == "lora",
    ),
)
def test_the_reference_engine_takes_masks_and_order_of_the_fast_engine(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, family: str, strategy: Any, changes: Any
) -> None:
    losses, logits = [], []
    for engine in ({"engine": "fast"}, SHARED, {"engine": "reference"}):
        settings = {"batch_size": 16, "max_length": 24, **changes, **engine}
        strategies = {"a": strategy | {"learning_rate": 1e-3}}
        study = config(tiny_model(family), reviews, strategies=strategies, **settings)
        record, folder, _ = trained(study, tmp_path)
        losses.append([entry["loss"] for entry in record.log_history if "loss" in entry])
        logits.append(folder.read_predictions()["logits"])
    assert len(losses[0]) > 3
    same, other = (max(abs(a - b) for a, b in zip(losses[0], found, strict=True)) for found in losses[1:])
    assert same < 2e-5 and other > 1e-3
    # Adam makes whole steps of gradients that are nothing but rounding, so that weights part a little.
    same, other = (abs(logits[0] - found).max() for found in logits[1:])
    assert same < 2e-4 and other > 1e-3


def test_masks_of_the_fast_engine_are_those_of_the_step_that_is_resumed(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    study = config(tiny_model("distilbert"), reviews, batch_size=16, epochs=2, **SHARED)
    _, whole, _ = trained(study, tmp_path / "whole")
    # In the second epoch.
    with pytest.raises(Interrupted):
        trained(study, tmp_path / "cut", 9)
    _, cut, _ = trained(study, tmp_path / "cut")
    assert whole.weights.read_bytes() == cut.weights.read_bytes()
