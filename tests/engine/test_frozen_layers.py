"""Frozen layers from disk: the same logits, gradients and runs as when every step computes them."""

from __future__ import annotations

import copy
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY
from tunebench.data.tokens import TokenizedTexts
from tunebench.engine import frozen_cache
from tunebench.engine.batching import Collator
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.engine.frozen_cache import PrefixStore
from tunebench.engine.frozen_layers import FrozenPrefix, frozen_layers
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier

COLLATOR = Collator(pad_id=0)


def make_texts(count: int = 9, seed: int = 0) -> TokenizedTexts:
    """Return rows of ids of different lengths between [CLS] and [SEP]."""
    generator = np.random.default_rng(seed)
    rows = [
        np.concatenate([[101], generator.integers(1000, 2000, size=n), [102]])
        for n in generator.integers(1, 14, size=count)
    ]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return TokenizedTexts(np.concatenate(rows).astype(np.int32), offsets)


def frozen(folder: Path, layers: int, *, lora: bool = False) -> tuple[nn.Module, Architecture]:
    """Return a classifier of which embeddings and so many bottom layers are frozen."""
    torch.manual_seed(1)
    model: Any = load_classifier(folder, label_names=("no", "yes"))
    architecture = architecture_of(model.config)
    if lora:
        from peft import LoraConfig, TaskType, get_peft_model

        top = [
            name
            for name in architecture.projections("attention")
            if int(name.removeprefix(f"{architecture.layers}.").split(".")[0]) >= layers
        ]
        config = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            target_modules=top,
            lora_dropout=0.1,
            modules_to_save=list(architecture.head),
        )
        model = get_peft_model(model, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        return model, architecture
    stack = list(model.get_submodule(architecture.layers))
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if architecture.is_head(name):
            parameter.requires_grad_(True)
    for layer in stack[layers:]:
        layer.requires_grad_(True)
    return model, architecture


def attach(
    model: nn.Module, architecture: Architecture, fast: FastEncoder | None = None, autocast: Any = None
) -> FrozenPrefix:
    return FrozenPrefix(
        model,
        architecture,
        layers=frozen_layers(model, architecture),
        fast=fast,
        autocast=autocast,
        fingerprint="f",
    )


def step(model: nn.Module, texts: TokenizedTexts, fast: FastEncoder | None, autocast: Any) -> dict[str, Any]:
    """Take a training step's forward and backward with dropout on, and return what came of it."""
    batch = COLLATOR([{"input_ids": texts[i], "labels": i % 2} for i in range(len(texts))])
    model.train()
    model.zero_grad()
    torch.manual_seed(7)
    if fast is not None:
        fast.start_step(3)
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        output = model(**batch)
    output.loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"logits": output.logits.detach().float(), **gradients}


class Calls:
    """Counts how often a module's own forward ran."""

    def __init__(self, module: nn.Module) -> None:
        self.count, inner = 0, module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return inner(*args, **kwargs)

        module.forward = forward  # type: ignore[method-assign]


#: Families whose layers differ in kind.
FAST = ("electra", "distilbert", "bert", "modernbert", "deberta-v2")
#: Every family as the reference computes it; under bf16 and with adapters, those that differ in kind.
CASES = [
    *((model_type, layers, "fp32", False) for model_type in sorted(TINY) for layers in (1, 2)),
    *((model_type, 1, "autocast", False) for model_type in ("bert", "deberta-v2", "modernbert")),
    *((model_type, n, "fast fp32", False) for model_type in FAST for n in (1, 2)),
    *((model_type, n, "fast bf16", False) for model_type in FAST[1:] for n in (1, 2)),
    *((model_type, 1, way, True) for model_type in ("distilbert", "bert") for way in ("fp32", "fast fp32")),
    ("modernbert", 1, "fp32", True),
]


