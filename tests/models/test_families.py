"""Whole runs of the families that need more than a wrapped model: hooks at each step, virtual tokens, pooling."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from conftest import TINY
from thorough import mostly_thorough, thorough
from training.test_encoder import make_spec, stop_after, train
from tunebench.engine import checkpoint as checkpoints
from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.models.architectures import architecture_of, usable_positions
from tunebench.models.loading import load_architecture, load_classifier
from tunebench.models.pooling import pool_mean
from tunebench.strategies import STRATEGIES, StepHook
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Interrupted

Tiny = Callable[[str], Path]
FAMILIES: dict[str, dict[str, Any]] = {
    "adalora": {"initial_rank": 6, "target_rank": 2, "dropout": 0.1, "learning_rate": 5e-3},
    "prefix_tuning": {"virtual_tokens": 4},
    "prompt_tuning": {"virtual_tokens": 4},
    "head_only": {"pooling": "mean", "frozen_dropout": False},
}


def specs(model: Path, reviews: Path, kind: str, **changes: Any) -> tuple[RunSpec, Any]:
    return make_spec(model, reviews, strategies={kind: FAMILIES[kind]}, **changes)


@pytest.mark.parametrize(
    ("kind", "engine"),
    # The Trainer's own layers keep nothing for a family; those that act at every step are tried with them too.
    mostly_thorough(
        [*((kind, "fast") for kind in FAMILIES), ("adalora", "reference"), ("prefix_tuning", "reference")],
        keep=lambda case: case in (("adalora", "fast"), ("prefix_tuning", "reference")),
    ),
)
def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    tiny_model: Tiny, reviews: Path, tmp_path: Path, kind: str, engine: str
) -> None:
    # The last weights, not those of a best step that may lie before the interruption.
    spec, dataset = specs(tiny_model("bert"), reviews, kind, engine=engine, selection="last")
    whole, whole_folder, _ = train(spec, dataset, tmp_path / "whole")
    # In the middle of allocation, and after it has ended.
    for steps in (9, 13):
        with pytest.raises(Interrupted):
            train(spec, dataset, tmp_path / "cut", stop_after(steps))
    cut, cut_folder, _ = train(spec, dataset, tmp_path / "cut")
    assert cut.timing and cut.timing.resumed == 2
    assert cut.scores == whole.scores and cut.selected == whole.selected
    assert whole_folder.weights.read_bytes() == cut_folder.weights.read_bytes()
    first, second = whole_folder.read_predictions(), cut_folder.read_predictions()
    assert np.array_equal(first["logits"], second["logits"])


@thorough
def test_what_the_allocator_remembers_decides_how_an_interrupted_run_ends(
    tiny_model: Tiny, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the test above could not fail."""
    spec, dataset = specs(tiny_model("bert"), reviews, "adalora", selection="last")
    _, whole, _ = train(spec, dataset, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(spec, dataset, tmp_path / "cut", stop_after(14))
    monkeypatch.setattr(checkpoints, "read_hook", lambda checkpoint: None)
    _, forgetful, _ = train(spec, dataset, tmp_path / "cut")
    assert whole.weights.read_bytes() != forgetful.weights.read_bytes()


def test_a_checkpoint_that_lost_what_the_allocator_remembers_is_not_gone_on_from(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    stored = {"importance|a": torch.ones(3), "ranks|a": torch.tensor([True, False])}
    options = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "trainer_state": "{}"}
    path = checkpoints.save_checkpoint(tmp_path, step=1, state={}, hook=stored, **options)  # type: ignore[arg-type]
    found = checkpoints.read_hook(path)
    assert found is not None and found.keys() == stored.keys()
    assert all(torch.equal(found[name], value) for name, value in stored.items())
    assert checkpoints.latest_checkpoint(tmp_path) == path
    (path / "hook.safetensors").unlink()
    assert checkpoints.latest_checkpoint(tmp_path) is None
    plain = checkpoints.save_checkpoint(tmp_path, step=2, state={}, **options)  # type: ignore[arg-type]
    assert checkpoints.read_hook(plain) is None


def test_ranks_are_taken_on_schedule_and_stay_taken(tiny_model: Tiny, reviews: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watched(StepHook):
        def __init__(self, inner: StepHook, model: Any) -> None:
            self.inner, self.model = inner, model

        def after_update(self, step: int) -> None:
            self.inner.after_update(step)
            values = [p for name, p in self.model.named_parameters() if ".lora_E." in name]
            seen.append(sum(int((p != 0).sum()) for p in values))

        def state(self) -> dict[str, torch.Tensor]:
            return self.inner.state()

        def restore(self, state: dict[str, torch.Tensor]) -> None:
            self.inner.restore(state)

    adalora = STRATEGIES["adalora"]

    class Spy(type(adalora)):  # type: ignore[misc]
        def step_hook(self, model: Any, params: Any, *, steps: int) -> StepHook:
            assert steps == 28
            inner = super().step_hook(model, params, steps=steps)
            assert inner is not None
            return Watched(inner, model)

    spec, dataset = specs(tiny_model("bert"), reviews, "adalora")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRATEGIES, "adalora", Spy())
        record, folder, _ = train(spec, dataset, tmp_path)
    matrices = 2 * 6  # layers, and their linear maps
    begin, end = int(0.1 * 28), 28 - int(0.3 * 28)
    assert seen[:begin] == [6 * matrices] * begin, "nothing is taken in the first share"
    assert seen[end - 1 :] == [2 * matrices] * (28 - end + 1), "the budget is met, and no rank comes back"
    assert all(late <= early for early, late in pairwise(seen))
    assert record.selected is not None
    stored = load_file(folder.weights)
    left = sum(int((value != 0).sum()) for name, value in stored.items() if ".lora_E." in name)
    assert left == seen[record.selected.step - 1], "what was scored are the weights of the selected step"


def test_every_length_of_training_leaves_a_step_to_allocate_in(tiny_model: Tiny) -> None:
    strategy, folder = STRATEGIES["adalora"], tiny_model("bert")
    for initial, final in ((0.0, 0.0), (0.1, 0.3), (0.49, 0.5), (0.0, 0.99), (0.99, 0.0)):
        params = strategy.params(initial_share=initial, final_share=final, initial_rank=3, target_rank=1)
        model: Any = strategy.prepare(
            load_classifier(folder, label_names=("a", "b")), params, load_architecture(folder)
        )
        assert strategy.step_hook(model, params, steps=1) is None
        for steps in (2, 3, 7):
            hook = strategy.step_hook(model, params, steps=steps)
            assert hook is not None
            config = model.peft_config["default"]
            assert 0 <= config.tinit < steps - config.tfinal
            ids = torch.arange(1000, 1012).reshape(2, 6)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1])}
            for step in range(1, steps + 1):
                model(**inputs).loss.backward()
                hook.after_update(step)
            kept = sum(int((p != 0).sum()) for name, p in model.named_parameters() if ".lora_E." in name)
            assert kept <= 12, "no more than the budget of one rank a matrix"


