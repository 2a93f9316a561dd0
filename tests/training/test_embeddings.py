"""Frozen embeddings: against Transformers and scikit-learn by hand, through whole runs, and from the cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from conftest import TINY
from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.data.rules import split_ref
from tunebench.data.tokens import TokenizedTexts
from tunebench.errors import ConfigError, PlanError
from tunebench.execution.estimates import estimate_each
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.models.sources import resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.recipe import Precision
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.study.yaml_file import load_study
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.embeddings.cache import EmbeddingCache
from tunebench.training.embeddings.encoder import Embedder, load_encoder
from tunebench.training.parts import run_parts
from tunebench.training.registry import backend_of, run_one

Model = Callable[[str], Path]
THERE = Execution(device="cpu", threads=1)
LONG = "the film was a story of two men who met again after many years in paris " * 3


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))


def make_spec(model: Path, data: Path, strategy: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    settings: dict[str, Any] = {
        "name": "t",
        "model": str(model),
        "data": str(data),
        "strategies": {"embeddings": strategy or {}},
        "train_sizes": [80],
        "max_length": 12,
        "precision": "fp32",
    }
    study = StudyConfig.model_validate(settings | changes)
    dataset = load_dataset(DataConfig(source=str(data)))
    (spec,) = expand(
        study,
        model=resolve_model(study.model),
        data=DataRef(source=str(data), fingerprint=dataset.fingerprint, label_names=dataset.label_names),
        train_examples=len(dataset.train),
        test_examples=60,
        precision={"fast": "fp32", "reference": "fp32"},
    )
    return spec


def train(
    spec: RunSpec, dataset: TextDataset, place: Path, stop: Callable[[], bool] = lambda: False
) -> tuple[RunRecord, RunFolder]:
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    record = run_one(Attempt(spec, dataset, folder, THERE, stop=stop))
    folder.commit(record)
    return record, folder


def by_hand(model: Path, texts: list[str], *, max_length: int, pooling: str = "mean") -> np.ndarray:
    """Embed texts one at a time, window after window."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    for text in texts:
        inner = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        room = max_length - 2
        count = max(1, -(-len(inner) // room))
        total, tokens = 0.0, 0
        for part in np.array_split(np.array(inner, dtype=np.int64), count):
            ids = torch.tensor([[tokenizer.cls_token_id, *part.tolist(), tokenizer.sep_token_id]])
            with torch.no_grad():
                states = encoder(ids).last_hidden_state[0].double()
            vector = states.mean(0) if pooling == "mean" else states[0]
            total, tokens = total + vector * ids.shape[1], tokens + ids.shape[1]
        vector = total / tokens
        found.append((vector / vector.norm()).numpy())
    return np.array(found, dtype=np.float32)


def embedder_of(model: Path, **options: Any) -> Embedder:
    encoder, _ = load_encoder(model, ("a", "b"))
    return Embedder(encoder, load_tokenizer(model), **{"pooling": "mean", "max_length": 12} | options)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_embeddings_of_whole_texts_are_those_of_transformers(tiny_model: Model, pooling: Any) -> None:
    texts = ["a film", "", LONG, "one more film of the two men", LONG * 2]
    embedder = embedder_of(tiny_model("bert"), pooling=pooling)
    found = embedder.vectors(embedder.tokens(texts))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(tiny_model("bert"), texts, max_length=12, pooling=pooling), atol=2e-6)
    windows = embedder.windows_of(embedder.tokens([LONG])[0])
    lengths = [len(part) for part in windows]
    assert max(lengths) <= 12 and max(lengths) - min(lengths) <= 1
    assert len(windows) == -(-(sum(lengths) - 2 * len(windows)) // 10)


@pytest.mark.parametrize("family", TINY)
def test_every_family_can_be_embedded(tiny_model: Model, family: str) -> None:
    folder = tiny_model(family)
    state = torch.get_rng_state()
    embedder = embedder_of(folder)
    assert torch.equal(torch.get_rng_state(), state), "loading an encoder moved the random generator"
    rows = embedder.tokens(["a film", LONG])
    alone = np.concatenate([embedder.vectors([row]) for row in rows])
    together = embedder.vectors(rows)
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_fixed_batches_a_vector_depends_on_its_text_alone(tiny_model: Model, precision: Precision) -> None:
    embedder = embedder_of(tiny_model("bert"))
    embedder.compute_in(precision)
    rows = embedder.tokens([LONG, "a film", "men", "a film of two men", *("film " * n for n in range(1, 30))])
    together = embedder.vectors(rows, fixed=True)
    for i in (0, 1, 2, 17, len(rows) - 1):
        assert np.array_equal(embedder.vectors([rows[i]], fixed=True)[0], together[i])
    np.testing.assert_allclose(together, embedder.vectors(rows), atol=2e-6 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("family", TINY)
def test_in_bf16_vectors_are_nearly_those_of_fp32(tiny_model: Model, family: str, pooling: str) -> None:
    exact, fast = (embedder_of(tiny_model(family), pooling=pooling) for _ in range(2))
    before = {name: tensor.clone() for name, tensor in fast.encoder.state_dict().items()}
    fast.compute_in("bf16")
    rows = exact.tokens(["a film", "men", LONG])
    wanted, found = exact.vectors(rows, fixed=True), fast.vectors(rows, fixed=True)
    assert found.dtype == np.float32 and not np.array_equal(found, wanted)
    assert (found * wanted).sum(axis=1).min() > 0.999
    assert all(torch.equal(before[name], tensor) for name, tensor in fast.encoder.state_dict().items())


def test_precisions_have_caches_of_their_own(tiny_model: Model, tmp_path: Path) -> None:
    exact, fast = embedder_of(tiny_model("bert")), embedder_of(tiny_model("bert"))
    fast.compute_in("bf16")
    rows = exact.tokens(["a film", LONG])
    texts = TokenizedTexts(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]))
    found = [EmbeddingCache(one, "f", folder=tmp_path / "c").embed(texts) for one in (exact, fast, exact)]
    assert [one.computed for one in found] == [2, 2, 0]
    assert np.array_equal(found[0].vectors, found[2].vectors)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_embeds_in_the_precision_of_its_study(
    tiny_model: Model, reviews: Path, tmp_path: Path, precision: str
) -> None:
    dataset = load_dataset(DataConfig(source=str(reviews)))
    spec = make_spec(tiny_model("bert"), reviews, precision=precision)
    record, _ = train(spec, dataset, tmp_path / "out")
    assert record.environment.machine["embeddings"]["precision"] == precision
    assert spec.run_id == make_spec(tiny_model("bert"), reviews).run_id


@pytest.mark.parametrize("selection", ["validation", "last"])
def test_a_run_is_what_scikit_learn_gives_on_these_embeddings(
    tiny_model: Model, reviews: Path, tmp_path: Path, selection: str
) -> None:
    model, dataset = tiny_model("bert"), load_dataset(DataConfig(source=str(reviews)))
    spec = make_spec(model, reviews, selection=selection)
    record, folder = train(spec, dataset, tmp_path / "runs")
    parts = run_parts(spec, dataset)
    rows = np.concatenate([parts.train, parts.validation])
    labels = dataset.train.labels[rows]
    vectors = by_hand(model, [dataset.train.texts[i] for i in rows], max_length=12)
    held = {
        c: cross_val_predict(
            LogisticRegression(C=c, max_iter=1000),
            vectors,
            labels,
            cv=StratifiedKFold(5, shuffle=True, random_state=0),
            method="predict_proba",
        )
        for c in spec.strategy_params.c
    }
    losses = {c: log_loss(labels, found) for c, found in held.items()}
    best = max(losses, key=lambda c: (f1_score(labels, held[c].argmax(1), average="macro"), -losses[c]))
    assert [entry["c"] for entry in record.log_history] == list(losses)
    for entry in record.log_history:
        assert entry["cv_loss"] == pytest.approx(losses[entry["c"]], rel=1e-2)
    assert dataset.test is not None
    theirs = LogisticRegression(C=best, max_iter=1000).fit(vectors, labels)
    texts = [dataset.test.texts[i] for i in parts.test]
    stored = folder.read_predictions()
    expected = theirs.predict_proba(by_hand(model, texts, max_length=12))
    # At the largest C the solver's tolerance shows.
    np.testing.assert_allclose(softmax(stored["logits"], axis=1), expected, atol=5e-2)

    parameters, cost, timing, examples = record.parameters, record.cost, record.timing, record.examples
    assert parameters and cost and timing and examples and record.selected
    assert (examples.train, examples.validation, parameters.adapter) == (80, 0, 0)
    assert parameters.trainable == parameters.head == 32 + 1
    assert parameters.total is not None and parameters.total > 10**5
    assert cost.artifact_bytes == (folder.path / "weights.safetensors").stat().st_size < 2000
    assert cost.tokens is not None and cost.tokens_padded is not None and cost.train_flops is not None
    assert 80 * 6 < cost.tokens <= cost.tokens_padded
    assert record.selected.by == "cross_validation"
    assert (record.selected.score is None) == (selection == "last")


def test_a_text_is_embedded_once_and_a_later_run_is_the_same(
    tiny_model: Model, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(DataConfig(source=str(reviews)))
    spec = make_spec(tiny_model("bert"), reviews)
    small = spec.model_copy(update={"train_size": 40})
    train(small, dataset, tmp_path / "grid")
    second, kept = train(spec, dataset, tmp_path / "grid")
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "another"))
    alone, folder = train(spec, dataset, tmp_path / "alone")
    for record, computed in ((second, 40), (alone, 80)):
        assert record.environment.machine["embeddings"] == {"texts": 80, "computed": computed, "precision": "fp32"}
    assert second.cost and alone.cost and second.timing and alone.timing
    assert second.cost.train_flops == alone.cost.train_flops and second.cost.tokens == alone.cost.tokens
    assert np.array_equal(kept.read_predictions()["logits"], folder.read_predictions()["logits"])
    parts = run_parts(spec, dataset)
    again, labels, _ = backend_of(spec.kind).predict_test(spec, dataset, parts, folder, "cpu")
    stored = folder.read_predictions()
    assert np.array_equal(again, stored["logits"]) and np.array_equal(labels, stored["labels"])


