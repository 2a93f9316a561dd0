from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunebench.engine.fast.packing import Packing, TakeRows, pack, pack_closely


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    heads=st.integers(1, 3),
    at_once=st.integers(1, 20_000),
)
def test_every_attended_token_is_packed_once_with_its_text(lengths: list[int], heads: int, at_once: int) -> None:
    batch, tokens = len(lengths), 40
    keys = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    bias = torch.zeros(batch, 1, tokens).masked_fill(~keys[:, None], -1e9).repeat_interleave(heads, dim=0)
    layout = pack(keys, bias, at_once=at_once)
    assert len(set(layout.rows.tolist())) == len(layout.rows) == sum(r.rows for r in layout.rectangles)
    seen, start = [], 0
    for rectangle in layout.rectangles:
        assert rectangle.texts == 1 or heads * rectangle.texts * rectangle.width**2 <= at_once
        rows = layout.rows[start : start + rectangle.rows].view(rectangle.texts, rectangle.width)
        texts = rows[:, 0] // tokens
        assert torch.equal(rows, texts[:, None] * tokens + torch.arange(rectangle.width))
        assert rectangle.bias is not None
        parts = rectangle.bias.view(rectangle.texts, heads, rectangle.width)
        for text, part in zip(texts.tolist(), parts, strict=True):
            assert lengths[text] <= rectangle.width
            assert torch.equal(part, bias.view(batch, heads, tokens)[text, :, : rectangle.width])
        seen += texts.tolist()
        start += rectangle.rows
    assert sorted(seen) == list(range(batch))
    assert (layout.rows[layout.firsts[layout.back]] == torch.arange(batch) * tokens).all()


def test_little_padding_is_left() -> None:
    lengths = torch.randint(20, 257, (32,), generator=torch.Generator().manual_seed(0))
    keys = torch.arange(256) < lengths[:, None]
    layout = pack(keys, torch.zeros(32 * 12, 1, 256), at_once=2**21)
    assert lengths.sum() <= len(layout.rows) < 1.1 * lengths.sum()


def test_a_mask_with_holes_is_kept_up_to_its_last_token() -> None:
    keys = torch.tensor([[True, False, True, False] + [False] * 12])
    layout = pack(keys, torch.zeros(2, 1, 16), at_once=1000)
    assert [r.width for r in layout.rectangles] == [3]


def test_taken_rows_have_the_gradient_of_indexing() -> None:
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([6, 0, 3])
    assert torch.autograd.gradcheck(lambda matrix: TakeRows.apply(matrix, rows), x)
    assert torch.equal(TakeRows.apply(x, rows), x[rows])


@pytest.mark.parametrize("packed", [False, True])
def test_shapes_are_those_the_layers_worked_on(packed: bool) -> None:
    packing = Packing()
    keys = torch.arange(16) < torch.tensor([16, 3])[:, None]
    packing.layout = pack(keys, torch.zeros(4, 1, 16), at_once=10**6) if packed else None
    assert packing.shapes(2, 16) == ([(1, 16), (1, 3)] if packed else [(2, 16)])


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_texts_packed_closely_follow_each_other_in_a_round_number_of_rows(lengths: list[int]) -> None:
    tokens = 40
    layout = pack_closely(torch.tensor(lengths), tokens)
    wanted = [text * tokens + place for text, length in enumerate(lengths) for place in range(length)]
    rows = layout.rows.tolist()
    assert rows[: len(wanted)] == wanted and len(set(rows)) == len(rows)
    assert len(rows) % 64 == 0 or len(rows) == len(lengths) * tokens
    assert len(rows) < len(wanted) + 64
    assert [rows[first] for first in layout.firsts.tolist()] == [text * tokens for text in layout.back.tolist()]
    assert layout.texts is not None and layout.texts.used == (len(wanted), len(wanted))