@pytest.mark.parametrize("given", [{"target_rank": 12}, {"initial_share": 0.5, "final_share": 0.5}])
def test_schedules_without_room_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"below initial_rank|leave no part"):
        STRATEGIES["adalora"].params(**given)


@pytest.mark.parametrize(
    ("model_type", "strategies", "said"),
    [
        ("bert", {"prompt_tuning": {"virtual_tokens": 500}}, "524 positions, and the model has 512"),
        ("roberta", {"prefix_tuning": {"virtual_tokens": 490}}, "514 positions, and the model has 513"),
        ("distilbert", {"prefix_tuning": None}, "distilbert does not accept keys and values"),
        ("modernbert", {"prefix_tuning": None}, "modernbert does not accept keys and values"),
        ("deberta-v2", {"prefix_tuning": None}, "deberta-v2 does not accept keys and values"),
        ("bert", {"adalora": {"label_smoothing": 0.1}}, "label_smoothing: 0.1 would replace"),
    ],
)
def test_what_cannot_be_is_refused_in_the_plan(
    tiny_model: Tiny, reviews: Path, tmp_path: Path, model_type: str, strategies: Any, said: str
) -> None:
    study = StudyConfig.model_validate(
        {
            "name": "s",
            "model": str(tiny_model(model_type)),
            "data": str(reviews),
            "strategies": strategies,
            "train_sizes": [40],
            "max_length": 24,
        }
    )
    with pytest.raises(TunebenchError, match=said):
        make_plan(study, execution=Execution(device="cpu"), folder=tmp_path / "out", measure=False)
    assert not (tmp_path / "out").exists()


