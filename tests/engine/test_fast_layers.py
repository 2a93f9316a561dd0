"""The fast layers against the library's own: exact where they are exact, close where they are not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from thorough import mostly_thorough
from tunebench.engine.batching import Collator
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.fast import ops
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.engine.fast.layers import LAYER_NAMES
from tunebench.engine.fast.masks import MaskStream, apply_mask, read_signs, sign_kept
from tunebench.engine.fast.packing import Rectangle
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier
from tunebench.strategies import STRATEGIES

FAMILIES = ["bert", "distilbert", "electra", "roberta"]
WAYS = {
    "full": ("full", {}),
    "lora": ("lora", {"placement": "query_value", "rank": 4, "dropout": 0.0}),
    "lora everywhere": ("lora", {"placement": "all_linear", "rank": 4, "dropout": 0.0}),
}


def build(folder: Path, way: str, *, dropout: bool = False) -> tuple[torch.nn.Module, Architecture]:
    torch.manual_seed(3)
    kind, params = WAYS[way]
    model: torch.nn.Module = load_classifier(folder, label_names=("a", "b", "c"))
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    model = strategy.prepare(model, strategy.params(**params), architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)  # zero at the start: every test of LoRA would pass empty
    if not dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return model.train(), architecture


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1000, 4000, (5, 23), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    mask[4, 2:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor([0, 1, 2, 1, 0])}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
def test_in_fp32_logits_loss_and_every_gradient_are_the_librarys(
    tiny_model: Callable[[str], Path], family: str, way: str
) -> None:
    model, architecture = build(tiny_model(family), way)
    assert supports(architecture, model) is None
    expected = model(**batch())
    expected.loss.backward()
    wanted = gradients(model)
    model.zero_grad()
    fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32)
    found = model(**batch())
    found.loss.backward()
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


@pytest.mark.parametrize("way", WAYS)
def test_twenty_steps_end_at_the_same_weights(tiny_model: Callable[[str], Path], way: str) -> None:
    ends = []
    for fast_layers in (False, True):
        model, architecture = build(tiny_model("bert"), way)
        fast = FastEncoder(model, architecture, seed=0, dtype=torch.float32) if fast_layers else None
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
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


def test_dropout_depends_on_seed_and_step_only(tiny_model: Callable[[str], Path]) -> None:
    model, architecture = build(tiny_model("bert"), "full", dropout=True)
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


def test_dropouts_gradient_uses_the_mask_of_the_forward_pass(tiny_model: Callable[[str], Path]) -> None:
    """Finite differences along the gradient, with the masks held fixed."""
    model, architecture = build(tiny_model("distilbert"), "full", dropout=True)
    fast = FastEncoder(model, architecture, seed=1, dtype=torch.float32)

    def loss() -> torch.Tensor:
        fast.start_step(7)
        return model(**batch()).loss

    loss().backward()
    weight = model.get_submodule(architecture.layers)[0].ffn.lin1.weight  # type: ignore[index, union-attr]
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
def test_attention_in_blocks_is_attention_by_its_definition(
    monkeypatch: pytest.MonkeyPatch, dropout: float, elements: int
) -> None:
    """One text's head at a time, three at a time (the last block is smaller), and all at once."""
    monkeypatch.setattr(ops, "BLOCK_ELEMENTS", elements)
    batch, tokens, heads, size, scaling = 4, 10, 2, 8, 0.3
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(batch * tokens, 3 * heads * size, generator=generator).requires_grad_()
    bias = torch.zeros(batch * heads, 1, tokens)
    bias[3, :, 6:] = torch.finfo(bias.dtype).min
    weights = torch.randn(batch * tokens, heads * size, generator=generator)

    whole = [Rectangle(batch, tokens, tokens, bias)]
    found = ops.AttentionFunction.apply(rows, None, whole, heads, scaling, MaskStream(2), dropout)
    (gradient,) = torch.autograd.grad((found * weights).sum(), rows)

    q, k, v = rows.view(batch, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).flatten(1, 2)
    probabilities = torch.softmax(q @ k.transpose(1, 2) * scaling + bias, dim=-1)
    stream, kept = MaskStream(2), []
    for part in ops.blocks(tuple(probabilities.shape)):
        keep, scale = stream.keep(tuple(probabilities[part].shape), dropout)
        kept.append(torch.ones_like(probabilities[part]) if keep is None else (keep == -1) * scale)
    probabilities = probabilities * torch.cat(kept)
    wanted = (probabilities @ v).view(batch, heads, tokens, size).transpose(1, 2).reshape(found.shape)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), rows)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        assert torch.equal(
            ops.AttentionFunction.apply(rows, None, whole, heads, scaling, MaskStream(2), dropout), found
        )


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_librarys_attention_is_ours(dtype: torch.dtype, apart: bool) -> None:
    batch, tokens, heads, size, scaling = 4, 10, 2, 8, 0.3
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(batch * tokens, 3 * heads * size, generator=generator).to(dtype)
    query, others = (rows[::tokens, : heads * size], rows[:, heads * size :]) if apart else (rows, None)
    bias = torch.zeros(batch, 1, tokens, dtype=dtype)
    bias[1, :, 6:] = torch.finfo(dtype).min
    bias = bias.repeat_interleave(heads, dim=0)
    for padding in (None, bias):
        whole = Rectangle(batch, tokens, 1 if apart else tokens, padding)
        with torch.inference_mode():
            wanted = ops.AttentionFunction.apply(query, others, [whole], heads, scaling, MaskStream(2), 0.0)
            found = ops.attend(query, others, whole, heads, scaling)
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", ["fast", "fast, library's attention", "library's"])
def test_evaluation_keeps_the_datas_order_and_leaves_no_trace(
    tiny_model: Callable[[str], Path], way: str, layers: str
) -> None:
    from tunebench.data.tokens import TokenizedTexts

    model, architecture = build(tiny_model("bert"), way, dropout=True)
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


def test_what_the_fast_layers_cannot_do_is_said(tiny_model: Callable[[str], Path]) -> None:
    model, architecture = build(tiny_model("deberta-v2"), "full")
    assert "deberta-v2" in str(supports(architecture, model))


def test_every_fast_family_names_modules_that_exist(tiny_model: Callable[[str], Path]) -> None:
    for family in FAMILIES:
        names = LAYER_NAMES[family]
        model, architecture = build(tiny_model(family), "full")
        layer = model.get_submodule(architecture.layers)[0]  # type: ignore[index]
        for field in ("query", "key", "value", "attention_output", "attention_norm", "up", "down", "output_norm"):
            assert isinstance(layer.get_submodule(getattr(names, field)), torch.nn.Module)


@pytest.mark.parametrize("family", mostly_thorough(FAMILIES, keep=lambda family: family == "distilbert"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputed_layers_give_the_same_gradients_and_keep_less(
    tiny_model: Callable[[str], Path], family: str, dtype: torch.dtype
) -> None:
    found = []
    for recomputes in (False, True):
        model, architecture = build(tiny_model(family), "lora everywhere", dropout=True)
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
    assert little < everything / 2
