"""The fast layers with the native kernels: as close to fp32 as without them, and the same run to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from tunebench.engine.fast.attach import FastEncoder, attach, kernels_for
from tunebench.engine.fast.families import kernels_refusal
from tunebench.engine.native import loading
from tunebench.engine.native.library import Library
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier
from tunebench.strategies import STRATEGIES

#: Two heads of 32 elements: the smallest model that the kernels are for.
SIZES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 96},
    **dict.fromkeys(
        ("bert", "electra", "roberta", "camembert", "xlm-roberta"),
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
        | {"pad_token_id": 0, "max_position_embeddings": 130},
    ),
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "lora": ("lora", {"placement": "query_value", "rank": 4, "dropout": 0.1}),
    "lora everywhere": ("lora", {"placement": "all_linear", "rank": 4, "dropout": 0.1}),
    "last_k": ("last_k", {"layers": 1}),
    "head_only": ("head_only", {}),
    "ia3": ("ia3", {}),
}
#: One family of each kind of layer shows the adapters.
CASES = [
    *((family, way) for family in ("bert", "distilbert") for way in WAYS),
    *((family, "full") for family in SIZES if family not in ("bert", "distilbert")),
]


@pytest.fixture(scope="module", params=["bf16", "fp32"])
def kernels(request: pytest.FixtureRequest) -> Library:
    found = loading.load(request.param)
    if found.library is None:
        pytest.skip(f"no native kernels here: {found.reason}")
    return found.library


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a tiny model of a family, with weights that matter."""
    root = tmp_path_factory.mktemp("native")

    def make(family: str) -> Path:
        folder = root / family
        if not folder.exists():
            torch.manual_seed(0)
            config = AutoConfig.for_model(family, vocab_size=500, initializer_range=0.15, **SIZES[family])
            AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        return folder

    return make


def build(folder: Path, way: str, *, dropout: float = 0.0) -> tuple[Any, Architecture]:
    torch.manual_seed(3)
    kind, params = WAYS[way]
    model: Any = load_classifier(folder, label_names=("a", "b"), attention_dropout=dropout)
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    model = strategy.prepare(model, strategy.params(**params), architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or name.endswith("bias"):
                parameter.normal_(std=0.1)
            if "pre_classifier" in name and name.endswith("bias"):
                parameter.add_(10)  # DistilBERT's head has a ReLU, which rounding may not switch
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model.train(), architecture


def batch(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 500, mask.shape, generator=generator) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(len(lengths)) % 2}


