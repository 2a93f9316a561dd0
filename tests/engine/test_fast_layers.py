"""The fast layers against the library's own: exact where they are exact, close where they are not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY, VOCABULARY
from thorough import mostly_thorough
from tunebench.engine.batching import Collator
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.fast import attention, ops, tiles
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.engine.fast.attention import Attention
from tunebench.engine.fast.families import LAYER_FAMILIES
from tunebench.engine.fast.masks import MaskStream, apply_mask, read_signs, sign_kept
from tunebench.engine.fast.packing import Rectangle
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.pooling import pool_mean
from tunebench.strategies import STRATEGIES

FAMILIES = ["bert", "distilbert", "electra", "roberta", "modernbert", "deberta-v2"]
#: Configurations of a family that its layers read.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert, mean": ("modernbert", {"classifier_pooling": "mean"}),
    "deberta-v3": (
        "deberta-v2",
        {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "max_relative_positions": 40},
    ),
}
MODELS = [*FAMILIES, *OTHERS]
WAYS = {
    "full": ("full", {}),
    "lora": ("lora", {"placement": "query_value", "rank": 4, "dropout": 0.0}),
    "lora everywhere": ("lora", {"placement": "all_linear", "rank": 4, "dropout": 0.0}),
    "full, mean": ("full", {}),
    "lora, mean": ("lora", {"placement": "query_value", "rank": 4, "dropout": 0.0}),
}


@pytest.fixture(scope="module")
def model_of(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of one of :data:`MODELS`."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    root = tmp_path_factory.mktemp("others")

    def make(name: str) -> Path:
        if name not in OTHERS:
            return tiny_model(name)
        folder, (family, changes) = root / name, OTHERS[name]
        if not folder.exists():
            torch.manual_seed(0)
            config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **TINY[family] | changes)
            assert vars(config).items() >= changes.items()
            AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        return folder

    return make


def build(folder: Path, way: str, *, dropout: bool = False) -> tuple[torch.nn.Module, Architecture]:
    torch.manual_seed(3)
    kind, params = WAYS[way]
    model: Any = load_classifier(folder, label_names=("a", "b", "c"), attention_dropout=0.1 if dropout else None)
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    if way.endswith("mean"):
        pool_mean(model, architecture)
    if architecture.fused_projections and "placement" in params:
        params = params | {"placement": params["placement"].replace("query_value", "attention")}
    model = strategy.prepare(model, strategy.params(**params), architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)  # zero at the start: every test of LoRA would pass empty
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1 if dropout else 0.0
    return model.train(), architecture


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Texts of several lengths; two are longer than the parts that ModernBERT's local attention works in."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1000, 4000, (5, 43), generator=generator)
    mask = torch.arange(43) < torch.tensor([[43], [9], [37], [18], [1]])
    mask = mask.long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor([0, 1, 2, 1, 0])}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_in_fp32_logits_loss_and_every_gradient_are_the_librarys(
    model_of: Callable[[str], Path], name: str, way: str
) -> None:
    model, architecture = build(model_of(name), way)
    assert supports(architecture, model) is None
    expected = model(**batch())
    expected.loss.backward()
    wanted = gradients(model)
    model.zero_grad()
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32)
    found = model(**batch())
    found.loss.backward()
    assert fast.packing.layout is not None
    assert torch.allclose(found.logits, expected.logits, rtol=1e-5, atol=1e-6)
    assert torch.allclose(found.loss, expected.loss, rtol=1e-5)
    got = gradients(model)
    assert got.keys() == wanted.keys()
    scale = max(float(g.norm()) for g in wanted.values())
    for name, gradient in wanted.items():
        # Keys' biases have no gradient in exact arithmetic; what is left of it is rounding.
        assert (got[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6 * scale, name
    fast.detach()
    assert torch.equal(model(**batch()).logits, expected.logits)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *(itertools.product(["modernbert", "deberta-v3"], ["full", "lora"])),
        *(("bert", way) for way in WAYS),
    ],
)
def test_twenty_steps_end_at_the_same_weights(model_of: Callable[[str], Path], name: str, way: str) -> None:
    ends = []
    for fast_layers in (False, True):
        model, architecture = build(model_of(name), way)
        fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32) if fast_layers else None
        trained = [p for p in model.parameters() if p.requires_grad]
        # At larger rates the tiny ModernBERT's loss grows, and rounding with it at every step.
        optimizer = torch.optim.SGD(trained, lr=1e-3 if name == "modernbert" else 0.05, momentum=0.9)
        for step in range(20):
            model(**batch(step)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if fast is not None:
                fast.refresh()
        ends.append(torch.cat([p.detach().flatten() for p in trained]))
    assert (ends[0] - ends[1]).norm() <= 1e-5 * ends[0].norm()


def test_without_refresh_the_steps_would_not_be_seen(tiny_model: Callable[[str], Path]) -> None:
    """The check above can fail: stale copies give other logits."""
    model, architecture = build(tiny_model("bert"), "full")
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32)
    before = model(**batch()).logits
    layers = model.get_submodule(architecture.layers)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.mul_(1.5)
    stale = model(**batch()).logits
    fast.refresh()
    assert not torch.allclose(stale, model(**batch()).logits, atol=1e-4)
    assert not torch.allclose(before, model(**batch()).logits, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_stays_close(tiny_model: Callable[[str], Path], family: str) -> None:
    model, architecture = build(tiny_model(family), "lora everywhere")
    expected = model(**batch()).logits
    FastEncoder(model, architecture, seed=0, dtype=torch.bfloat16)
    found = model(**batch()).logits
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.05 * expected.norm() + 0.02


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_dropout_depends_on_seed_and_step_only(tiny_model: Callable[[str], Path], family: str) -> None:
    model, architecture = build(tiny_model(family), "full", dropout=True)
    fast = FastEncoder(model, architecture, seed=5, dtype=torch.float32)

    def loss(step: int) -> float:
        fast.start_step(step)
        return float(model(**batch()).loss.detach())

    first, second = loss(0), loss(1)
    torch.manual_seed(99)
    assert (loss(0), loss(1)) == (first, second)
    assert first != second
    model.eval()
    assert loss(0) == loss(1)


@pytest.mark.parametrize("family", ["distilbert", "modernbert"])
def test_dropouts_gradient_uses_the_mask_of_the_forward_pass(
    tiny_model: Callable[[str], Path], family: str
) -> None:
    """Finite differences along the gradient, with the masks held fixed."""
    model, architecture = build(tiny_model(family), "full", dropout=True)
    fast = FastEncoder(model, architecture, seed=1, dtype=torch.float32)

    def loss() -> torch.Tensor:
        fast.start_step(7)
        return model(**batch()).loss

    loss().backward()
    first = model.get_submodule(architecture.layers)[0]  # type: ignore[index]
    weight = first.get_submodule(architecture.mlp[0]).weight
    direction = weight.grad / weight.grad.norm()
    values = []
    for sign in (-1, 1):
        with torch.no_grad():
            weight.add_(direction, alpha=sign * 5e-3)
        fast.refresh()
        values.append(float(loss().detach()))
        with torch.no_grad():
            weight.sub_(direction, alpha=sign * 5e-3)
    assert (values[1] - values[0]) / 1e-2 == pytest.approx(float(weight.grad.norm()), rel=0.02)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_masks_keep_the_rate_and_the_mean(p: float) -> None:
    keep, scale = MaskStream(0).keep((1000, 1000), p)
    assert keep is not None
    assert set(keep.unique().tolist()) == {-1, 0}
    rate = float((keep == -1).float().mean())
    assert rate == pytest.approx(1 - p, abs=5 * (p * (1 - p) / 1e6) ** 0.5 + 2**-15)
    assert scale == pytest.approx(1 / (1 - p), rel=1e-4)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.full((1000, 1000), 1.5, dtype=dtype)
        kept = apply_mask(x, keep)
        assert torch.equal(kept, torch.where(keep == -1, x, torch.zeros((), dtype=dtype)))
        assert float(kept.float().mean()) * scale == pytest.approx(1.5, rel=5e-3)


def test_masks_of_neighbouring_lanes_steps_and_seeds_are_unrelated() -> None:
    stream = MaskStream(0)
    first, _ = stream.keep((200_000,), 0.5)
    stream.start_step(1)
    second, _ = stream.keep((200_000,), 0.5)
    other, _ = MaskStream(1).keep((200_000,), 0.5)
    signs = [2 * (m == -1).double() - 1 for m in (first, second, other) if m is not None]
    bound = 5 / 200_000**0.5
    assert abs(float((signs[0] * signs[1]).mean())) < bound
    assert abs(float((signs[0] * signs[2]).mean())) < bound
    for shift in (1, 2, 3, 4):
        assert abs(float((signs[0][shift:] * signs[0][:-shift]).mean())) < bound


@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_elements_of_one_lane_are_dropped_as_if_independent(monkeypatch: pytest.MonkeyPatch, p: float) -> None:
    """Over all 65,536 lanes, whose uses are rows here: what two, three and four of them drop together."""
    stream = MaskStream(0)
    every = np.arange(2**16, dtype=np.uint16).view(np.uint64)
    monkeypatch.setattr(stream, "_generator", SimpleNamespace(integers=lambda *_, **__: every))
    keep, scale = stream.keep((4, 2**16), p)
    assert keep is not None
    dropped, rate = (keep == 0).double(), 1 - 1 / scale
    assert dropped.mean(1).tolist() == pytest.approx([rate] * 4, abs=1e-9)
    for count in (2, 3, 4):
        for some in itertools.combinations(dropped, count):
            together = float(torch.stack(some).prod(0).mean())
            assert abs(together - rate**count) < 6e-4 * rate * (1 - rate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_signs_carry_a_mask_exactly(dtype: torch.dtype) -> None:
    keep, _ = MaskStream(3).keep((50, 60), 0.3)
    assert keep is not None
    x = torch.rand(50, 60).to(dtype)
    x[0] = 0
    values, mask = read_signs(sign_kept(x, keep, out=torch.empty_like(x)))
    assert torch.equal(values, x) and torch.equal(mask, keep.to(mask.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_are_applied_where_asked(dtype: torch.dtype) -> None:
    wanted, _ = MaskStream(4).keep((6, 7, 8), 0.3)
    assert wanted is not None
    x = torch.randn(6, 7, 8).to(dtype)
    before = x.clone()
    apart = apply_mask(x, wanted)
    assert torch.equal(x, before) and not torch.equal(apart, before)
    apply_mask(x, wanted, in_place=True)
    assert torch.equal(x, apart)


@pytest.mark.parametrize("dropout", [0.0, 1e-6, 0.25])
@pytest.mark.parametrize("elements", [1, 300, 10**9])
@pytest.mark.parametrize("window", [None, 0, 2, 20])
def test_attention_in_blocks_is_attention_by_its_definition(
    monkeypatch: pytest.MonkeyPatch, dropout: float, elements: int, window: int | None
) -> None:
    """One text's head at a time, three at a time (the last block is smaller), and all at once."""
    monkeypatch.setattr(tiles, "BLOCK_ELEMENTS", elements)
    if dropout == 0:
        monkeypatch.setattr(attention, "_KEPT_WIDTH", 9)  # computed again in the backward pass
    batch, tokens, heads, size, scaling = 4, 10, 2, 8, 0.3
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(batch * tokens, 3 * heads * size, generator=generator).requires_grad_()
    bias = torch.zeros(batch * heads, 1, tokens)
    bias[3, :, 6:] = torch.finfo(bias.dtype).min
    weights = torch.randn(batch * tokens, heads * size, generator=generator)

    def run() -> torch.Tensor:
        whole = [Rectangle(batch, tokens, tokens, bias)]
        asked = Attention(whole, heads, scaling, MaskStream(2), dropout, window)
        result: torch.Tensor = attention.AttentionFunction.apply(rows, None, None, asked)
        return result

    found = run()
    (gradient,) = torch.autograd.grad((found * weights).sum(), rows)

    q, k, v = rows.view(batch, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).flatten(1, 2)
    places = torch.arange(tokens)
    outside = (places[:, None] - places).abs() > (tokens if window is None else window)
    scores = (q @ k.transpose(1, 2) * scaling + bias).masked_fill(outside, -torch.inf)
    probabilities = torch.softmax(scores, dim=-1)
    stream, kept = MaskStream(2), torch.zeros_like(probabilities)
    for tile in tiles.tiles((batch * heads, tokens, tokens), window):
        keep, scale = stream.keep(tile.shape, dropout)
        kept[tile.texts, tile.asking, tile.answering] = 1.0 if keep is None else (keep == -1) * scale
    probabilities = probabilities * kept
    wanted = (probabilities @ v).view(batch, heads, tokens, size).transpose(1, 2).reshape(found.shape)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), rows)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        assert torch.equal(run(), found)


