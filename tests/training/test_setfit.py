"""SetFit: against the library by hand, through whole runs and a study whose subset is redrawn per seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from faults.commands import tunebench
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.evidence import collect
from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.errors import ConfigError, MissingExtraError, PlanError, StoreError
from tunebench.machine.settings import Execution
from tunebench.models.sources import resolve_model
from tunebench.store.live import Progress
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.study.yaml_file import load_study
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.parts import run_parts
from tunebench.training.registry import run_one
from tunebench.training.scoring import score_run
from tunebench.training.setfit.model import SentenceClassifier

QUICK = {"kind": "setfit", "iterations": 2, "pairs_per_batch": 8}


def make_study(model: Path, data: Path, **changes: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "name": "few",
        "model": str(model),
        "data": str(data),
        "strategies": {"setfit": QUICK},
        "train_sizes": [24],
        "precision": "fp32",
        "max_length": 32,
        "selection": "last",
    }
    return StudyConfig.model_validate(settings | changes)


def make_specs(study: StudyConfig, dataset: TextDataset) -> list[RunSpec]:
    data = DataRef(source=study.data.source, fingerprint=dataset.fingerprint, label_names=dataset.label_names)
    return list(
        expand(
            study,
            model=resolve_model(study.model),
            data=data,
            train_examples=len(dataset.train),
            test_examples=60,
            precision={"fast": "bf16", "reference": "fp32"},
        )
    )


def train(
    spec: RunSpec,
    dataset: TextDataset,
    place: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda progress: None,
    scores_test: bool = True,
    **execution: Any,
) -> tuple[RunRecord, RunFolder]:
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    there = Execution(device="cpu", threads=1, **execution)
    record = run_one(Attempt(spec, dataset, folder, there, report=report, stop=stop, scores_test=scores_test))
    return record, folder


def by_hand(model: Path, texts: list[str], labels: list[int], spec: RunSpec, output: Path) -> Any:
    """Return what the library trains when its own documentation is followed."""
    import setfit
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    body = SentenceTransformer(modules=[Transformer(str(model), max_seq_length=spec.max_length), Pooling(32)])
    made = setfit.SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=1000))
    arguments = setfit.TrainingArguments(
        output_dir=str(output),
        batch_size=8,
        num_epochs=1,
        num_iterations=2,
        body_learning_rate=spec.learning_rate,
        seed=spec.seed,
        report_to="none",
        save_strategy="no",
    )
    trainer = setfit.Trainer(
        made, args=arguments, train_dataset=Dataset.from_dict({"text": texts, "label": labels})
    )
    trainer.st_trainer.args.dataloader_pin_memory = False
    trainer.train()
    return made


def test_a_run_is_what_the_library_gives(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    study = make_study(tiny_model("bert"), reviews, strategies={"setfit": QUICK | {"learning_rate": 1e-3}})
    dataset = load_dataset(DataConfig(source=str(reviews)))
    (spec,) = make_specs(study, dataset)
    seen: list[Progress] = []
    record, folder = train(spec, dataset, tmp_path, report=seen.append)
    parts = run_parts(spec, dataset)
    assert dataset.test is not None
    theirs = by_hand(
        tiny_model("bert"),
        [dataset.train.texts[i] for i in parts.train],
        dataset.train.labels[parts.train].tolist(),
        spec,
        tmp_path / "hand",
    )
    expected = theirs.predict_proba([dataset.test.texts[i] for i in parts.test], as_numpy=True)
    stored = folder.read_predictions()
    np.testing.assert_allclose(softmax(stored["logits"], axis=1), expected, atol=2e-6)
    assert np.array_equal(stored["labels"], dataset.test.labels[parts.test])
    assert record.scores is not None and record.selected is not None and record.timing is not None
    assert record.scores["accuracy"] == pytest.approx((expected.argmax(1) == stored["labels"]).mean())
    # 24 texts, two pairs alike and two unlike each, eight pairs a batch.
    assert record.selected.step == len(record.timing.step_seconds) == 24 * 2 * 2 / 8
    assert record.selected.by == "last" and record.selected.score is None
    assert [p.step for p in seen if p.phase == "train"] == list(range(1, 13))
    losses = [entry["loss"] for entry in record.log_history]
    assert len(losses) == 12 and losses[-1] < losses[0]


def test_the_record_counts_what_is_trained_and_the_stored_weights_are_the_model(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(DataConfig(source=str(reviews)))
    (spec,) = make_specs(make_study(tiny_model("bert"), reviews), dataset)
    record, folder = train(spec, dataset, tmp_path)
    folder.commit(record)
    assert folder.read() == record
    parameters, cost = record.parameters, record.cost
    assert parameters is not None and cost is not None
    loaded = SentenceClassifier.load(spec, folder.weights, device="cpu")
    encoder = {name: p for name, p in loaded.body.named_parameters() if ".pooler." not in name}
    assert parameters.adapter == sum(p.numel() for p in encoder.values())
    assert parameters.head == 32 + 1
    untouched = tunebench_body(tiny_model("bert"))
    for name, parameter in loaded.body.named_parameters():
        same = torch.equal(parameter, untouched[name])
        assert same == (".pooler." in name), name
    assert cost.tokens is not None and cost.tokens_padded is not None and cost.train_flops is not None
    assert 0 < cost.tokens < cost.tokens_padded <= 12 * 16 * 32
    # Six operations a parameter of the linear layers and a token, and the attention beside.
    linear = sum(p.numel() for n, p in encoder.items() if p.ndim == 2 and "embeddings" not in n)
    assert 6 * linear * cost.tokens_padded < cost.train_flops < 9 * linear * cost.tokens_padded
    assert cost.artifact_bytes == folder.weights.stat().st_size
    data = folder.weights.read_bytes()
    folder.weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        SentenceClassifier.load(spec, folder.weights, device="cpu")


def tunebench_body(model: Path) -> dict[str, torch.Tensor]:
    from transformers import AutoModel

    loaded = AutoModel.from_pretrained(model)
    return {f"0.model.{name}": parameter for name, parameter in loaded.named_parameters()}


def test_validation_is_scored_and_a_locked_test_part_later_from_the_stored_weights(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(DataConfig(source=str(reviews)))
    study = make_study(tiny_model("distilbert"), reviews, selection="validation", validation_fraction=0.25)
    (spec,) = make_specs(study, dataset)
    open_, folder = train(spec, dataset, tmp_path / "open")
    locked, kept = train(spec, dataset, tmp_path / "locked", scores_test=False)
    assert locked.scores is None and not kept.predictions.exists()
    assert open_.selected is not None and locked.selected is not None
    assert open_.selected.by == "validation" and open_.selected.score == locked.selected.score
    assert open_.log_history[-1]["eval_macro_f1"] == open_.selected.score
    assert open_.examples is not None and open_.examples.validation == 5
    kept.commit(locked)
    there = Execution(device="cpu", threads=1)
    scored = score_run(spec, dataset=dataset, folder=kept, execution=there, why="chosen")
    assert scored.scores == open_.scores
    assert np.array_equal(kept.read_predictions()["logits"], folder.read_predictions()["logits"])


def test_a_stop_interrupts_after_the_step(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    dataset = load_dataset(DataConfig(source=str(reviews)))
    (spec,) = make_specs(make_study(tiny_model("bert"), reviews), dataset)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="after 3 steps"):
        train(spec, dataset, tmp_path, stop=lambda: next(asked))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_sizes": [130]}, "128 for 2 classes"),
        ({"truncation": "tail"}, "keeps the beginning"),
    ],
)
def test_what_it_cannot_do_is_refused_in_the_plan(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    changes: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tunebench.execution.plan import make_plan

    # The data has too few texts for the real limit.
    monkeypatch.setattr("tunebench.strategies.setfit.MOST_LABELS_A_CLASS", 64)
    study = make_study(tiny_model("bert"), reviews, **changes)
    with pytest.raises(PlanError, match=said):
        make_plan(study, execution=Execution(device="cpu", threads=1), measure=False)
    exact = make_study(tiny_model("bert"), reviews, train_sizes=[128], test_size=20)
    plan = make_plan(exact, execution=Execution(device="cpu", threads=1), measure=False)
    (estimate,) = plan.estimates.values()
    assert estimate.steps == 128 * 2 * 2 / 8


def test_without_the_library_the_plan_names_the_extra(
    tiny_model: Callable[[str], Path], reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    from tunebench.execution.plan import make_plan

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "setfit" else find(name, *a))
    with pytest.raises(MissingExtraError, match="setfit"):
        make_plan(make_study(tiny_model("bert"), reviews), execution=Execution(device="cpu", threads=1))


@pytest.mark.parametrize("key", ["epochs: 4", "batch_size: 8", "truncation: tail", "label_smoothing: 0.1"])
def test_a_recipe_that_does_not_reach_it_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        f"name: t\nmodel: minilm\ndata: imdb-reviews\nstrategies: {{setfit: {{{key}}}}}\ntrain_sizes: [32]\n"
    )
    with pytest.raises(ConfigError, match="no effect on setfit"):
        load_study(str(file))


def test_several_seeds_on_one_draw_are_refused_and_per_seed_redraws() -> None:
    base: dict[str, Any] = {"name": "t", "model": "m", "data": "d", "train_sizes": [32], "seeds": [1, 2, 3]}
    with pytest.raises(ValueError, match="per_seed"):
        StudyConfig.model_validate(base | {"strategies": ["setfit"]})
    study = StudyConfig.model_validate(base | {"strategies": ["setfit", "full"], "subset_seed": "per_seed"})
    assert study.draws == ((1, 1), (2, 2), (3, 3)) and study.shared_test_seed == 1
    crossed = StudyConfig.model_validate(base | {"strategies": ["full"], "subset_seed": [7, 8]})
    assert len(crossed.draws) == 6 and crossed.shared_test_seed == 7
    assert StudyConfig.model_validate(base | {"strategies": ["full"]}).shared_test_seed is None


def test_a_study_with_a_subset_a_seed_runs_is_compared_and_told(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(
        f"name: few\nmodel: {tiny_model('bert')}\ndata: {reviews}\n"
        "strategies:\n  setfit: {iterations: 2}\n  head-only: {kind: head_only}\n  tfidf: {}\n"
        "train_sizes: [24]\nseeds: [1, 2]\nsubset_seed: per_seed\nselection: last\nmax_length: 32\nepochs: 1\n"
    )
    done = tunebench("run", str(file), "--out", str(out), "--device", "cpu", "--threads", "1", "--no-measure")
    assert done.code == 0, done.err
    store = StudyStore.open(out)
    cells = store.cells()
    assert {(c.spec.subset_seed, c.spec.seed) for c in cells} == {(1, 1), (2, 2)}
    parts = {c.spec.seed: run_parts(c.spec, load_dataset(DataConfig(source=str(reviews)))) for c in cells}
    assert set(parts[1].train) != set(parts[2].train) and np.array_equal(parts[1].test, parts[2].test)
    entries = collect(Comparison(name="few", cells=cells))
    assert {entry.label: entry.seeds for entry in entries} == dict.fromkeys(
        ["setfit", "head-only", "tfidf"], (1, 2)
    )
    rows = json.loads(tunebench("results", str(out), "--json").out)
    assert all(0 < row["macro_f1"] <= 1 for row in rows) and len(rows) == 6
    report = (out / "report.md").read_text()
    assert "subset_seed: per_seed" in report and "iterations: 2" in report
    run_id = next(row["run_id"] for row in rows if row["kind"] == "setfit")
    exported = tunebench("export", str(out), "--run", run_id, "--out", str(tmp_path / "exported"))
    assert exported.code == 0, exported.err
    answered = tunebench("predict", str(tmp_path / "exported"), "a great film", "a bad one")
    assert answered.code == 0 and answered.out.count('"label"') == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [("per_sed", "did you mean 'per_seed'"), ("[1, -2]", "subset_seed.1"), ("[3, 3]", "twice"), ("[]", "empty")],
)
def test_a_wrong_subset_seed_is_one_error(tmp_path: Path, given: str, said: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        f"name: t\nmodel: minilm\ndata: imdb-reviews\nstrategies: [full]\ntrain_sizes: [32]\nsubset_seed: {given}\n"
    )
    with pytest.raises(ConfigError, match=said):
        load_study(str(file))