def gradients(model: Any, texts: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and all gradients one after another."""
    model.zero_grad()
    output = model(**texts)
    output.loss.backward()
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return output.logits.detach(), torch.cat(found)


@pytest.mark.parametrize(("family", "way"), CASES)
def test_logits_and_gradients_are_as_close_to_fp32_as_without_kernels(
    kernels: Library, model_of: Callable[[str], Path], family: str, way: str
) -> None:
    texts = batch(33, 9, 40, 1, 16)
    found = {}
    for name, dtype in (("exact", torch.float32), ("without", kernels.dtype), ("with", kernels.dtype)):
        model, architecture = build(model_of(family), way)
        given = kernels if name == "with" else None
        fast = FastEncoder(model, architecture, seed=0, dtype=dtype, kernels=given)
        found[name] = gradients(model, texts)
        if name == "with" and way != "head_only":
            assert fast.packing.shapes(5, 40) == [(1, length) for length in (33, 9, 40, 1, 16)]
    for part in (0, 1):
        exact, without, with_ = (found[name][part] for name in ("exact", "without", "with"))
        rounding = 1e-3 if kernels.dtype == torch.bfloat16 else 1e-5
        assert (with_ - exact).norm() <= 1.25 * (without - exact).norm() + rounding * exact.norm()
        assert not torch.equal(with_, without)


@pytest.mark.parametrize("way", ["full", "lora everywhere"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_run_is_the_same_to_the_bit_resumed_and_with_other_threads(
    kernels: Library, model_of: Callable[[str], Path], family: str, way: str
) -> None:
    def train(steps: range, threads: int, start: dict[str, Any] | None = None) -> dict[str, Any]:
        torch.set_num_threads(threads)
        model, architecture = build(model_of(family), way, dropout=0.2)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
        if start is not None:
            model.load_state_dict(start)
        fast = FastEncoder(model, architecture, seed=5, dtype=kernels.dtype, kernels=kernels)
        for step in steps:
            fast.start_step(step)
            model(**batch(30, 7, 50, 12, seed=step)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            fast.refresh()
        return copy.deepcopy(model.state_dict())

    before = torch.get_num_threads()
    try:
        whole = train(range(6), 1)
        resumed = train(range(3, 6), 1, train(range(3), 1))
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
        other = train(range(3, 6), 1, train(range(2, 5), 1))
        assert any(not torch.equal(whole[name], other[name]) for name in whole)
    finally:
        torch.set_num_threads(before)


def test_the_layers_give_the_same_bits_with_any_number_of_threads(
    kernels: Library, model_of: Callable[[str], Path]
) -> None:
    """All but the norm of the embeddings, whose gradient PyTorch sums by threads."""
    model, architecture = build(model_of("bert"), "full", dropout=0.2)
    model.get_submodule(architecture.embeddings).LayerNorm.requires_grad_(False)
    fast = FastEncoder(model, architecture, seed=5, dtype=kernels.dtype, kernels=kernels)
    texts, before, results = batch(30, 7, 50, 12), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            fast.start_step(1)
            results.append(gradients(model, texts))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_recomputed_layers_drop_the_same(kernels: Library, model_of: Callable[[str], Path]) -> None:
    found = []
    for recomputes in (False, True):
        model, architecture = build(model_of("bert"), "full", dropout=0.2)
        fast = FastEncoder(model, architecture, seed=1, dtype=kernels.dtype, kernels=kernels, recomputes=recomputes)
        fast.start_step(3)
        found.append(gradients(model, batch(20, 31, 4)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_dropouts_gradient_uses_the_mask_of_the_forward_pass(
    kernels: Library, model_of: Callable[[str], Path]
) -> None:
    """All masks of a step: the loss changes along the gradient as the gradient says, in the same step only."""
    model, architecture = build(model_of("bert"), "full", dropout=0.2)
    fast = FastEncoder(model, architecture, seed=1, dtype=kernels.dtype, kernels=kernels)
    texts = batch(40, 33, 17, 50, 28, 9)

    def loss(step: int) -> torch.Tensor:
        fast.start_step(step)
        found: torch.Tensor = model(**texts).loss
        return found

    loss(7).backward()
    layers = model.get_submodule(architecture.layers)
    parameters = [p for p in layers.parameters() if p.grad is not None]
    norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
    values = []
    for sign in (-1, 1):
        with torch.no_grad():
            for p in parameters:
                p.add_(p.grad, alpha=sign * 0.3 / float(norm))
        fast.refresh()
        values.append(float(loss(7).detach()))
        with torch.no_grad():
            for p in parameters:
                p.sub_(p.grad, alpha=sign * 0.3 / float(norm))
    assert (values[1] - values[0]) / 0.6 == pytest.approx(float(norm), rel=0.1)
    fast.refresh()
    assert loss(7) == loss(7) and loss(7) != loss(8)


def test_evaluation_and_padding_are_the_texts_alone(kernels: Library, model_of: Callable[[str], Path]) -> None:
    model, architecture = build(model_of("bert"), "lora", dropout=0.2)
    FastEncoder(model, architecture, seed=0, dtype=kernels.dtype, kernels=kernels)
    model.eval()
    with torch.inference_mode():
        together = model(**batch(33, 9, 40)).logits
        texts = batch(33, 9, 40)
        for i, length in enumerate((33, 9, 40)):
            alone = model(**{name: t[i : i + 1, :length] for name, t in texts.items() if name != "labels"}).logits
            assert torch.allclose(together[i], alone[0], rtol=0.02, atol=0.02)


def test_attention_to_other_than_the_first_tokens_is_not_ours(
    kernels: Library, model_of: Callable[[str], Path]
) -> None:
    texts = batch(33, 9, 40)
    texts["attention_mask"][2, 5] = 0
    found = []
    for given in (None, kernels):
        model, architecture = build(model_of("bert"), "full")
        FastEncoder(model, architecture, seed=0, dtype=kernels.dtype, kernels=given)
        found.append(gradients(model, texts))
    for without, with_ in zip(*found, strict=True):
        assert (with_ - without).norm() < 0.05 * without.norm()


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("modernbert", {}, "parts"),
        ("deberta-v2", {}, "parts"),
        ("bert", {"num_attention_heads": 16}, "heads"),
        ("bert", {"intermediate_size": 100}, "feed-forward"),
        ("bert", {"hidden_act": "relu"}, "activation"),
        ("bert", {"max_position_embeddings": 10_000}, "8,192"),
    ],
)
def test_what_the_kernels_do_not_compute_is_said(family: str, changes: dict[str, Any], said: str) -> None:
    config = AutoConfig.for_model(family, **{"hidden_size": 128, "num_attention_heads": 2} | changes)
    assert said in str(kernels_refusal(config))
    covered = AutoConfig.for_model("bert", hidden_size=128, num_attention_heads=2)
    assert kernels_refusal(covered) is None


def test_without_kernels_the_layers_are_those_of_before(
    model_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(loading.SWITCH, "0")
    found = []
    for attached in (False, True):
        model, architecture = build(model_of("bert"), "full", dropout=0.2)
        if attached:
            fast, _ = attach(model, architecture, torch.bfloat16, seed=4)
        else:
            fast = FastEncoder(model, architecture, seed=4, dtype=torch.bfloat16)
        assert fast is not None and fast.kernels is None
        found.append(gradients(model, batch(20, 31, 4)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert loading.SWITCH in str(kernels_for(model, torch.bfloat16).reason)