@pytest.mark.parametrize("at_once", [1, 700, 9000])
def test_tiles_cover_a_window_once_and_little_else(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(tiles, "BLOCK_ELEMENTS", at_once)
    for texts, width, window in itertools.product((1, 3), (1, 5, 33, 70), (0, 1, 8, 40)):
        seen = torch.zeros(texts, width, width, dtype=torch.int64)
        for tile in tiles.tiles((texts, width, width), window):
            seen[tile.texts, tile.asking, tile.answering] += 1
            assert tile.size <= at_once or tile.shape[0] == 1
        places = torch.arange(width)
        inside = (places[:, None] - places).abs() <= window
        assert (seen[:, inside] == 1).all() and seen.max() == 1
        assert seen[0].sum(1).max() <= max(4 * window, 1)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_librarys_attention_is_ours(dtype: torch.dtype, window: int | None, apart: bool) -> None:
    batch, tokens, heads, size, scaling = 4, 10, 2, 8, 0.3
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(batch * tokens, 3 * heads * size, generator=generator).to(dtype)
    query, others = (rows[::tokens, : heads * size], rows[:, heads * size :]) if apart else (rows, None)
    bias = torch.zeros(batch, 1, tokens, dtype=dtype)
    bias[1, :, 6:] = torch.finfo(dtype).min
    bias = bias.repeat_interleave(heads, dim=0)
    for padding in (None, bias):
        whole = Rectangle(batch, tokens, 1 if apart else tokens, padding)
        asked = Attention([whole], heads, scaling, MaskStream(2), 0.0, window)
        with torch.inference_mode():
            wanted = attention.AttentionFunction.apply(query, others, None, asked)
            found = attention.attend(query, others, asked)
        tolerance = 1e-6 if dtype == torch.float32 else 2e-2
        assert found.shape == wanted.shape and found.dtype == dtype
        assert torch.allclose(found.float(), wanted.float(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows", ["together", "apart"])
def test_a_bias_added_by_the_product_is_added_in_full_precision(rows: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, generator=generator).bfloat16() for shape in ((12, 5, 32), (48, 32), (48,))
    )
    some = x[:, 0] if rows == "apart" else x.view(60, 32)
    exact = some.double() @ weight.double().t() + bias.double()
    # Rounded once, at the end: half of the last of bf16's eight digits.
    assert ((ops.linear(some, weight, bias).double() - exact).abs() <= exact.abs() * 2**-8).all()


def test_no_dropout_draws_nothing() -> None:
    assert MaskStream(0).keep((3, 3), 0.0) == (None, 1.0)


@pytest.mark.parametrize(
    ("name", "way", "layers"),
    [
        *itertools.product(["bert"], WAYS, ["fast", "fast, library's attention", "library's"]),
        *itertools.product(["modernbert, mean", "deberta-v3"], ["lora"], ["fast", "fast, library's attention"]),
    ],
)
def test_evaluation_keeps_the_datas_order_and_leaves_no_trace(
    model_of: Callable[[str], Path], name: str, way: str, layers: str
) -> None:
    from tunebench.data.tokens import TokenizedTexts

    model, architecture = build(model_of(name), way, dropout=True)
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 30, size=40)
    ids = generator.integers(1000, 4000, size=lengths.sum()).astype(np.int32)
    texts = TokenizedTexts(ids, np.concatenate([[0], np.cumsum(lengths)]))
    model.eval()
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor(texts[i][None].astype(np.int64))).logits[0] for i in range(40)]
    model.train()
    before = copy.deepcopy(model.state_dict())
    fast = None
    if layers != "library's":
        own = layers != "fast"
        fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32, library_attention=own)
    found = predict_logits(model, texts, collator=Collator(pad_id=0), device="cpu", fast=fast, batch_tokens=100)
    assert np.allclose(found, torch.stack(alone).numpy(), atol=1e-5)
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    if fast is not None:
        assert not any(stack.merged for stack in fast.stacks)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conv_kernel_size": 3}, "have no convolution"),
        ({"pos_att_type": ["c2p"]}, "both terms"),
        ({"relative_attention": False}, "both terms"),
        ({"attention_head_size": 8}, "share the hidden size"),
        ({"model_type": "gpt2"}, "gpt2 has no fast layers"),
        ({"is_decoder": True}, "earlier ones alone"),
    ],
)
def test_what_the_fast_layers_cannot_do_is_said(
    tiny_model: Callable[[str], Path], changes: dict[str, Any], reason: str
) -> None:
    model, architecture = build(tiny_model("deberta-v2"), "full")
    assert supports(architecture, model) is None
    for name, value in changes.items():
        setattr(model.config, name, value)
    assert reason in str(supports(architecture, model))


