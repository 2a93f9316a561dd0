"""Made-up specs, records and comparisons with plausible curves. Nothing here was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.data.reference import DataRef
from tunebench.files import stored_file, write_json
from tunebench.models.reference import ModelRef
from tunebench.store.cell import Cell
from tunebench.store.imported import ANSWERS, ImportedData, ImportedRun, Provenance
from tunebench.store.record import (
    Cost,
    Environment,
    Examples,
    Failure,
    Parameters,
    RunRecord,
    Selected,
    Status,
    Timing,
)
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.scores import ClassScore, Scores

#: Eight strategies with distinct recipes.
EIGHT: dict[str, tuple[str, dict[str, Any], float]] = {
    "full": ("full", {}, 5e-5),
    "lora": ("lora", {}, 1e-4),
    "lora-r2": ("lora", {"rank": 2}, 5e-4),
    "lora-r32": ("lora", {"rank": 32}, 5e-4),
    "lora-attention": ("lora", {"placement": "attention"}, 5e-4),
    "lora-mlp": ("lora", {"placement": "mlp"}, 5e-4),
    "lora-all_linear": ("lora", {"placement": "all_linear"}, 5e-4),
    "full-high-rate": ("full", {}, 2e-4),
}


def make_spec(
    label: str = "full",
    *,
    kind: str | None = None,
    size: int = 5_000,
    seed: int = 42,
    learning_rate: float | None = None,
    params: dict[str, Any] | None = None,
    **changes: Any,
) -> RunSpec:
    """Return the spec of a cell of the report, or of something near it."""
    known_kind, known_params, known_rate = EIGHT.get(label, (kind or "full", {}, 5e-5))
    kind = kind or known_kind
    return RunSpec(
        **{
            "label": label,
            "kind": kind,
            "params": STRATEGIES[kind].params(**(params or known_params)).model_dump(mode="json"),
            "learning_rate": learning_rate or known_rate,
            "train_size": size,
            "seed": seed,
            "model": ModelRef(source="distilbert-base-uncased", fingerprint="a" * 16),
            "data": DataRef(source="stanfordnlp/imdb", fingerprint="b" * 16, label_names=("neg", "pos")),
            "subset_seed": 42,
            "test_size": 25_000,
            "validation_fraction": 0.0,
            "selection": "test",
            "max_length": 256,
            "epochs": 3,
            "batch_size": 32,
            "optimizer": "adamw",
            "weight_decay": 0.0,
            "schedule": "linear",
            "warmup_ratio": 0.0,
            "max_grad_norm": 1.0,
            "evaluations_per_epoch": 2,
            "engine": "reference",
            "precision": "fp32",
            "attention_dropout": None,
        }
        | changes
    )


def make_record(spec: RunSpec, *, status: Status = "complete", f1: float | None = None) -> RunRecord:
    """Return a record of a run; one that is not complete has an error and no scores."""
    environment = Environment(
        versions={"tunebench": "0.1.0", "torch": "2.13.0"},
        machine={"cpu": "imaginary", "cores": 2},
        device="cpu",
        threads=2,
    )
    base = {
        "run_id": spec.run_id,
        "status": status,
        "spec": spec,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "environment": environment,
    }
    if status != "complete":
        message = "unable to allocate 9.1 GiB" if status == "out_of_memory" else "the loss is not finite | nan"
        return RunRecord(**base, error=Failure(type="Error", message=message, traceback="Traceback\n  ..."))
    rng = np.random.default_rng([spec.seed, spec.train_size, *spec.label.encode()])
    lora = spec.kind == "lora"
    if f1 is None:
        f1 = 0.80 + 0.025 * math.log10(spec.train_size) - 0.02 * lora + 0.1 * spec.learning_rate**0.3
        f1 = float(np.clip(f1 + rng.normal(0, 0.003) + 0.002 * len(spec.label) / 8, 0.3, 0.97))
    history, steps = _history(spec, f1, rng)
    evaluations = [entry for entry in history if "eval_macro_f1" in entry]
    best = max(evaluations, key=lambda entry: entry["eval_macro_f1"], default=None)
    seconds = (2.5 if lora else 3.0) * (1 + rng.normal(0, 0.02))
    step_seconds = [round(float(s), 5) for s in seconds * rng.lognormal(0, 0.05, steps)]
    step_seconds[0] *= 3
    adapter, head = (147_456 * spec.params["rank"] // 8, 592_130) if lora else (66_362_880, 592_130)
    held_out = round(spec.train_size * spec.validation_fraction)
    evaluation = 0.0 if best is None else 200.0 + 20 * lora
    return RunRecord(
        **base,
        parameters=Parameters(
            total=66_955_010 + (147_456 + 592_130) * lora, trainable=adapter + head, adapter=adapter, head=head
        ),
        examples=Examples(
            train=spec.train_size - held_out,
            validation=held_out,
            test=spec.test_size,
            train_per_class=_halves(spec.train_size - held_out),
            validation_per_class=_halves(held_out),
            test_per_class=_halves(spec.test_size),
            test_held_out=False,
        ),
        scores=_scores(spec, f1),
        selected=Selected(
            by=spec.selection if best else "last",
            step=best["step"] if best else steps,
            epoch=best["epoch"] if best else float(spec.epochs),
            score=best["eval_macro_f1"] if best else None,
        ),
        timing=Timing(
            train_seconds=sum(step_seconds),
            eval_seconds=evaluation * len(evaluations),
            test_seconds=evaluation,
            wall_seconds=sum(step_seconds) + evaluation * (len(evaluations) + 1) + 10,
            cpu_seconds=1.9 * sum(step_seconds),
            seconds_per_step=float(np.median(step_seconds)),
            warmup_steps=3,
            step_seconds=step_seconds,
            workers=1,
            contended=False,
            resumed=0,
        ),
        cost=Cost(
            tokens=208 * spec.train_size * spec.epochs,
            tokens_padded=256 * spec.train_size * spec.epochs,
            train_flops=(4.0 if lora else 6.0) * 42.5e6 * 208 * spec.train_size * spec.epochs,
            trainer_total_flos=6.0 * 42.5e6 * 256 * spec.train_size * spec.epochs,
            peak_memory_bytes=4_000_000_000,
            artifact_bytes=(adapter + head) * 4,
        ),
        log_history=history,
    )


def make_cell(label: str = "full", *, status: Status = "complete", f1: float | None = None, **spec: Any) -> Cell:
    """Return a cell in a state, with a record where that state has one."""
    made = make_spec(label, **spec)
    recorded = status in ("complete", "failed", "out_of_memory")
    record = make_record(made, status=status, f1=f1) if recorded else None
    return Cell(made, status, record, "left out by the budget of 60 s" if status == "left_out" else None)


def with_predictions(cell: Cell, wrong: np.ndarray, *, n: int = 400, seed: int = 0) -> Cell:
    """Return the cell with stored predictions that are wrong at some positions, and the scores they give.

    Args:
        cell: A complete cell of two classes.
        wrong: Booleans of shape ``(n,)``.
        n: Test examples; even positions are of class 0.
        seed: Of the noise in the logits.
    """
    labels = np.arange(n) % 2
    predicted = np.where(wrong, 1 - labels, labels)
    sure = np.random.default_rng(seed).uniform(0.5, 3, n).astype(np.float32)
    logits = np.where(np.eye(2, dtype=bool)[predicted], sure[:, None], 0).astype(np.float32)
    values = {"logits": logits, "labels": labels, "indices": np.arange(n)}
    assert cell.record is not None
    record = cell.record.model_copy(
        update={"scores": CLASSIFICATION.score(labels, logits, cell.spec.data.label_names)}
    )
    return replace(cell, record=record, predictions=lambda: values)


def seeds_that_chose(setting: str, chosen: dict[int, Any], **spec: Any) -> list[Cell]:
    """Return runs of every chosen value with every seed, the chosen one of a seed highest on validation.

    Args:
        setting: What was searched, as ``epochs``.
        chosen: The value that each seed chose.
        **spec: The rest of their specs.
    """
    cells = []
    for seed, best in chosen.items():
        for value in sorted(set(chosen.values())):
            drawn = {"seed": seed, "subset_seed": seed, "test_seed": 1, setting: value}
            cell = make_cell(size=64, test_size=400, **drawn, **HONEST, **spec)
            cell = with_predictions(cell, np.random.default_rng(seed).random(400) < 0.2)
            assert cell.record is not None and cell.record.selected is not None
            selected = cell.record.selected.model_copy(update={"score": 0.9 if value == best else 0.8})
            cells.append(replace(cell, record=cell.record.model_copy(update={"selected": selected})))
    return cells


def store_run(store: StudyStore, spec: RunSpec, predicted: np.ndarray, rows: np.ndarray) -> None:
    """Write a complete run of two classes into a study's folder, with the scores that its predictions give.

    Args:
        store: Of the study.
        spec: Of the run.
        predicted: A class for each row.
        rows: Of the data; even rows are of class 0.
    """
    run, labels = store.run_folder(spec.run_id), rows % 2
    logits = 2 * np.eye(2, dtype=np.float32)[predicted]
    run.path.mkdir(parents=True)
    run.write_predictions(logits=logits, labels=labels, indices=rows)
    run.weights.write_bytes(spec.run_id.encode())
    changes = {
        "files": {path.name: stored_file(path) for path in (run.predictions, run.weights)},
        "scores": CLASSIFICATION.score(labels, logits, spec.data.label_names, spec.metric),
    }
    write_json(run.record, make_record(spec).model_copy(update=changes).model_dump(mode="json"))


def make_answers(label: str, wrong: np.ndarray, *, size: int = 5_000) -> Cell:
    """Return imported answers of another model on the test texts of :func:`with_predictions`.

    Args:
        label: Of the other model.
        wrong: Booleans, one a test text; even positions are of class 0.
        size: Training size of the strategies that it stands beside.
    """
    labels = np.arange(len(wrong)) % 2
    values = {"predicted": np.where(wrong, 1 - labels, labels), "labels": labels, "indices": np.arange(len(wrong))}
    spec = ImportedRun(
        label=label,
        content="x" * 64,
        kind=ANSWERS,
        train_size=size,
        data=ImportedData(source="stanfordnlp/imdb", label_names=("neg", "pos"), named=True),
        test_size=len(wrong),
        metric="macro_f1",
        subset_seed=42,
        **HONEST,
    )
    record = RunRecord(
        run_id=spec.run_id,
        status="complete",
        spec=spec,
        started=None,
        finished="2026-01-01T00:00:00+00:00",
        environment=Environment(versions={}, machine={}, device=None, threads=None, world_size=None),
        examples=Examples(
            train=0,
            validation=0,
            test=len(wrong),
            train_per_class=[],
            validation_per_class=[],
            test_per_class=_halves(len(wrong)),
            test_held_out=False,
        ),
        scores=CLASSIFICATION.score_predicted(labels, values["predicted"], ("neg", "pos"), "macro_f1"),
        imported=Provenance(folder="f", files={}, found={}, stated={}, remarks=[]),
    )
    return Cell(spec, "complete", record, None, lambda: values)


def accuracy_alone(cell: Cell) -> Cell:
    """Return a complete cell with no score but its accuracy, as of some imported runs."""
    assert cell.record is not None and cell.record.scores is not None
    scores = Scores(values={"accuracy": cell.record.scores["accuracy"]}, per_class=[], confusion=[])
    return replace(cell, record=cell.record.model_copy(update={"scores": scores}), predictions=None)


def make_grid(
    labels: Iterable[str] = ("full", "lora"),
    *,
    sizes: Sequence[int] = (5_000, 10_000, 25_000),
    seeds: Sequence[int] = (42,),
    **spec: Any,
) -> list[Cell]:
    """Return a complete grid; as it stands, the report's."""
    return [make_cell(label, size=n, seed=seed, **spec) for seed in seeds for n in sizes for label in labels]


