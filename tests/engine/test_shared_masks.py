"""The reference engine with the fast engine's dropout masks: the same losses, within rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thorough import mostly_thorough
from tunebench.engine.batching import Collator
from tunebench.engine.fast import layers, shared_masks, tiles
from tunebench.engine.fast.attach import FastEncoder
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.packing import pack
from tunebench.engine.fast.shared_masks import PaddedBatch, SharedMasks
from tunebench.engine.frozen_layers import FrozenPrefix, frozen_layers
from tunebench.models.architectures import Architecture, architecture_of, unwrap
from tunebench.models.loading import load_classifier
from tunebench.strategies import STRATEGIES

FAMILIES = ["bert", "distilbert", "electra", "roberta", "modernbert"]
MAX_LENGTH = 64
#: Strategies with dropout of their own where they have any.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "lora": ("lora", {"placement": "all_linear", "rank": 4, "dropout": 0.2}),
    "lora on the query": ("lora", {"placement": "query_value", "rank": 4, "dropout": 0.2}),
    "dora": ("lora", {"placement": "all_linear", "rank": 4, "dropout": 0.2, "dora": True}),
    "adalora": ("adalora", {"initial_rank": 4, "target_rank": 2, "dropout": 0.2}),
    "vera": ("vera", {"rank": 16, "dropout": 0.2}),
    "ia3": ("ia3", {}),
    "bitfit": ("bitfit", {}),
    "last layer": ("last_k", {"layers": 1}),
    "head": ("head_only", {}),
    "pooled": ("head_only", {"pooling": "mean"}),
}
#: Tokens of the texts of each step: several lengths, no padding, all but one short, and the longest allowed.
LENGTHS = ([37, 5, 22, 30, 2, 39, 36], [20] * 7, [3, 61, 2, 4, 3, 3, 5], [64, 40, 64, 17, 9, 33, 58])


def build(folder: Path, way: str) -> tuple[Any, Architecture]:
    torch.manual_seed(3)
    kind, params = WAYS[way]
    model: Any = load_classifier(folder, label_names=("a", "b", "c"), attention_dropout=0.1)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    model = strategy.prepare(model, strategy.params(**params), architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "vera_lambda_b" in name:
                parameter.normal_(std=0.2)  # zero at the start: adapters would do nothing
    return model.train(), architecture


@pytest.mark.parametrize("way", WAYS)
def test_low_rank_updates_are_fast_operations(tiny_model: Callable[[str], Path], way: str) -> None:
    """So what is compared below is the fast operation of AdaLoRA and VeRA, and not PEFT's forward twice."""
    model, architecture = build(tiny_model("bert"), way)
    fast = FastEncoder(model, architecture, seed=5, dtype=torch.float32)
    assert bool(fast.own_forwards) == (way in ("dora", "ia3"))


