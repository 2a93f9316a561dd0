"""Flash attention, with a slow stand-in for the package that needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers import modeling_flash_attention_utils as utils

from tunebench.engine.flash import leave_flash_attention, use_flash_attention
from tunebench.models.loading import load_classifier

LENGTHS = [9, 1, 14, 5]


class Varlen:
    """What the package's function gives, text by text; it remembers where texts began."""

    def __init__(self) -> None:
        self.began: list[list[int]] = []

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
    ) -> Tensor:
        assert q.dtype in (torch.bfloat16, torch.float16) and not causal and dropout_p == 0.0
        self.began.append(cu_seqlens_q.tolist())
        found = torch.empty_like(q)
        for start, end in pairwise(cu_seqlens_q.tolist()):
            one, others, values = (x[start:end].transpose(0, 1).float() for x in (q, k, v))
            scores = one @ others.transpose(1, 2) * softmax_scale
            found[start:end] = (scores.softmax(dim=-1) @ values).transpose(0, 1).to(q.dtype)
        return found


@pytest.fixture
def varlen(monkeypatch: pytest.MonkeyPatch) -> Varlen:
    """Let Transformers find the stand-in on a GPU that has bf16."""
    stand_in = Varlen()
    parts = (stand_in, stand_in, None, utils._pad_input, utils._unpad_input)
    monkeypatch.setattr(utils, "_lazy_imports", lambda *args, **kwargs: parts)
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    monkeypatch.setattr(PreTrainedModel, "_flash_attn_can_dispatch", lambda *args, **kwargs: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    return stand_in


def classifier(folder: Path) -> Any:
    return load_classifier(folder, label_names=("a", "b")).eval()


def logits(model: Any) -> Tensor:
    width = max(LENGTHS)
    mask = torch.tensor([[1] * length + [0] * (width - length) for length in LENGTHS])
    ids = torch.randint(5, 50, (len(LENGTHS), width), generator=torch.Generator().manual_seed(0)) * mask
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found: Tensor = model(input_ids=ids, attention_mask=mask).logits.float()
    return found


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
def test_texts_are_attended_to_without_padding(
    tiny_model: Callable[[str], Path], varlen: Varlen, family: str
) -> None:
    model = classifier(tiny_model(family))
    plain = logits(model)
    assert use_flash_attention(model, torch.bfloat16) == "FlashAttention 2, without padding"
    torch.testing.assert_close(logits(model), plain, atol=2e-2, rtol=0)
    ends = [0, 9, 10, 24, 29]
    assert varlen.began and all(began == ends for began in varlen.began), "no place is spent on padding"
    calls = len(varlen.began)
    leave_flash_attention(model)
    assert torch.equal(logits(model), plain) and len(varlen.began) == calls


def test_where_it_cannot_be_used_the_reason_is_said(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(tiny_model("bert"))
    assert "bf16 and fp16" in use_flash_attention(model, None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert "Ampere" in use_flash_attention(model, torch.float16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    prefixed = get_peft_model(
        classifier(tiny_model("bert")), PrefixTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS")
    )
    assert "the prefix's keys" in use_flash_attention(prefixed, torch.float16)
    # The package is not installed here.
    assert use_flash_attention(model, torch.bfloat16).startswith("no flash attention: FlashAttention2 ")
    own = use_flash_attention(classifier(tiny_model("deberta-v2")), torch.bfloat16)
    assert own == "no flash attention: deberta-v2 has an attention of its own"
    for kept in (model, classifier(tiny_model("deberta-v2"))):
        before = kept.config._attn_implementation
        leave_flash_attention(kept)
        assert kept.config._attn_implementation == before