@pytest.mark.parametrize(("model_type", "layers", "way", "lora"), CASES)
def test_kept_states_change_neither_logits_nor_gradients(
    tiny_model: Callable[[str], Path], tmp_path: Path, model_type: str, layers: int, way: str, lora: bool
) -> None:
    model, architecture = frozen(tiny_model(model_type), layers, lora=lora)
    fast, autocast = None, torch.bfloat16 if way == "autocast" else None
    if way.startswith("fast"):
        assert supports(architecture, model) is None
        dtype = torch.float32 if way == "fast fp32" else torch.bfloat16
        fast = FastEncoder(model, architecture, seed=0, dtype=dtype)
    stack: Any = model.get_base_model() if lora else model  # type: ignore[operator]
    calls = [Calls(layer) for layer in stack.get_submodule(architecture.layers)]
    prefix = attach(model, architecture, fast, autocast)
    texts = make_texts()
    assert prefix.layers == layers

    expected = step(model, texts, fast, autocast)
    scored = predict_logits(model, texts, collator=COLLATOR, device="cpu", fast=fast, autocast=autocast)
    assert prefix.open(tmp_path, limit=10**9) is not None
    lengths = prefix.fill(texts, COLLATOR)
    assert lengths is not None and sorted(lengths) == sorted(texts.lengths)
    before = [call.count for call in calls]
    found = step(model, texts, fast, autocast)
    again = predict_logits(model, texts, collator=COLLATOR, device="cpu", fast=fast, autocast=autocast)
    ran = [call.count - b for call, b in zip(calls, before, strict=True)]
    assert [n > 0 for n in ran] == [i >= layers for i in range(len(ran))], "kept layers ran, or others did not"

    exact = way.endswith("fp32")
    assert expected.keys() == found.keys() and len(found) > 2
    # A softmax does not see a key's bias: its gradient is rounding alone, and has no scale of its own.
    floor = 1e-4 * max(float(value.abs().max()) for name, value in expected.items() if name != "logits")
    for name, value in expected.items():
        scale = max(float(value.abs().max()), floor)
        assert float((found[name] - value).abs().max()) <= (2e-6 if exact else 2e-2) * scale, name
    assert np.allclose(again, scored, atol=2e-6 if exact else 2e-2)


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "electra"])
def test_dropout_is_off_below_and_on_above(tiny_model: Callable[[str], Path], model_type: str) -> None:
    model, architecture = frozen(tiny_model(model_type), 1)
    prefix = attach(model, architecture)
    model.train()
    first, second = model.get_submodule(architecture.layers)  # type: ignore[misc]
    assert not any(m.training for m in first.modules())
    assert not any(m.training for m in model.get_submodule(architecture.embeddings).modules())
    assert all(m.training for m in second.modules())
    prefix.detach()
    model.train()
    assert all(m.training for m in model.modules())
    assert not any({"forward", "train"} & vars(m).keys() for m in model.modules())


def test_detaching_leaves_the_fast_layers_in_place(tiny_model: Callable[[str], Path]) -> None:
    model, architecture = frozen(tiny_model("bert"), 1)
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32)
    expected = step(model.eval(), make_texts(), fast, None)["logits"].shape
    before = [layer.forward for layer in model.get_submodule(architecture.layers)]  # type: ignore[union-attr]
    attach(model, architecture, fast).detach()
    assert [layer.forward for layer in model.get_submodule(architecture.layers)] == before  # type: ignore[union-attr]
    assert step(model, make_texts(), fast, None)["logits"].shape == expected
    fast.detach()


def test_the_lowest_trained_layer_is_read_off_the_parameters(tiny_model: Callable[[str], Path]) -> None:
    def lowest(model_type: str, *trained: str) -> int:
        model, architecture = frozen(tiny_model(model_type), 2)
        for name, parameter in model.named_parameters():
            if any(part in name for part in trained):
                parameter.requires_grad_(True)
        return frozen_layers(model, architecture)

    assert lowest("bert") == 2
    assert lowest("bert", "layer.1.output.dense.bias") == 1
    assert lowest("bert", "layer.0.attention.self.query.bias") == 0
    assert lowest("bert", "embeddings.LayerNorm") == 0
    assert lowest("modernbert", "final_norm") == 2
    assert lowest("deberta-v2", "rel_embeddings") == 0
    assert lowest("electra", "") == 0
    model, architecture = frozen(tiny_model("bert"), 1, lora=True)
    assert frozen_layers(model, architecture) == 1
    model.add_module("prompt_encoder", nn.Embedding(3, 32))
    assert frozen_layers(model, architecture) == 0


