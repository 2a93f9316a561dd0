"""Single runs on a tiny model and real text: the record, resumption, seeds, and what is loaded back."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerState

import factories
import warm
from thorough import mostly_thorough
from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.data.splits import Parts
from tunebench.engine.checkpoint import latest_checkpoint, load_weights, read_state
from tunebench.execution.estimates import estimate_each
from tunebench.machine.settings import Execution
from tunebench.models.sources import model_folder, resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.store.live import Progress
from tunebench.store.record import Parameters, RunRecord, Selected
from tunebench.store.run_folder import RunFolder
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.tasks.metric import Metric
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.encoder.callbacks import Loop, Meters, NonFiniteLossError, RunContext
from tunebench.training.encoder.prepare import prepare_model, training_arguments
from tunebench.training.encoder.trainer import StudyTrainer
from tunebench.training.measurements import RunMeasurements, Trained
from tunebench.training.registry import run_one

LORA = {"kind": "lora", "placement": "attention", "rank": 4, "learning_rate": 5e-3, "dropout": 0.1}


def make_spec(model: Path, data: Path, strategy: str = "full", **changes: Any) -> tuple[RunSpec, TextDataset]:
    settings: dict[str, Any] = {
        "name": "t",
        "model": str(model),
        "data": str(data),
        "strategies": {"full": {"learning_rate": 3e-3}} if strategy == "full" else {"lora": LORA},
        "train_sizes": [120],
        "seeds": [3],
        "max_length": 24,
        "epochs": 2,
        "batch_size": 8,
        "evaluations_per_epoch": 2,
    }
    study = StudyConfig.model_validate(settings | changes)
    dataset = load_dataset(DataConfig(source=str(data)))
    ref = DataRef(source=str(data), fingerprint=dataset.fingerprint, label_names=dataset.label_names)
    (spec,) = expand(
        study,
        model=resolve_model(str(model)),
        data=ref,
        train_examples=len(dataset.train),
        test_examples=60,
        precision={"fast": "bf16", "reference": "fp32"},
    )
    return spec, dataset


def train(
    spec: RunSpec, dataset: TextDataset, place: Path, stop: Callable[[], bool] = lambda: False
) -> tuple[RunRecord, RunFolder, list[Progress]]:
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    seen: list[Progress] = []
    execution = Execution(device="cpu", threads=1)
    record = run_one(Attempt(spec, dataset, folder, execution, report=seen.append, stop=stop))
    return record, folder, seen


def stop_after(steps: int) -> Callable[[], bool]:
    calls = iter(range(10**6))
    return lambda: next(calls) + 1 >= steps


def test_what_the_base_was_like_is_recorded_as_it_was_loaded(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_model("bert"), tmp_path / "base"))
    weights = load_file(base / "model.safetensors")
    wrapped = {f"module.{name}": value for name, value in weights.items() if "pooler" not in name}
    save_file(wrapped, base / "model.safetensors")
    spec, dataset = make_spec(base, reviews, epochs=1, train_sizes=[40])
    folder = RunFolder(tmp_path / spec.run_id)
    folder.begin(spec)

    def report(progress: Progress) -> None:
        if progress.phase == "train":  # a base that is gone by now is no reason to lose the run
            shutil.rmtree(base, ignore_errors=True)

    record = run_one(Attempt(spec, dataset, folder, Execution(device="cpu", threads=1), report=report))
    assert not base.exists() and record.status == "complete"
    said = record.environment.machine
    assert said["prefix_taken_off_weights"] == "module."
    assert said["drawn_with_the_head"] == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]


@pytest.mark.parametrize(
    ("engine", "strategy"),
    mostly_thorough(
        itertools.product(["fast", "reference"], ["full", "lora"]),
        keep=lambda case: case in (("fast", "lora"), ("reference", "full")),
    ),
)
def test_a_run_learns_and_its_record_adds_up(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, strategy: str, engine: str
) -> None:
    # LoRA takes longer to learn.
    strategies, epochs = ({"full": {"learning_rate": 5e-3}}, 5) if strategy == "full" else ({"lora": LORA}, 20)
    spec, dataset = make_spec(
        tiny_model("distilbert"), reviews, strategies=strategies, engine=engine, epochs=epochs
    )
    record, folder, seen = train(spec, dataset, tmp_path)
    assert record.status == "complete"
    assert RunRecord.model_validate(json.loads(record.model_dump_json())) == record
    assert record.scores and record.selected and record.timing and record.cost and record.examples
    assert record.parameters
    assert record.scores["macro_f1"] > 0.7
    assert record.parameters.adapter + record.parameters.head == record.parameters.trainable
    assert (record.parameters.total == record.parameters.trainable) == (strategy == "full")
    assert (record.examples.train, record.examples.validation, record.examples.test) == (108, 12, 60)
    assert sum(map(sum, record.scores.confusion)) == 60
    steps = math.ceil(108 / 8) * epochs
    assert len(record.timing.step_seconds) == steps
    assert record.timing.train_seconds == pytest.approx(sum(record.timing.step_seconds), abs=0.01 * steps)
    assert record.timing.wall_seconds >= record.timing.train_seconds + record.timing.eval_seconds
    assert record.cost.tokens <= record.cost.tokens_padded
    if engine == "reference":
        assert record.cost.tokens_padded == 108 * epochs * 24
    else:
        assert record.cost.tokens_padded < 1.1 * record.cost.tokens
    evaluations = [entry for entry in record.log_history if "eval_macro_f1" in entry]
    assert len(evaluations) == epochs * 2
    assert record.selected.by == "validation"
    best = max(evaluations, key=lambda entry: entry["eval_macro_f1"])
    assert (record.selected.step, record.selected.score) == (best["step"], best["eval_macro_f1"])
    stored = folder.read_predictions()
    assert stored["logits"].shape == (60, 2)
    assert np.array_equal(stored["labels"], dataset.test.labels)  # type: ignore[union-attr]
    predicted = stored["logits"].argmax(axis=1)
    assert record.scores["accuracy"] == pytest.approx((predicted == stored["labels"]).mean())
    folder.commit(record)
    folder.verify(record)
    assert folder.read() == record
    assert {p.phase for p in seen} >= {"prepare", "train"}


def test_the_scale_of_a_loss_in_fp16_is_kept_with_a_checkpoint(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accelerate takes no fp16 on CPUs, so the scaler that it would make on a GPU is put in its place."""
    # Accelerate clips unscaled gradients where it knows of a scale.
    plain, dataset = make_spec(tiny_model("bert"), reviews, engine="reference", max_grad_norm=0.0)
    unscaled, *_ = train(plain, dataset, tmp_path / "plain")
    scales = []
    make = StudyTrainer.create_accelerator_and_postprocess

    def with_scaler(trainer: StudyTrainer) -> None:
        make(trainer)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        trainer.accelerator.scaler = scaler
        after_step = trainer.training_step

        def step(*args: Any, **kwargs: Any) -> Any:
            scales.append(scaler.get_scale())
            return after_step(*args, **kwargs)

        monkeypatch.setattr(trainer, "training_step", step)

    monkeypatch.setattr(StudyTrainer, "create_accelerator_and_postprocess", with_scaler)
    whole, *_ = train(plain, dataset, tmp_path / "whole")
    undisturbed = scales.copy()
    assert undisturbed[:7] == [1024.0] * 3 + [2048.0] * 3 + [4096.0], "it grows with every third step"
    scales.clear()
    with pytest.raises(Interrupted):
        train(plain, dataset, tmp_path / "cut", stop_after(8))
    cut, *_ = train(plain, dataset, tmp_path / "cut")
    assert scales == undisturbed
    # A power of two changes no digit.
    assert cut.scores == whole.scores == unscaled.scores