def test_an_interruption_keeps_what_was_embedded(
    tiny_model: Model, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.training.embeddings.cache._SLICE", 200)
    dataset = load_dataset(DataConfig(source=str(reviews)))
    spec, asked = make_spec(tiny_model("bert"), reviews), iter([False, False, True])
    with pytest.raises(Interrupted, match="begins again"):
        train(spec, dataset, tmp_path, lambda: next(asked))
    record, _ = train(spec, dataset, tmp_path)
    assert 0 < record.environment.machine["embeddings"]["computed"] < 80


def test_damage_is_mended_and_a_cache_that_cannot_be_written_is_done_without(
    tiny_model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = embedder_of(tiny_model("bert"))
    rows = embedder.tokens(["a film", LONG, "a film", "men"])
    ids, offsets = np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)])
    texts = TokenizedTexts(ids, offsets)
    first = EmbeddingCache(embedder, "f", folder=tmp_path / "c").embed(texts)
    assert first.computed == 3, "a copy is computed once"
    (shard,) = (tmp_path / "c").rglob("states.npy")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    second = EmbeddingCache(embedder, "f", folder=tmp_path / "c").embed(texts)
    assert second.computed == 3 and np.array_equal(second.vectors, first.vectors)
    third = EmbeddingCache(embedder, "f", folder=tmp_path / "c").embed(texts)
    assert third.computed == 0 and third.seconds > 0
    assert EmbeddingCache(embedder, "g", folder=tmp_path / "c").embed(texts).computed == 3
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        without = EmbeddingCache(embedder, "f", folder=tmp_path / "file" / "c").embed(texts)
    assert "cannot be written" in caplog.text
    assert np.array_equal(without.vectors, first.vectors)


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        ({"learning_rate": 1e-4}, "has no learning rate"),
        ({"truncation": "tail"}, r"no effect on embeddings \(only max_length do\)|no effect on embeddings"),
        ({"c": [1.0, 0.1]}, "c must ascend"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_what_has_no_effect_is_refused(strategy: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    study = {"model": "minilm", "data": "d", "train_sizes": [120], "strategies": {"embeddings": strategy}}
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(study))
    with pytest.raises(ConfigError, match=complaint):
        load_study(str(path))


def test_a_validation_part_of_the_datas_own_is_embedded_too_and_counted(tiny_model: Model, reviews: Path) -> None:
    spec, plain = make_spec(tiny_model("bert"), reviews), load_dataset(DataConfig(source=str(reviews)))
    assert plain.test is not None
    dataset = TextDataset("own", None, plain.label_names, plain.train, plain.test, validation=plain.test)
    splits = split_ref(dataset, validates=True)
    own = spec.model_copy(update={"splits": splits, "validation_fraction": 0.0})
    profiles: dict[Any, Any] = {}
    drawn, judged = (
        estimate_each([run], dataset=dataset, execution=THERE, measure=False, profiles=profiles)[0]
        for run in (spec, own)
    )
    ((profile,),) = (by_key.values() for by_key in profiles.values())  # of one number of threads
    assert judged.seconds - drawn.seconds == pytest.approx(len(plain.test) * profile.seconds, rel=1e-3)


def test_a_plan_counts_each_text_once_and_refuses_windows_longer_than_the_model(
    tiny_model: Model, reviews: Path
) -> None:
    study: dict[str, Any] = {
        "name": "t",
        "model": str(tiny_model("bert")),
        "data": str(reviews),
        "strategies": {"embeddings": {}, "short": {"kind": "embeddings", "max_length": 8}},
        "train_sizes": [40, 80],
        "max_length": 16,
    }
    plan = make_plan(StudyConfig.model_validate(study), execution=THERE, measure=True)
    found = {(run.spec.label, run.spec.train_size): plan.estimates[run.spec.run_id] for run in plan.runs}
    for label in ("embeddings", "short"):
        small, large = found[label, 40], found[label, 80]
        assert small.trainable_params == large.trainable_params == 33
        assert large.total_params > 10**5 and large.train_flops > 1.5 * small.train_flops
        assert small.measured and small.steps > 0
    with pytest.raises(PlanError, match="positions"):
        make_plan(StudyConfig.model_validate(study | {"max_length": 1024}), execution=THERE, measure=False)