def test_layers_unfrozen_on_the_way_are_trained_again(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    model, architecture = frozen(tiny_model("bert"), 1)
    prefix, texts = attach(model, architecture), make_texts()
    prefix.open(tmp_path, limit=10**9)
    prefix.fill(texts, COLLATOR)
    step(model, texts, None, None)
    model.requires_grad_(True)
    gradients = step(model, texts, None, None)
    assert any("layer.0." in name for name in gradients)
    assert any("word_embeddings" in name for name in gradients)
    model.train()
    assert all(module.training for module in model.modules())
    assert prefix.reason == "a layer below was unfrozen"


def test_other_weights_depth_or_arithmetic_are_another_prefix(tiny_model: Callable[[str], Path]) -> None:
    keys = []
    for layers, autocast, change in ((1, None, 0.0), (2, None, 0.0), (1, torch.bfloat16, 0.0), (1, None, 1e-3)):
        model, architecture = frozen(tiny_model("bert"), layers)
        with torch.no_grad():
            model.bert.encoder.layer[0].output.dense.bias += change  # type: ignore[union-attr, index, operator]
        keys.append(attach(model, architecture, None, autocast).key())
    model, architecture = frozen(tiny_model("bert"), 1)
    model.set_attn_implementation("eager")
    keys.append(attach(model, architecture).key())
    assert len(set(keys)) == 5
    model, architecture = frozen(tiny_model("bert"), 1)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias += 1.0  # type: ignore[union-attr, index, operator]
    assert attach(model, architecture).key() == keys[0], "what lies above does not matter"
    adapted, _ = frozen(tiny_model("bert"), 1, lora=True)
    assert attach(adapted, architecture).key() == keys[0], "nor does how it is trained"


# --- the store ----------------------------------------------------------------------------------


class Counting:
    """States that can be told apart: the ids themselves, in every column."""

    def __init__(self) -> None:
        self.texts = 0

    def __call__(self, rows: Any) -> torch.Tensor:
        self.texts += len(rows)
        return torch.from_numpy(np.concatenate(rows).astype(np.float32))[:, None].repeat(1, 4)


def make_store(folder: Path, *, limit: int = 10**9, dtype: torch.dtype = torch.float32) -> PrefixStore:
    return PrefixStore(folder / "p", width=4, dtype=dtype, rows_per_text=None, limit=limit)


def states_of(store: PrefixStore, texts: TokenizedTexts) -> list[list[float]] | None:
    found = store.get([frozen_cache.text_key(texts[i]) for i in range(len(texts))])
    return None if found is None else [part[:, 2].tolist() for part in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_states_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_cache, "_SHARD", 100)
    texts = make_texts(40)
    store, compute = make_store(tmp_path, dtype=dtype), Counting()
    assert states_of(store, texts) is None
    store.fill(texts, compute, batch_tokens=32)
    expected = [torch.tensor(texts[i].tolist(), dtype=torch.float32).to(dtype).tolist() for i in range(40)]
    assert states_of(store, texts) == expected
    assert len(list((tmp_path / "p").glob("shard-*"))) > 3
    other = make_store(tmp_path, dtype=dtype)
    assert len(other.missing(texts)) == 0 and states_of(other, texts) == expected
    files = {path.suffix for path in (tmp_path / "p").rglob("*") if path.is_file()}
    assert files == {".npy", ".json"}


def test_a_larger_subset_computes_only_what_is_new(tmp_path: Path) -> None:
    texts, store, compute = make_texts(30), make_store(tmp_path), Counting()
    store.fill(texts.take(np.arange(10)), compute)
    assert compute.texts == len({texts[i].tobytes() for i in range(10)})
    store.fill(texts, compute)
    assert compute.texts == len(store) == len({texts[i].tobytes() for i in range(30)})
    store.fill(texts.take(np.array([3, 3, 29])), compute)
    assert compute.texts == len(store)


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    texts, compute = make_texts(30), Counting()
    need = make_store(tmp_path).bytes_of(texts.lengths[make_store(tmp_path).missing(texts)])
    small = make_store(tmp_path, limit=need - 1)
    assert small.fill(texts, compute) is None and compute.texts == 0
    assert list(tmp_path.glob("p*/")) == [] and states_of(small, texts) is None
    assert make_store(tmp_path, limit=need).fill(texts, compute) is not None
    # The bound is that of all prefixes together.
    other = PrefixStore(tmp_path / "q", width=4, dtype=torch.float32, rows_per_text=None, limit=need + 100)
    assert other.fill(texts, compute) is None


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, "changed") for name in ("states.npy", "keys.npy", "offsets.npy", "checksums.json")),
        ("states.npy", "cut"),
        ("keys.npy", "missing"),
    ],
)
def test_damaged_shards_are_made_anew(tmp_path: Path, name: str, how: str) -> None:
    texts, compute = make_texts(20), Counting()
    store = make_store(tmp_path)
    store.fill(texts, compute)
    expected, once = states_of(store, texts), compute.texts
    (path,) = (tmp_path / "p").glob(f"*/{name}")
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.unlink()
    if how != "missing":
        path.write_bytes(bytes(raw) if how == "changed" else bytes(raw[:-5]))
    again = make_store(tmp_path)
    again.fill(texts, compute)
    assert compute.texts == 2 * once, "the damage went unnoticed"
    assert states_of(again, texts) == expected


def test_an_interruption_keeps_whole_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_cache, "_SHARD", 200)
    texts, compute = make_texts(30), Counting()

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_store(tmp_path).fill(texts, compute, batch_tokens=16, on_batch=stop)
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    first = compute.texts
    store = make_store(tmp_path)
    store.fill(texts, compute)
    assert compute.texts < first + len(store)
    assert states_of(store, texts) == [texts[i].tolist() for i in range(30)]


def test_of_several_writers_each_text_is_computed_once(tmp_path: Path) -> None:
    texts, computes = make_texts(30), [Counting() for _ in range(4)]
    stores = [make_store(tmp_path) for _ in computes]
    work = [threading.Thread(target=s.fill, args=(texts, c)) for s, c in zip(stores, computes, strict=True)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sum(compute.texts for compute in computes) == len(stores[0])
    assert all(states_of(store, texts) == [texts[i].tolist() for i in range(30)] for store in stores)


def test_mapped_states_outlive_their_folder(tmp_path: Path) -> None:
    texts, store = make_texts(5), make_store(tmp_path)
    store.fill(texts, Counting())
    shutil.rmtree(tmp_path / "p")
    assert states_of(store, texts) == [texts[i].tolist() for i in range(5)]


def test_a_family_with_a_convolution_is_left_alone(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    model, architecture = frozen(tiny_model("deberta-v2"), 1)
    convolved = copy.deepcopy(model)
    convolved.deberta.encoder.conv = nn.Identity()  # type: ignore[union-attr]
    prefix = attach(convolved, architecture)
    assert prefix.open(tmp_path, limit=10**9) is None and prefix.reason
    assert prefix.fill(make_texts(), COLLATOR) is None
