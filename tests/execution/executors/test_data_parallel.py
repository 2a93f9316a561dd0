"""Several processes in one run: the same batches, the same weights, one writer; killed, interrupted, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import warm
from thorough import mostly_thorough
from tunebench.engine import process_group
from tunebench.engine.batching import EpochSampler, SharedBatches, counted
from tunebench.errors import ConfigError, PlanError
from tunebench.execution.display import PlainDisplay
from tunebench.execution.executors import children, make_executor
from tunebench.execution.plan import make_plan
from tunebench.execution.runner import Job, Summary
from tunebench.machine.settings import Execution
from tunebench.store.cell import Cell
from tunebench.store.live import Progress, read_live
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig


@given(
    texts=st.integers(1, 60),
    share=st.integers(1, 5),
    size=st.integers(1, 4),
    epoch=st.integers(0, 2),
    batches=st.integers(1, 3),
)
def test_the_processes_together_see_the_batches_of_one(
    texts: int, share: int, size: int, epoch: int, batches: int
) -> None:
    lengths, batch_size = np.arange(texts) % 7 + 1, share * size
    order = EpochSampler(lengths, batch_size=batch_size, seed=3, grouped=2)
    order.set_epoch(epoch)
    alone = list(order)
    whole = [alone[start : start + batch_size] for start in range(0, texts, batch_size)]
    parts, counts = [], []
    for rank in range(size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process_group, "size", lambda: size)
            patch.setattr(process_group, "rank", lambda rank=rank: rank)
            shared = SharedBatches(
                EpochSampler(lengths, batch_size=batch_size, seed=3, grouped=2), texts=texts, batch_size=batch_size
            )
            shared.batch_sampler.set_epoch(epoch)
            parts.append(list(shared))
            assert len(parts[-1]) == len(shared) == len(whole)
            # A step adds the gradients of some batches up, the last one of an epoch those that are left.
            steps = -(-len(whole) // batches)
            counts.append(
                [
                    counted(
                        steps * epoch + place // batches,
                        texts=texts,
                        batch_size=batch_size,
                        batches=batches,
                        number=place % batches,
                    )
                    for place in range(len(whole))
                ]
            )
    for number, batch in enumerate(whole):
        seen = [parts[rank][number][: counts[rank][number][0]] for rank in range(size)]
        assert [index for part in seen for index in part] == batch
        first = number // batches * batches
        assert {counts[rank][number][1] for rank in range(size)} == {sum(map(len, whole[first : first + batches]))}
        assert all(parts[rank][number] for rank in range(size))
        assert max(map(len, seen)) - min(map(len, seen)) <= 1


@pytest.fixture(scope="module")
def steady_model(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without dropout, whose masks would differ by process."""
    folder = tmp_path_factory.mktemp("steady") / "distilbert"
    shutil.copytree(tiny_model("distilbert"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def study(model: Path, data: Path, **more: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "name": "s",
        "model": str(model),
        "data": str(data),
        "strategies": {"full": {"learning_rate": 1e-3}},
        "train_sizes": [60],
        "max_length": 24,
        "epochs": 2,
        "batch_size": 8,
    }
    return StudyConfig.model_validate(settings | more)


class Watching(PlainDisplay):
    """Silent, and calls back with every progress."""

    def __init__(self, called: Callable[[Progress], None] = lambda progress: None) -> None:
        super().__init__(interval=0.0)
        self.called = called

    def update(self, progress: Progress) -> None:
        self.called(progress)

    def message(self, line: str) -> None:
        pass


def run(
    config: StudyConfig, folder: Path, *, display: Watching | None = None, **more: Any
) -> tuple[Summary, list[Cell]]:
    """What ``run_study`` does, without a report."""
    execution = Execution(device="cpu", threads=1, **more)
    plan = make_plan(config, execution=execution, folder=folder, measure=False)
    store = StudyStore.create(folder, config, list(plan.runs))
    with make_executor(execution) as executor:
        job = Job(store, plan.dataset, execution, display or Watching(), executor.train)
        summary = executor.run([planned.spec for planned in plan.runs], job)
    return summary, store.cells()


ALIKE: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 1e-3, "engine": "reference", "precision": "fp32"},
    "lora": {"learning_rate": 3e-3, "engine": "fast", "precision": "bf16", "dropout": 0.0},
}
#: Distance of the weights after training, over the way they went; measured at 1e-8 and 1e-4.
CLOSE = {"full": 1e-5, "lora": 1e-2}


