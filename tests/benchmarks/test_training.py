"""``bench``: what its sides train on, and what it shows of them. Nothing here looks at a clock."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, Trainer

from conftest import TINY, VOCABULARY, write_tokenizer
from tunebench.benchmarks import sides, training
from tunebench.benchmarks.training import Result, Side, render, run_bench
from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.flops import count
from tunebench.errors import PlanError


@pytest.fixture(scope="module")
def without_dropout(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = AutoConfig.for_model("bert", vocab_size=VOCABULARY, **TINY["bert"], **off)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    write_tokenizer(folder)
    return str(folder)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every training step: its tokens without padding, its width, its loss, and the Trainer's precision."""
    found: list[dict[str, Any]] = []
    usual = Trainer.training_step

    def watched(self: Trainer, model: Any, inputs: Any, *args: Any) -> Any:
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        loss = usual(self, model, inputs, *args)
        found.append(
            {
                "tokens": [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)],
                "width": ids.shape[1],
                "loss": loss.item(),
                "precision": self.accelerator.mixed_precision,
            }
        )
        return loss

    monkeypatch.setattr(Trainer, "training_step", watched)
    return found


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> TokenizedTexts:
    """Short texts, in a whole batch and a short one; and no products timed."""
    monkeypatch.setattr(sides, "BATCH", 4)
    monkeypatch.setattr(sides, "MAX_LENGTH", 24)
    monkeypatch.setattr("tunebench.machine.environment.gemm_gflops", lambda kind: 100.0)
    lengths = [5, 23, 9, 14, 18, 7]
    ids = np.random.default_rng(0).integers(*sides.TOKENS, size=sum(lengths)).astype(np.int32)
    made = TokenizedTexts(ids, np.concatenate([[0], np.cumsum(lengths)]))
    monkeypatch.setattr(training, "review_lengths", lambda: made)
    return made


