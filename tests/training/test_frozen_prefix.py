"""Whole runs with frozen layers: the same results with and without kept outputs, which later runs share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field
from torch import nn
from typer.testing import CliRunner

from thorough import mostly_thorough
from tunebench.benchmarks.prefix import render_prefix, run_prefix_bench
from tunebench.cli import app
from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.errors import ConfigError
from tunebench.execution.estimates import estimate_each
from tunebench.formatting import parse_size
from tunebench.machine.settings import Execution
from tunebench.models.architectures import Architecture
from tunebench.models.sources import resolve_model
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.strategies import STRATEGIES, Strategy, StrategyParams
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.registry import run_one


class TopParams(StrategyParams):
    layers: int = Field(default=1, ge=0)


class Top(Strategy):
    """Train the head and some layers at the top."""

    name: ClassVar[str] = "top"
    summary: ClassVar[str] = "for these tests"
    source: ClassVar[str] = "none"
    params: ClassVar[type[StrategyParams]] = TopParams
    default_learning_rate: ClassVar[float] = 3e-3

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(architecture.is_head(name))
        stack: Any = model.get_submodule(architecture.layers)
        for layer in list(stack)[len(stack) - params.layers :]:
            layer.requires_grad_(True)
        return model


@pytest.fixture(autouse=True)
def top(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(STRATEGIES, "top", Top())
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    generator = np.random.default_rng(0)
    filler = "the film was a story of two men in paris who met again after many years".split()
    for name, count in (("train", 100), ("test", 40)):
        lines = ["text,label"]
        for i in range(count):
            words = [*generator.choice(filler, size=generator.integers(3, 12)), ("bad", "great")[i % 2]]
            lines.append(f"{' '.join(words)} {i},{('neg', 'pos')[i % 2]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def make_specs(model: Path, data: Path, **changes: Any) -> tuple[list[RunSpec], TextDataset]:
    settings: dict[str, Any] = {
        "name": "t",
        "model": str(model),
        "data": str(data),
        "strategies": {"top": {}},
        "train_sizes": [80],
        "max_length": 16,
        "batch_size": 8,
        "epochs": 2,
        "frozen_dropout": False,
    }
    dataset = load_dataset(DataConfig(source=str(data)))
    specs = expand(
        StudyConfig.model_validate(settings | changes),
        model=resolve_model(str(model)),
        data=DataRef(source=str(data), fingerprint=dataset.fingerprint, label_names=dataset.label_names),
        train_examples=len(dataset.train),
        test_examples=40,
        precision={"fast": "bf16", "reference": "fp32"},
    )
    return list(specs), dataset


def train(
    spec: RunSpec,
    dataset: TextDataset,
    place: Path,
    *,
    cache: int | None = 10**9,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[RunRecord, RunFolder]:
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    execution = Execution(device="cpu", threads=1, prefix_cache=cache)
    record = run_one(Attempt(spec, dataset, folder, execution, stop=stop))
    return record, folder


def said(record: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = record.environment.machine["frozen_prefix"]
    return found


@pytest.mark.parametrize(
    ("model_type", "engine", "layers"),
    mostly_thorough(
        [("distilbert", "fast", 0), ("distilbert", "fast", 1), ("bert", "reference", 1), ("modernbert", "fast", 1)],
        keep=lambda case: case[0] == "distilbert",
    ),
)
def test_a_run_is_the_same_with_and_without_kept_outputs(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, model_type: str, engine: str, layers: int
) -> None:
    strategies = {"top": {"layers": layers}}
    (spec,), dataset = make_specs(tiny_model(model_type), reviews, strategies=strategies, engine=engine)
    kept, kept_folder = train(spec, dataset, tmp_path / "kept")
    plain, plain_folder = train(spec, dataset, tmp_path / "plain", cache=None)
    assert said(kept)["kept"] and said(kept)["layers"] == 2 - layers
    assert said(kept)["texts_computed"] > 80
    assert said(plain) == {"layers": 2 - layers, "kept": False, "texts_computed": 0, "reason": "switched off"}
    first, second = (f.read_predictions()["logits"] for f in (kept_folder, plain_folder))
    assert np.allclose(first, second, atol=2e-2 if spec.precision == "bf16" else 1e-4)
    assert kept.timing and plain.timing and kept.cost and plain.cost
    assert kept.timing.prefix_seconds and plain.timing.prefix_seconds is None
    assert kept.cost.train_flops < plain.cost.train_flops
    assert not list((tmp_path / "plain").glob(".prefix/*"))


def test_later_seeds_rates_and_sizes_share_what_the_first_run_computed(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    specs, dataset = make_specs(
        tiny_model("bert"),
        reviews,
        seeds=[1, 2],
        train_sizes=[60, 80],
        strategies={"top": {"learning_rate": [1e-3, 3e-3]}},
        epochs=1,
    )
    # One run each of: the first, another rate, another seed, a larger size.
    specs = [specs[0], specs[1], specs[4], specs[2]]
    records = [train(spec, dataset, tmp_path)[0] for spec in specs]
    computed = [said(record)["texts_computed"] for record in records]
    assert [n > 0 for n in computed] == [True, False, False, True]
    assert max(computed) <= 60 + 40 and sum(computed) <= 80 + 40
    (folder,) = (path for path in (tmp_path / ".prefix").iterdir() if path.is_dir())
    assert len(list(folder.glob("shard-*"))) >= 2
    assert all(record.timing and record.timing.prefix_seconds is not None for record in records)
    assert records[0].cost and records[1].cost
    assert records[0].cost.train_flops > records[1].cost.train_flops, "the first one pays"


def test_a_cache_that_is_too_small_is_said_and_changes_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    (spec,), dataset = make_specs(tiny_model("bert"), reviews)
    small, small_folder = train(spec, dataset, tmp_path / "small", cache=10)
    _, plain_folder = train(spec, dataset, tmp_path / "plain", cache=None)
    assert said(small)["reason"] == "more than the cache may hold" and not said(small)["kept"]
    assert small.timing and small.timing.prefix_seconds is None
    assert np.array_equal(small_folder.read_predictions()["logits"], plain_folder.read_predictions()["logits"])


def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    (spec,), dataset = make_specs(tiny_model("bert"), reviews)
    whole, whole_folder = train(spec, dataset, tmp_path / "whole")

    def after(calls: int) -> Callable[[], bool]:
        count = iter(range(10**6))
        return lambda: next(count) + 1 >= calls

    for calls in (1, 6):
        with pytest.raises(Interrupted):
            train(spec, dataset, tmp_path / "cut", stop=after(calls))
    cut, cut_folder = train(spec, dataset, tmp_path / "cut")
    assert cut.scores == whole.scores
    assert np.array_equal(cut_folder.read_predictions()["logits"], whole_folder.read_predictions()["logits"])
    assert cut.timing and cut.timing.prefix_seconds and cut.timing.prefix_seconds > 0
    assert cut.cost and whole.cost
    assert cut.cost.train_flops == pytest.approx(whole.cost.train_flops)


def test_dropout_below_is_a_recipe_of_its_own(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    (off,), dataset = make_specs(tiny_model("bert"), reviews)
    (on,), _ = make_specs(tiny_model("bert"), reviews, frozen_dropout=True)
    assert off.run_id != on.run_id
    assert "frozen_dropout" not in on.identity, "older records would lose their ids"
    record, _ = train(on, dataset, tmp_path)
    assert "frozen_prefix" not in record.environment.machine
    assert record.timing and record.timing.prefix_seconds is None
    execution = {Execution(prefix_cache=cache) for cache in (None, 5, 10**9)}
    assert len(execution) == 3 and not any("prefix_cache" in spec.model_dump() for spec in (on, off))


def test_the_estimate_is_what_will_lie_on_disk(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    specs, dataset = make_specs(tiny_model("bert"), reviews, seeds=[1, 2], train_sizes=[60, 80])
    specs.sort(key=lambda spec: spec.train_size)

    def estimates(cache: int | None) -> list[Any]:
        execution = Execution(device="cpu", threads=1, prefix_cache=cache)
        return estimate_each(specs, dataset=dataset, execution=execution, measure=False)

    kept, plain = estimates(10**9), estimates(None)
    assert [e.prefix_bytes > 0 for e in kept] == [True, False, True, False]
    assert [e.prefix_layers for e in kept] == [1] * 4
    assert [(e.prefix_bytes, e.prefix_layers) for e in plain] == [(0, None)] * 4
    assert all(k.train_flops < p.train_flops for k, p in zip(kept, plain, strict=True))
    for spec in specs[::2]:
        train(spec, dataset, tmp_path)
    real = sum(path.stat().st_size for path in (tmp_path / ".prefix").rglob("states.npy"))
    assert sum(e.prefix_bytes for e in kept) == pytest.approx(real, rel=0.15)


def test_a_study_shows_the_size_says_what_it_means_and_leaves_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real command line, from the plan to the report."""
    monkeypatch.setenv("COLUMNS", "300")
    study = tmp_path / "study.yaml"
    settings = {
        "model": str(tiny_model("bert")),
        "data": str(reviews),
        "strategies": {
            "top": {"frozen_dropout": False},
            "top-tail": {"kind": "top", "frozen_dropout": False, "truncation": "tail"},
        },
        "train_sizes": [60],
        "max_length": 8,
        "epochs": 1,
        "batch_size": 32,
    }
    study.write_text(json.dumps(settings))
    base = ["run", str(study), "--out", str(tmp_path / "out"), "--no-measure", "--threads", "1"]
    planned = CliRunner().invoke(app, [*base, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "2 runs cache frozen layers on disk: about" in planned.output
    assert "truncation" in planned.output and "tail" in planned.output
    off = CliRunner().invoke(app, [*base, "--dry-run", "--prefix-cache", "off"])
    assert "frozen layers from disk" not in off.output
    wrong = CliRunner().invoke(app, [*base, "--prefix-cache", "much"])
    assert isinstance(wrong.exception, ConfigError)
    assert not (tmp_path / "out").exists()
    ran = CliRunner().invoke(app, base)
    assert ran.exit_code == 0, ran.output
    report = (tmp_path / "out" / "report.md").read_text()
    assert "2 of 2 runs took their frozen layers from disk" in report
    assert "also differ in: truncation." in report
    assert not (tmp_path / "out" / "runs" / ".prefix").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("500mb", 5 * 10**8), (" 1.5 TB ", 15 * 10**11), ("OFF", None)]
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2", "0GB", "-1GB", "2 parsecs", "on"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="not a size"):
        parse_size(text)


def test_the_benchmark_measures_both_ways(tiny_model: Callable[[str], Path]) -> None:
    result = run_prefix_bench(str(tiny_model("bert")), seconds=0.1, threads=1)
    assert list(result.sides) == [0, 1] and result.rounds == 2
    assert all(len(s.computed) == len(s.kept) == len(s.fill_seconds) == 2 for s in result.sides.values())
    assert all(t > 0 for s in result.sides.values() for t in (*s.computed, *s.kept, *s.fill_seconds))
    assert all(side.bytes_per_text > 0 for side in result.sides.values())
    assert json.loads(json.dumps(result.to_dict()))["layers"] == 2
    assert "top 1" in render_prefix(result) and "head" in render_prefix(result)