@pytest.mark.parametrize(
    "label, batches", mostly_thorough([("full", 3), ("full", 1), ("lora", 1)], keep=lambda case: case[1] == 3)
)
def test_two_processes_end_where_one_does(
    steady_model: Path, reviews: Path, tmp_path: Path, label: str, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batches == 3:  # the others start as they do outside tests
        monkeypatch.setattr(children, "CONTEXT", warm.WARM)
    # 57 texts: the last batch of an epoch is a single text, and one process has none.
    config = study(
        steady_model,
        reviews,
        train_sizes=[57],
        selection="last",
        validation_fraction=0,
        gradient_accumulation=batches,
        strategies={label: ALIKE[label]},
    )
    alone = run(config, tmp_path / "one")[1]
    shared = run(config, tmp_path / "two", processes=2)[1]
    for one, two in zip(alone, shared, strict=True):
        assert one.spec.run_id == two.spec.run_id
        assert one.record is not None and two.record is not None
        assert (one.record.environment.world_size, two.record.environment.world_size) == (1, 2)
        assert one.record.examples == two.record.examples and two.record.examples is not None
        assert two.record.examples.train == 57
        first, second = (
            load_file(tmp_path / place / "runs" / one.spec.run_id / "weights.safetensors")
            for place in ("one", "two")
        )
        apart = sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5
        steps = len(one.record.timing.step_seconds) if one.record.timing else 0
        assert steps == 2 * -(-8 // batches)
        # AdamW moves a weight by about the learning rate a step.
        way = one.spec.learning_rate * steps * sum(tensor.numel() for tensor in first.values()) ** 0.5
        assert apart / way < CLOSE[one.spec.label]
        for key, entries in {"loss": 5e-4, "grad_norm": 2e-2}.items():
            values = [[e[key] for e in cell.log_history if key in e] for cell in (one.record, two.record)]
            assert values[0] and values[0] == pytest.approx(values[1], rel=entries)
        assert one.record.cost is not None and two.record.cost is not None
        assert one.record.cost.tokens == two.record.cost.tokens
        folders = [RunFolder(tmp_path / place / "runs" / one.spec.run_id) for place in ("one", "two")]
        logits = [folder.read_predictions()["logits"] for folder in folders]
        assert logits[0] == pytest.approx(logits[1], abs=2e-2)


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta", "electra", "deberta-v2", "modernbert"])
def test_every_trained_parameter_gets_a_gradient(family: str, tiny_model: Callable[[str], Path]) -> None:
    """What DistributedDataParallel is promised."""
    from tunebench.engine.fast.attach import FastEncoder, supports
    from tunebench.engine.fast.families import LAYER_FAMILIES
    from tunebench.models.architectures import architecture_of
    from tunebench.models.loading import load_classifier
    from tunebench.strategies import STRATEGIES

    tested = []
    ids = torch.tensor([[101, 2000, 2001, 102], [101, 2002, 102, 0]])
    for kind, strategy in STRATEGIES.items():
        if not STRATEGIES[kind].data_parallel:
            continue
        torch.manual_seed(0)
        model = load_classifier(tiny_model(family), label_names=("a", "b"), attention_dropout=0.1)
        architecture = architecture_of(model.config)
        params = strategy.params()
        if strategy.refusal(params, architecture) is not None:
            continue
        model = strategy.prepare(model, params, architecture)
        for fast in (False, True):
            if fast:
                if supports(architecture, model) is not None:
                    continue
                FastEncoder(model, architecture, seed=0, dtype=torch.bfloat16)
            model.train()
            model.zero_grad()
            model(input_ids=ids, attention_mask=(ids > 0).long(), labels=torch.tensor([0, 1])).loss.backward()
            without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert not without, (kind, fast)
            tested.append((kind, fast))
    assert ("full", False) in tested
    assert (("full", True) in tested) == (family in LAYER_FAMILIES)


def lively(model: Path, data: Path, **more: Any) -> StudyConfig:
    """A study that takes about a hundred steps, with dropout."""
    return study(model, data, batch_size=2, epochs=4, train_sizes=[60], evaluations_per_epoch=1, **more)


@pytest.fixture(scope="module")
def undisturbed(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Summary, list[Cell]]:
    """Two runs, in the first of which the second process is killed."""
    import multiprocessing

    folder = tmp_path_factory.mktemp("killed")
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if not killed and progress.phase == "train" and progress.step > 5:
            (second,) = [p for p in multiprocessing.active_children() if p.name == "tunebench-rank-1"]
            assert second.pid is not None
            killed.append(second.pid)
            os.kill(second.pid, signal.SIGKILL)

    config = lively(tiny_model("distilbert"), reviews, seeds=[1, 2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "CONTEXT", warm.WARM)
        return run(config, folder, display=Watching(kill), processes=2)


def test_a_killed_process_fails_its_run_and_no_other(undisturbed: tuple[Summary, list[Cell]]) -> None:
    summary, (first, second) = undisturbed
    assert summary.failed == [first.spec.run_id]
    assert first.record is not None and first.record.error is not None
    assert first.record.error.type == "ProcessDiedError"
    assert "Process 2 of the 2" in first.record.error.message and "SIGKILL" in first.record.error.message
    assert second.record is not None and second.status == "complete"
    assert second.record.environment.world_size == 2
    assert not psutil.Process().children() or all("rank" not in p.name() for p in psutil.Process().children())


#: A command, its children, and a file with what it writes.
Command = tuple[BaseProcess, list[psutil.Process], Path]


@pytest.fixture
def command(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> Iterator[Callable[[], Command]]:
    """Start the same study's second run on the command line; returns it and its children when they train."""
    import yaml

    path, out, told = tmp_path / "study.yaml", tmp_path / "out", tmp_path / "told.txt"
    config = lively(tiny_model("distilbert"), reviews, seeds=[2])
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    words = ["run", path, "--out", out, "--processes", "2", "--threads", "1", "--device", "cpu", "--no-measure"]
    started: list[psutil.Process] = []

    def start() -> Command:
        for live in out.glob("runs/*/progress.json"):
            live.unlink()
        process = warm.start(warm.command, words, told=told)
        started.append(psutil.Process(process.pid))
        while process.is_alive():
            lives = [read_live(live) for live in out.glob("runs/*/progress.json")]
            if any(live is not None and live.phase == "train" for live in lives):
                ranks = warm.children_of(process)
                started.extend(ranks)
                return process, ranks, told
            time.sleep(0.05)
        raise AssertionError(told.read_text())

    yield start
    for left in started:
        if left.is_running():
            left.kill()


def test_killed_or_interrupted_nothing_is_left_and_it_resumes_to_the_same_end(
    command: Callable[[], Command],
    undisturbed: tuple[Summary, list[Cell]],
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    warm_children: None,
) -> None:
    process, ranks, _ = command()
    assert len(ranks) == 2
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    process, ranks, told = command()
    for number in (process.pid, *(rank.pid for rank in ranks)):  # as a terminal does
        os.kill(number, signal.SIGINT)
    process.join(120)
    assert process.exitcode == 130, told.read_text()
    assert "Traceback" not in told.read_text() and "run the same command again" in told.read_text()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    (checkpoint,) = (tmp_path / "out" / "runs").glob("*/checkpoint/step-*")
    _, (cell,) = run(lively(tiny_model("distilbert"), reviews, seeds=[2]), tmp_path / "out", processes=2)
    whole = undisturbed[1][1].record
    assert cell.record is not None and whole is not None and cell.record.timing is not None
    assert cell.record.timing.resumed == 1 and not checkpoint.exists()
    assert cell.record.run_id == whole.run_id
    assert cell.record.files["weights.safetensors"] == whole.files["weights.safetensors"]
    assert cell.record.scores == whole.scores and cell.record.selected == whole.selected
    assert cell.record.cost is not None and whole.cost is not None
    assert cell.record.cost.tokens_padded == whole.cost.tokens_padded


def test_what_cannot_be_shared_is_refused_before_anything_is_written(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    config = study(tiny_model("distilbert"), reviews, batch_size=8)
    with pytest.raises(PlanError, match="8 texts cannot be shared equally by 3 processes"):
        run(config, tmp_path / "out", processes=3)
    with pytest.raises(ConfigError, match="each run uses one process"):
        make_executor(Execution(processes=2, executor="ray"))
    assert not (tmp_path / "out").exists()


def test_strategies_without_an_encoder_run_in_one_process(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    config = study(tiny_model("distilbert"), reviews, strategies={"tfidf": {}}, batch_size=8)
    _, (cell,) = run(config, tmp_path, processes=3)
    assert cell.record is not None and cell.record.environment.world_size == 1