@pytest.mark.parametrize(
    ("autocast", "arguments"),
    [(torch.float16, (True, False)), (torch.bfloat16, (False, True)), (None, (False, False))],
)
def test_the_trainer_is_asked_for_the_precision_of_the_run(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    autocast: torch.dtype | None,
    arguments: tuple[bool, bool],
) -> None:
    spec, _ = make_spec(tiny_model("bert"), reviews)
    found = training_arguments(
        spec, output=tmp_path, device="cpu", steps_per_epoch=14, evaluates=False, autocast=autocast
    )
    assert (found.fp16, found.bf16) == arguments


@pytest.mark.parametrize("kind", ["full", "ia3"])
def test_what_was_trained_in_fp16_computes_in_fp32_on_a_cpu(
    tiny_model: Callable[[str], Path], reviews: Path, kind: str
) -> None:
    spec, _ = make_spec(tiny_model("bert"), reviews, strategies={kind: {"learning_rate": 1e-3}}, precision="fp16")
    ids = torch.arange(5, 17).view(2, 6)
    found = []
    for precision in ("fp16", "fp32"):
        prepared = prepare_model(spec.model_copy(update={"precision": precision}), device="cpu")
        assert prepared.autocast is None and prepared.fast is not None
        with torch.inference_mode():
            found.append(prepared.model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
    assert torch.equal(*found)


def test_a_stopped_run_that_unfreezes_gradually_goes_on(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    strategies = {"full": {"learning_rate": 1e-3, "unfreeze": 0.5}}
    spec, dataset = make_spec(tiny_model("bert"), reviews, strategies=strategies, epochs=1)
    whole, *_ = train(spec, dataset, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(spec, dataset, tmp_path / "cut", stop_after(5))
    cut, *_ = train(spec, dataset, tmp_path / "cut")
    assert cut.scores == whole.scores and cut.selected == whole.selected


@pytest.mark.parametrize(
    ("engine", "strategy"),
    mostly_thorough(
        itertools.product(["fast", "reference"], ["full", "lora"]),
        keep=lambda case: case in (("fast", "lora"), ("reference", "full")),
    ),
)
def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, strategy: str, engine: str
) -> None:
    spec, dataset = make_spec(tiny_model("bert"), reviews, strategy, engine=engine)
    whole, whole_folder, _ = train(spec, dataset, tmp_path / "whole")
    for steps in (5, 12):
        with pytest.raises(Interrupted):
            train(spec, dataset, tmp_path / "cut", stop_after(steps))
    cut, cut_folder, _ = train(spec, dataset, tmp_path / "cut")
    assert cut.timing and cut.timing.resumed == 2
    assert cut.timing.train_seconds is not None and cut.timing.wall_seconds is not None
    assert cut.timing.wall_seconds >= cut.timing.train_seconds + (cut.timing.eval_seconds or 0)
    assert cut.scores == whole.scores
    assert cut.selected == whole.selected
    first, second = whole_folder.read_predictions(), cut_folder.read_predictions()
    assert np.array_equal(first["logits"], second["logits"])
    assert whole_folder.weights.read_bytes() == cut_folder.weights.read_bytes()
    assert whole.cost and cut.cost
    assert cut.cost.tokens == whole.cost.tokens
    assert cut.cost.train_flops == whole.cost.train_flops
    for entry, other in zip(whole.log_history, cut.log_history, strict=False):
        assert {k: v for k, v in entry.items() if k in ("loss", "eval_loss", "step")} == {
            k: v for k, v in other.items() if k in ("loss", "eval_loss", "step")
        }


def test_min_steps_add_whole_epochs_and_the_estimate_counts_them(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    spec, dataset = make_spec(tiny_model("distilbert"), reviews, min_steps=20, epochs=1)
    record, _, _ = train(spec, dataset, tmp_path)
    per_epoch = math.ceil(108 / 8)
    assert record.timing and len(record.timing.step_seconds) == 2 * per_epoch, "28, the first multiple from 20 on"
    plain, _ = make_spec(tiny_model("distilbert"), reviews, epochs=2)
    # The same training: only the way of saying so differs.
    same, _, _ = train(plain, dataset, tmp_path)
    assert same.scores == record.scores and same.log_history[:-1] == record.log_history[:-1]
    execution = Execution(device="cpu", threads=1)
    found = estimate_each([spec, plain], dataset=dataset, execution=execution, measure=False)
    assert [one.steps for one in found] == [28, 28]


def test_what_changes_nothing_leaves_the_run_id_alone(tiny_model: Callable[[str], Path], reviews: Path) -> None:
    ids = [
        make_spec(tiny_model("distilbert"), reviews, **changes)[0].run_id
        for changes in ({}, {"min_steps": 0, "patience": 0}, {"min_steps": 7}, {"patience": 2})
    ]
    assert ids[0] == ids[1] and len(set(ids)) == 3


@pytest.mark.parametrize("engine", mostly_thorough(["fast", "reference"], keep=lambda engine: engine == "fast"))
def test_patience_stops_where_a_longer_look_finds_nothing_better(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, engine: str
) -> None:
    changes = {"epochs": 5, "engine": engine}
    whole, _, _ = _early(tiny_model, reviews, tmp_path / "whole", **changes)
    early, _, _ = _early(tiny_model, reviews, tmp_path / "early", patience=2, **changes)
    scores = [(e["step"], e["eval_macro_f1"]) for e in whole.log_history if "eval_macro_f1" in e]
    seen = [(e["step"], e["eval_macro_f1"]) for e in early.log_history if "eval_macro_f1" in e]
    assert seen == scores[: len(seen)], "up to the stop it is the same training"
    # The slow definition: the first evaluation with the best score two or more before it.
    values = [score for _, score in scores]
    ends = next(k for k in range(len(values)) if k - values[: k + 1].index(max(values[: k + 1])) >= 2)
    assert len(seen) == ends + 1 < len(values)
    assert early.selected and early.selected.score == max(values[: ends + 1])


def test_a_run_that_stops_early_ends_the_same_wherever_it_was_interrupted(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    undisturbed, _, _ = _early(tiny_model, reviews, tmp_path / "a", patience=2, epochs=5)
    last = max(entry["step"] for entry in undisturbed.log_history)
    for step in (last - 1, last):
        place = tmp_path / f"{step}"
        try:
            record, _, _ = _early(tiny_model, reviews, place, patience=2, epochs=5, stop=stop_after(step))
        except Interrupted:
            record, _, _ = _early(tiny_model, reviews, place, patience=2, epochs=5)
        assert record.scores == undisturbed.scores and record.selected == undisturbed.selected


def _early(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    place: Path,
    stop: Callable[[], bool] = lambda: False,
    **changes: Any,
) -> tuple[RunRecord, RunFolder, list[Progress]]:
    spec, dataset = make_spec(tiny_model("distilbert"), reviews, **changes)
    return train(spec, dataset, place, stop)


def test_patience_without_validation_is_refused(tiny_model: Callable[[str], Path], reviews: Path) -> None:
    with pytest.raises(ValueError, match="needs selection: validation"):
        make_spec(tiny_model("distilbert"), reviews, patience=2, selection="last")


def test_a_run_alone_is_the_run_in_a_grid(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    first, dataset = make_spec(tiny_model("bert"), reviews, "full", seeds=[1], epochs=1)
    second, _ = make_spec(tiny_model("bert"), reviews, "lora", seeds=[2], epochs=1)
    train(first, dataset, tmp_path / "grid")
    in_grid, _, _ = train(second, dataset, tmp_path / "grid")
    alone, _, _ = train(second, dataset, tmp_path / "alone")
    assert in_grid.scores == alone.scores
    third, _ = make_spec(tiny_model("bert"), reviews, "lora", seeds=[9], epochs=1)
    other, _, _ = train(third, dataset, tmp_path / "x")
    assert [e["loss"] for e in other.log_history if "loss" in e] != [
        e["loss"] for e in alone.log_history if "loss" in e
    ]


@pytest.mark.parametrize("selection", ["last", "test"])
def test_selection_rules(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, selection: str) -> None:
    spec, dataset = make_spec(tiny_model("bert"), reviews, "full", selection=selection)
    record, _, _ = train(spec, dataset, tmp_path)
    assert record.selected and record.examples and record.scores
    assert record.selected.by == selection
    assert (record.examples.train, record.examples.validation) == (120, 0)
    if selection == "last":
        assert record.selected.score is None
        assert record.selected.step == 30
        assert not any("eval_macro_f1" in entry for entry in record.log_history)
    else:
        assert record.scores["macro_f1"] == pytest.approx(record.selected.score, abs=1e-12)


@pytest.mark.parametrize("strategy", mostly_thorough(["full", "lora"], keep=lambda strategy: strategy == "lora"))
def test_stored_weights_give_the_same_logits_in_a_fresh_process(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, strategy: str
) -> None:
    spec, dataset = make_spec(tiny_model("electra"), reviews, strategy, engine="reference")
    record, folder, _ = train(spec, dataset, tmp_path)
    folder.commit(record)
    target, told = tmp_path / "logits.npy", tmp_path / "told.txt"
    process = warm.start(_predict, folder.path, target, told=told)
    process.join()
    assert process.exitcode == 0, told.read_text()
    expected = folder.read_predictions()["logits"][:20]
    assert np.allclose(np.load(target), expected, atol=1e-4)


def _predict(path: Path, target: Path) -> None:
    """Write the logits of the first texts, from what a run has stored."""
    folder = RunFolder(path)
    record = folder.read()
    assert record is not None
    spec = record.spec
    model = prepare_model(spec, device="cpu").model
    torch.manual_seed(1234)
    load_weights(folder.weights, model)
    model.eval()
    dataset = load_dataset(DataConfig(source=spec.data.source))
    assert dataset.test is not None
    tokenizer = load_tokenizer(model_folder(spec.model.source))
    batch = tokenizer(
        dataset.test.texts[:20], truncation=True, max_length=spec.max_length, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        np.save(target, model(**batch).logits.numpy())


def test_divergence_is_refused(tmp_path: Path) -> None:
    context = RunContext(run_id="run", checkpoints=tmp_path, best=tmp_path / "best")
    loop = Loop(context, meters=Meters(), hook=None, fast=None)
    state = TrainerState(global_step=4)
    loop.on_log(None, state, None, logs={"loss": 0.7})  # type: ignore[arg-type]
    with pytest.raises(NonFiniteLossError, match="diverged"):
        loop.on_log(None, state, None, logs={"loss": float("nan"), "learning_rate": 1.0})  # type: ignore[arg-type]


def test_weights_and_score_belong_together_after_a_kill_between_two_writes(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights are written, and the checkpoint that names them is not: the one before still has its own."""
    spec, dataset = make_spec(tiny_model("distilbert"), reviews, epochs=2, evaluations_per_epoch=2)
    with pytest.raises(Interrupted):
        train(spec, dataset, tmp_path, stop_after(8))
    folder = RunFolder(tmp_path / spec.run_id)
    checkpoint = latest_checkpoint(folder.checkpoint)
    assert checkpoint is not None
    state = read_state(checkpoint)
    first = folder.best.at(state["best_step"]).read_bytes()
    assert state["best_step"] == 7 and folder.best.present() == [folder.best.at(7)]

    def killed(*args: Any, **kwargs: Any) -> Path:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Metric, "better", lambda self, score, best: True)
        patched.setattr("tunebench.engine.checkpoint.save_checkpoint", killed)
        with pytest.raises(RuntimeError, match="killed here"):
            train(spec, dataset, tmp_path, stop_after(8))
    assert folder.best.present() == [folder.best.at(7), folder.best.at(14)]

    # From here on nothing is better, so that the run ends with the weights that its checkpoint names.
    monkeypatch.setattr(Metric, "better", lambda self, score, best: False)
    record, _, _ = train(spec, dataset, tmp_path)
    assert record.selected and (record.selected.step, record.selected.score) == (7, state["best_score"])
    assert folder.best.at(7).read_bytes() == first
    expected, kept = load_file(folder.best.at(7)), load_file(folder.weights)
    assert expected.keys() == kept.keys() and all(torch.equal(expected[name], kept[name]) for name in kept)


def test_an_evaluation_without_a_score_does_not_use_up_patience(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, math.nan, math.nan, 0.4, math.nan, 0.3, 0.9, 0.9])
    monkeypatch.setattr(
        StudyTrainer, "_scores", lambda self, labels, logits: {"loss": 1.0, "macro_f1": next(scores)}
    )
    record, _, _ = _early(tiny_model, reviews, tmp_path, epochs=4, patience=2)
    seen = [entry["eval_macro_f1"] for entry in record.log_history if "eval_macro_f1" in entry]
    assert len(seen) == 6 and seen[-1] == 0.3, "the second score that is not better ends it"
    assert record.selected and record.selected.score == 0.5


def test_one_process_of_several_writes_to_the_log(tmp_path: Path) -> None:
    """Each process puts the record together, and the first one speaks."""
    spec = factories.make_spec(thresholds="tuned", **factories.HONEST)
    dataset = load_dataset(DataConfig(source="rotten-tomatoes"))
    parts = Parts(*(np.arange(4) for _ in range(3)), test_from="test")
    folder = RunFolder(tmp_path / spec.run_id)
    folder.begin(spec)
    trained = Trained(
        parameters=Parameters(total=1, trainable=1, adapter=1, head=0),
        selected=Selected(by="last", step=1, epoch=1.0, score=None),
        weights=[],
        train_seconds=1.0,
        eval_seconds=1.0,
        tokens=1,
        tokens_padded=1,
        train_flops=1.0,
        log_history=[],
    )
    for writes in (True, False, False):
        attempt = Attempt(spec, dataset, folder, Execution(device="cpu", threads=1))
        measured = RunMeasurements(attempt, engine="fast", device="cpu", writes=writes)
        measured.finish(trained, dataset=dataset, parts=parts, test=None)
    assert len(folder.log.read_text().splitlines()) == 1