def test_every_fast_family_names_modules_that_exist(tiny_model: Callable[[str], Path]) -> None:
    for family in FAMILIES:
        model, architecture = build(tiny_model(family), "full", dropout=True)
        layer = model.get_submodule(architecture.layers)[0]  # type: ignore[index]
        named = {name: value for name, value in vars(LAYER_FAMILIES[family]).items() if isinstance(value, str)}
        for name, value in named.items():
            found = attrgetter(value)(layer)
            assert found == 0.1 if isinstance(found, float) else isinstance(found, torch.nn.Module), name


@pytest.mark.parametrize(
    "name", mostly_thorough(MODELS, keep=("distilbert", "modernbert", "deberta-v3").__contains__)
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputed_layers_give_the_same_gradients_and_keep_less(
    model_of: Callable[[str], Path], name: str, dtype: torch.dtype
) -> None:
    found = []
    for recomputes in (False, True):
        model, architecture = build(model_of(name), "lora everywhere", dropout=True)
        fast = FastEncoder(model, architecture, seed=4, dtype=dtype, recomputes=recomputes)
        fast.start_step(7)
        kept = [0]

        def keep(tensor: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept[0] += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(**batch()).loss
        loss.backward()
        # The next batch of the step draws other masks, the same ones with and without.
        after, _ = fast.masks.keep((64,), 0.5)
        found.append((loss, gradients(model), after, kept[0]))
    (loss, wanted, stream, everything), (again, same, went_on, little) = found
    assert torch.equal(loss, again) and torch.equal(stream, went_on)
    assert wanted.keys() == same.keys() and all(torch.equal(wanted[name], same[name]) for name in wanted)
    # What stands before the layers is kept either way; of DeBERTa's tiny layers it is the larger part.
    assert little < everything * (0.7 if name.startswith("deberta") else 0.5)