def test_all_sides_train_on_the_same_batches_with_the_same_recipe(
    without_dropout: str, steps: list[dict[str, Any]], texts: TokenizedTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.machine.devices.gains_from_bf16", lambda device: False)
    monkeypatch.setitem(sides.WAYS["lora"], "dropout", 0.0)
    told: list[str] = []
    result = run_bench(without_dropout, seconds=1, threads=1, tell=told.append)
    order = [line.split(", ", 1)[1] for line in told if line.startswith("round ")]
    assert order == [f"{way}, {side}" for way in ("full", "lora") for side in ("paper", "careful", "ours")] * 2
    for _ in range(result.rounds):
        for _ in sides.WAYS:
            paper, careful, ours = steps[:3], steps[3:7], steps[7:11]
            del steps[:11]
            assert [step["tokens"] for step in careful] == [step["tokens"] for step in ours]
            assert [step["tokens"] for step in paper] == [step["tokens"] for step in ours[:3]]
            assert [step["loss"] for step in careful] == pytest.approx([step["loss"] for step in ours], rel=1e-4)
            assert [step["loss"] for step in paper] == pytest.approx([step["loss"] for step in ours[:3]], rel=1e-4)
            assert len({step["loss"] for step in ours}) == 4 and {step["precision"] for step in careful} == {"no"}
            assert {step["width"] for step in paper} == {sides.MAX_LENGTH}
            assert [step["width"] for step in careful] == [max(map(len, step["tokens"])) for step in careful]
    assert steps == [] and result.rounds == 2
    assert all(len(side.step_seconds) == 2 for way in result.sides.values() for side in way.values())


def test_the_careful_side_takes_bf16_and_scores_by_length_and_the_next_side_does_neither(
    without_dropout: str, steps: list[dict[str, Any]], texts: TokenizedTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[np.ndarray] = []
    usual = Trainer.predict
    monkeypatch.setattr(
        Trainer, "predict", lambda self, data: (scored.append(data.texts.lengths), usual(self, data))[1]
    )
    model, architecture = sides.build_model(without_dropout, "full", None)
    job = sides.Job(model, architecture, count(model, architecture), texts, "bf16")
    sides.careful(job)
    assert [step["precision"] for step in steps] == ["bf16"] * 4
    assert all(np.array_equal(lengths, np.sort(texts.lengths)[::-1]) for lengths in scored)
    del steps[:], scored[:]
    sides.paper(job)
    assert [step["precision"] for step in steps] == ["no"] * 3
    assert all(np.array_equal(lengths, texts.lengths) for lengths in scored)


def measured(*names: str) -> Result:
    """Return a result in which the side before ours takes twice as long, the one before that three times."""
    numbers = {name: float(len(names) - i) for i, name in enumerate(names)}
    found = {name: Side([n, n, 1.5 * n], [12 / n, 12 / n, 9 / n], int(n * 1e9)) for name, n in numbers.items()}
    found["ours"] = Side([1.0, 1.0, 1.0], [12.0, 12.0, 12.0], 10**9)
    machine = {"cpu": "a processor", "cores": 2}
    return Result(
        model="m",
        machine=machine,
        versions={},
        threads=2,
        rounds=3,
        mean_tokens=207.0,
        precision="bf16",
        attention_dropout=None,
        gemm_gflops={"fp32": 1.0, "bf16": 4.0},
        sides={"full": found, "lora": found},
        step_flops={"full": 2e9, "lora": 1e9},
    )


def test_every_ratio_is_in_the_table_and_in_the_json() -> None:
    result = measured("paper", "careful", "compiled", "ours")
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["step_ratio"]["lora"] == {"paper": [4, 4, 6], "careful": [3, 3, 4.5], "compiled": [2, 2, 3]}
    assert values["evaluation_ratio"]["full"]["careful"] == pytest.approx([3, 3, 4])
    assert values["mfu"] == {"full": 0.5, "lora": 0.25}
    text = render(result, grid=True)
    (row, _) = [line.split() for line in text.splitlines() if line.startswith("  careful ")]
    assert row == "careful 3.000 3.00x 3.00 to 4.50 4.000 3.00x 3.00 to 4.00 3.00".split()
    assert (
        "padded to 256" in text and "MFU of ours: 50%" in text and "compiled  careful, with torch.compile" in text
    )
    hours = {side: sum(parts.values()) / 3600 for side, parts in values["grid_seconds"].items()}
    assert all(
        f"{side}: {hours[side]:.2f} h against {hours['ours']:.2f} h" in text for side in hours.keys() - {"ours"}
    )
    assert "compiled" not in render(measured("paper", "careful", "ours"), grid=True)


def test_the_grid_is_steps_and_reviews_times_what_each_takes() -> None:
    found = measured("paper", "careful", "ours").grid()
    steps = 3 * sum(-(-n // 32) for n in (5_000, 10_000, 25_000))
    # Both strategies; each of the three sizes scores the test split six times.
    assert found["paper"] == pytest.approx({"training": 2 * steps * 3.0, "evaluation": 2 * 18 * 25_000 / 4})
    assert found["ours"]["evaluation"] == pytest.approx(2 * (6 * 4_000 + 3 * 25_000) / 12)


def test_compile_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(PlanError, match="no working C") as refused:
        run_bench("minilm", compiled=True)
    assert "leave --compile out" in str(refused.value)


def test_the_side_without_native_kernels_is_tunebench_in_all_else(
    texts: TokenizedTexts, without_dropout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    usual = sides.attach

    def watched(*given: Any, native: bool, **options: Any) -> Any:
        asked.append(native)
        return usual(*given, native=native, **options)

    monkeypatch.setattr(sides, "attach", watched)
    for turn in training.OURS.values():
        model, architecture = sides.build_model(without_dropout, "full", None)
        turn(sides.Job(model, architecture, count(model, architecture), texts, "bf16"))
    assert list(training.OURS) == ["ours", "without"] and asked == [True, False]
    kept: list[bool] = []
    monkeypatch.setattr(training, "keep_memory", kept.append)
    monkeypatch.setattr(training, "PLAIN", {"paper": lambda job: sides.Turn(3.0, 1.0)})
    monkeypatch.setattr(training, "OURS", {name: lambda job: sides.Turn(1.0, 4.0) for name in training.OURS})
    told: list[str] = []
    result = run_bench(without_dropout, seconds=1, without=True, threads=1, tell=told.append)
    assert [line.split(", ", 2)[2] for line in told[:3]] == ["paper", "without", "ours"]
    assert kept[:3] == [False, True, True]
    assert result.ratio("full", "without", "step_seconds") == (1, 1, 1)
    grid = result.grid()
    assert grid["without"] == grid["ours"] != grid["paper"]
    assert "ours, without native kernels" in render(result, grid=True)


def test_a_stop_leaves_the_whole_rounds(
    without_dropout: str, texts: TokenizedTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, told = [], list[str]()

    def turn(job: sides.Job) -> sides.Turn:
        turns.append(job)
        if len(turns) in stops:
            raise KeyboardInterrupt
        return sides.Turn(1.0 / len(turns), 1.0)

    monkeypatch.setattr(training, "PLAIN", {"paper": turn})
    monkeypatch.setattr(training, "OURS", {"ours": turn, "without": turn})
    stops = {7}
    result = run_bench(without_dropout, seconds=0, threads=1, tell=told.append)
    assert result.rounds == 1 and result.sides["full"]["ours"].step_seconds == [1 / 2]
    assert [line for line in told if "round 1" not in line and "round 2" not in line] == [
        "1 of 2 rounds done, about 0 s left",
        "stopped; the result is of 1 whole round",
    ]
    assert "1 rounds" not in render(result, grid=False)
    turns.clear()
    stops = {3}
    with pytest.raises(KeyboardInterrupt):
        run_bench(without_dropout, seconds=0, threads=1, tell=told.append)