def compare(cells: Sequence[Cell], **options: Any) -> Comparison:
    """Return a comparison of cells."""
    metric = {"metric": cells[0].spec.selects_by} if cells else {}
    return Comparison(**({"name": "study", "cells": cells} | metric | options))


def warned(comparison: Comparison, words: str) -> bool:
    """Tell whether a warning of the comparison holds these words."""
    return any(words in line for line in analyse(comparison).warnings)


#: Spec changes for the honest protocol.
HONEST: dict[str, Any] = {"selection": "validation", "validation_fraction": 0.1}


def _history(spec: RunSpec, f1: float, rng: np.random.Generator) -> tuple[list[dict[str, Any]], int]:
    """Return a log in the form of the Trainer's ``state.log_history``, and the number of steps."""
    examples = spec.train_size - round(spec.train_size * spec.validation_fraction)
    per_epoch = math.ceil(examples / spec.batch_size)
    steps = per_epoch * spec.epochs
    every = max(1, steps // 200)
    interval = max(1, per_epoch // spec.evaluations_per_epoch)
    floor = (0.12 if spec.kind == "full" else 0.27) - 0.01 * (len(spec.label) - 4)
    history: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        progress = step / steps
        if step == 1 or step % every == 0:
            loss = floor + (0.69 - floor) * math.exp(-9 * progress) + rng.normal(0, 0.03) * (1 - progress / 2)
            history.append(
                {
                    "loss": round(max(0.01, float(loss)), 4),
                    "grad_norm": float(rng.lognormal(0.5, 0.3)),
                    "learning_rate": spec.learning_rate * (1 - progress),
                    "epoch": step / per_epoch,
                    "step": step,
                }
            )
        if spec.selection != "last" and step % interval == 0:
            reached = f1 - 0.06 * math.exp(-5 * progress) + rng.normal(0, 0.001)
            history.append(
                {
                    "eval_loss": floor
                    + 0.1 * (1 + (spec.kind == "full"))
                    + 0.2 * math.exp(-6 * progress)
                    + 0.08 * progress * (spec.kind == "full"),
                    "eval_macro_f1": float(reached),
                    "eval_accuracy": float(reached) + 1e-4,
                    "eval_seconds": 200.0,
                    "epoch": step / per_epoch,
                    "step": step,
                }
            )
    history.append({"train_runtime": 3.0 * steps, "train_loss": 0.3, "epoch": float(spec.epochs), "step": steps})
    return history, steps


def _scores(spec: RunSpec, f1: float) -> Scores:
    """Return scores whose confusion matrix has about the given macro F1, for any number of classes."""
    names = spec.data.label_names
    counts = _halves(spec.test_size, len(names))
    confusion = np.zeros((len(names), len(names)), dtype=int)
    for row, count in enumerate(counts):
        wrong = round(count * (1 - f1))
        confusion[row, row] = count - wrong
        confusion[row, (row + 1) % len(names)] += wrong
    hits, truth, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return Scores(
        values={
            "macro_f1": float(np.mean(2 * hits / (truth + said))),
            "accuracy": float(hits.sum() / confusion.sum()),
            "log_loss": 0.25 + (1 - f1),
        },
        per_class=[
            ClassScore(
                label=name,
                precision=float(hits[i] / said[i]),
                recall=float(hits[i] / truth[i]),
                f1=float(2 * hits[i] / (truth[i] + said[i])),
                support=int(truth[i]),
            )
            for i, name in enumerate(names)
        ],
        confusion=confusion.tolist(),
    )


def _halves(count: int, classes: int = 2) -> list[int]:
    return [count // classes + (i < count % classes) for i in range(classes)]