def rows(lengths: Sequence[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(list(lengths))
    return [rng.integers(1000, 4000, size=length) for length in lengths]


def train(
    folder: Path, way: str, engine: str, *, checkpointing: bool = False, frozen_dropout: bool = True
) -> tuple[list[float], torch.Tensor]:
    """Take a step for each of the lengths; return the losses, and how far the trained weights moved."""
    model, architecture = build(folder, way)
    fast: FastEncoder | None = None
    drawn: FastEncoder | SharedMasks | None = None
    collator = Collator.of_engine("reference" if engine == "own masks" else engine, pad_id=0, max_length=MAX_LENGTH)
    if engine == "fast":
        drawn = fast = FastEncoder(model, architecture, seed=5, dtype=torch.float32, recomputes=checkpointing)
    elif engine == "reference":
        drawn = SharedMasks(model, architecture, seed=5, max_length=MAX_LENGTH)
    if checkpointing and fast is None:
        replays = {"context_fn": drawn.contexts} if isinstance(drawn, SharedMasks) else {}
        unwrap(model).activation_checkpointing_enable({"use_reentrant": False} | replays)
    if not frozen_dropout:
        below = frozen_layers(model, architecture)
        FrozenPrefix(model, architecture, layers=below, fast=fast, autocast=None, fingerprint="f")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in trained]
    # At larger rates the tiny ModernBERT's loss grows, and rounding with it at every step.
    rate = 1e-3 if architecture.model_type == "modernbert" else 0.1
    optimizer, losses = torch.optim.SGD(trained, lr=rate, momentum=0.9), []
    for step, lengths in enumerate(LENGTHS):
        if drawn is not None:
            drawn.start_step(step)
        loss = model(**collator.pad(rows(lengths)), labels=torch.arange(len(lengths)) % 3).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if fast is not None:
            fast.refresh()
        losses.append(loss.item())
    moved = [parameter.detach() - before for parameter, before in zip(trained, start, strict=True)]
    return losses, torch.cat([part.flatten() for part in moved])


def check_alike(folder: Path, way: str, **options: Any) -> None:
    """Hold that the engines differ by rounding with the same masks, and by more with their own."""
    losses, moved = train(folder, way, "fast", **options)
    found, also = train(folder, way, "reference", **options)
    np.testing.assert_allclose(found, losses, rtol=1e-6)
    assert (also - moved).norm() <= 1e-4 * moved.norm()
    others, _ = train(folder, way, "own masks", **options)
    assert max(abs(other - loss) for other, loss in zip(others, losses, strict=True)) > 1e-3


#: Ways that show something of their own.
KEPT = ("full", "lora", "dora", "pooled")
CASES = [(family, "full") for family in FAMILIES] + [("bert", way) for way in WAYS if way != "full"]
CASES += [("distilbert", "lora"), ("roberta", "lora"), ("electra", "lora")]
CASES += [("modernbert", way) for way in ("lora", "dora", "pooled", "last layer", "head")]


@pytest.mark.parametrize(
    ("family", "way"),
    mostly_thorough(
        CASES, keep=lambda case: case[1] in ("full", "lora", "dora", "pooled") and case[0] != "roberta"
    ),
)
def test_every_step_has_the_loss_of_the_fast_engine(
    tiny_model: Callable[[str], Path], family: str, way: str
) -> None:
    check_alike(tiny_model(family), way)


@pytest.mark.parametrize("way", mostly_thorough(["full", "lora", "pooled"], keep=lambda way: way == "lora"))
def test_attention_that_is_computed_in_parts_has_the_masks_of_its_parts(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for module in (tiles, layers, shared_masks):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1500)
    check_alike(tiny_model("bert"), way)


def test_layers_that_are_computed_again_drop_the_same_elements(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("bert")
    check_alike(folder, "full", checkpointing=True)
    plain, again = (train(folder, "full", "reference", checkpointing=given) for given in (False, True))
    assert plain[0] == again[0] and torch.equal(plain[1], again[1])


@pytest.mark.parametrize("way", ["last layer", "head"])
def test_frozen_layers_without_dropout_take_no_masks(tiny_model: Callable[[str], Path], way: str) -> None:
    check_alike(tiny_model("bert"), way, frozen_dropout=False)


def test_every_strategy_is_tested_that_says_it_shares_dropout() -> None:
    assert {kind for kind, _ in WAYS.values()} == {n for n, s in STRATEGIES.items() if s.shares_dropout}


@pytest.mark.parametrize("p", [0.1, 0.4])
@pytest.mark.parametrize("first_only", [False, True])
def test_as_much_is_dropped_as_asked_and_nothing_of_padding(p: float, first_only: bool) -> None:
    tokens, heads, lengths = 60, 4, torch.tensor([60, 33, 8, 31])
    read = torch.arange(MAX_LENGTH) < lengths[:, None]
    layout = pack(read[:, :tokens], torch.zeros(4 * heads, 1, tokens), at_once=20_000)
    batch = PaddedBatch(layout, texts=4, tokens=tokens, padded=MAX_LENGTH)
    masks = MaskStream(7)
    asked = read & (torch.arange(MAX_LENGTH) == 0) if first_only else read
    for keep, scale, drawn in (
        (*batch.of_tokens(masks, 500, p, "first" if first_only else "packed"), asked[..., None]),
        (
            *batch.of_attention(masks, heads, p, first_only=first_only),
            asked[:, None, :, None] & read[:, None, None, :],
        ),
    ):
        inside = drawn.expand_as(keep)
        count = int(inside.sum())
        assert scale == pytest.approx(1 / (1 - p), rel=1e-4)
        assert abs(float((~keep & inside).sum()) / count - p) < 4 * (p * (1 - p) / count) ** 0.5
        # Beyond what the fast engine pads to, and beyond first tokens where it computes no others.
        assert keep[..., 1 if first_only else tokens :, :].all()


def test_evaluation_and_a_detached_model_are_the_librarys(tiny_model: Callable[[str], Path]) -> None:
    model, architecture = build(tiny_model("distilbert"), "lora")
    batch = Collator(pad_id=0, length=MAX_LENGTH).pad(rows(LENGTHS[0]))
    expected = model.eval()(**batch).logits
    torch.manual_seed(0)
    drawn = model.train()(**batch).logits
    shared = SharedMasks(model, architecture, seed=1, max_length=MAX_LENGTH)
    assert torch.equal(model.eval()(**batch).logits, expected)
    torch.manual_seed(0)
    assert not torch.allclose(model.train()(**batch).logits, drawn)
    shared.detach()
    torch.manual_seed(0)
    assert torch.equal(model(**batch).logits, drawn)


def test_attention_that_is_not_pytorchs_is_refused(tiny_model: Callable[[str], Path]) -> None:
    model, architecture = build(tiny_model("bert"), "full")
    model.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="scaled dot product"):
        SharedMasks(model, architecture, seed=1, max_length=MAX_LENGTH)