def test_just_as_many_virtual_tokens_as_there_are_positions_run(tiny_model: Tiny) -> None:
    """On RoBERTa's kind too, which counts from behind the padding id."""
    for model_type in ("bert", "roberta"):
        folder = tiny_model(model_type)
        architecture = load_architecture(folder)
        assert architecture.positions == {"bert": 512, "roberta": 513}[model_type]
        for kind in ("prompt_tuning", "prefix_tuning"):
            strategy = STRATEGIES[kind]
            params = strategy.params(virtual_tokens=architecture.positions - 8)
            model = strategy.prepare(load_classifier(folder, label_names=("a", "b")), params, architecture)
            ids = torch.arange(1000, 1008).reshape(1, 8)
            assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
            longer = torch.arange(1000, 1009).reshape(1, 9)
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=longer, attention_mask=torch.ones_like(longer))


@pytest.mark.parametrize("kind", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("model_type", [*TINY, "xlm-roberta", "camembert"])
def test_padding_changes_nothing_and_virtual_tokens_do(tiny_model: Tiny, model_type: str, kind: str) -> None:
    size: Any = TINY.get(model_type, TINY["roberta"])
    config = AutoConfig.for_model(model_type, vocab_size=30522, initializer_range=0.3, num_labels=2, **size)
    architecture, strategy = architecture_of(config), STRATEGIES[kind]
    params = strategy.params(virtual_tokens=3)
    if reason := strategy.refusal(params, architecture):
        assert kind == "prefix_tuning" and model_type in reason
        pytest.skip(reason)
    torch.manual_seed(0)
    model: Any = strategy.prepare(
        AutoModelForSequenceClassification.from_config(config), params, architecture
    ).eval()
    ids = torch.randint(1000, 2000, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.inference_mode():
        both = model(input_ids=ids.masked_fill(mask == 0, 0), attention_mask=mask).logits
        alone = model(input_ids=ids[1:, :4], attention_mask=mask[1:, :4]).logits
        assert torch.allclose(both[1:], alone, atol=1e-4)
        # Noise: a constant would not get through the first norm.
        model.prompt_encoder["default"].embedding.weight.normal_()
        other = model(input_ids=ids[1:, :4], attention_mask=mask[1:, :4]).logits
        assert not torch.allclose(other, alone, atol=1e-4)


def test_positions_of_a_configuration() -> None:
    assert usable_positions({"max_position_embeddings": 514, "pad_token_id": 1, "model_type": "roberta"}) == 512
    assert usable_positions({"max_position_embeddings": 512, "pad_token_id": 0, "model_type": "bert"}) == 512
    assert usable_positions({"max_position_embeddings": None}) is None
    assert usable_positions({}) is None


@pytest.mark.parametrize("model_type", ["distilbert", "bert", "roberta", "electra", "deberta-v2", "modernbert"])
def test_mean_pooling_is_the_heads_answer_to_the_mean_of_the_attended_tokens(
    tiny_model: Tiny, model_type: str
) -> None:
    folder = tiny_model(model_type)
    architecture = load_architecture(folder)
    torch.manual_seed(0)
    plain: Any = load_classifier(folder, label_names=("a", "b"))
    torch.manual_seed(0)
    pooled: Any = load_classifier(folder, label_names=("a", "b"))
    pool_mean(pooled, architecture)
    ids = torch.randint(1000, 2000, (3, 10))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    mask[2, 2:] = 0
    encoder = getattr(plain, architecture.layers.split(".")[0])
    with torch.inference_mode():
        hidden = encoder(input_ids=ids, attention_mask=mask)[0]
        found = pooled(input_ids=ids, attention_mask=mask).logits
        for i, count in enumerate((10, 7, 2)):
            mean = hidden[i, :count].mean(dim=0)
            if model_type == "bert":
                wanted = plain.classifier(encoder.pooler(mean[None, None]))
            elif model_type == "distilbert":
                wanted = plain.classifier(torch.relu(plain.pre_classifier(mean[None])))
            elif model_type == "modernbert":
                wanted = plain.classifier(plain.head(mean[None]))
            elif model_type == "deberta-v2":
                wanted = plain.classifier(plain.pooler(mean[None, None]))
            else:
                wanted = plain.classifier(mean[None, None])
            assert torch.allclose(found[i], wanted[0], atol=1e-5)
        assert not torch.allclose(found, plain(input_ids=ids, attention_mask=mask).logits, atol=1e-5)


def test_mean_pooling_keeps_the_masks_of_threads_apart(tiny_model: Tiny) -> None:
    folder = tiny_model("bert")
    model: Any = load_classifier(folder, label_names=("a", "b"))
    pool_mean(model, load_architecture(folder))
    ids = torch.arange(1000, 1008).reshape(1, 8)
    masks = [torch.ones_like(ids), torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])]

    def answer(mask: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return found

    alone = [answer(mask) for mask in masks]
    # Both have come in before either reaches the head.
    met = threading.Barrier(2)

    def meet(*args: Any) -> None:
        met.wait(60)

    model.bert.embeddings.register_forward_hook(meet)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(answer, masks))
    assert not torch.equal(alone[0], alone[1])
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("model_type", "precision"),
    mostly_thorough(
        itertools.product(["distilbert", "bert", "modernbert"], ["fp32", "bf16"]),
        keep=lambda case: case in (("bert", "fp32"), ("modernbert", "bf16")),
    ),
)
def test_the_mean_of_kept_states_is_the_mean_of_computed_ones(
    tiny_model: Tiny, reviews: Path, tmp_path: Path, model_type: str, precision: str
) -> None:
    from training.test_frozen_prefix import said
    from training.test_frozen_prefix import train as train_with_cache

    spec, dataset = specs(tiny_model(model_type), reviews, "head_only", epochs=1, precision=precision)
    kept, kept_folder = train_with_cache(spec, dataset, tmp_path / "kept")
    plain, plain_folder = train_with_cache(spec, dataset, tmp_path / "plain", cache=None)
    assert said(kept)["kept"] and said(kept)["layers"] == 2 and not said(plain)["kept"]
    first, second = (f.read_predictions()["logits"] for f in (kept_folder, plain_folder))
    assert np.allclose(first, second, atol=2e-2 if precision == "bf16" else 1e-4)


def test_pooling_at_its_default_keeps_the_ids_of_older_runs(tiny_model: Tiny, reviews: Path) -> None:
    strategies: Any = {"head_only": {}}
    before, _ = make_spec(tiny_model("bert"), reviews, strategies=strategies)
    assert before.identity["params"] == {}
    after, _ = make_spec(tiny_model("bert"), reviews, strategies={"head_only": {"pooling": "mean"}})
    assert after.identity["params"] == {"pooling": "mean"}
    assert before.run_id != after.run_id
    with pytest.raises(ValueError, match="max"):
        make_spec(tiny_model("bert"), reviews, strategies={"head_only": {"pooling": "max"}})
