"""Disentangled attention by shifted views, against the gathers of its definition."""

from __future__ import annotations

import pytest
import torch

from tunebench.engine.fast.attention import Attention, AttentionFunction
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.packing import Rectangle
from tunebench.engine.fast.relative import by_distance

HEADS, SIZE, SPAN, SCALING = 2, 8, 6, 0.3
DIM = HEADS * SIZE


def by_definition(rows: torch.Tensor, embedded: torch.Tensor, buckets: torch.Tensor, unpadded: int) -> torch.Tensor:
    """Return what attention gives for one text, ``(S, D)``, of which the first tokens are no padding."""
    query, key, value = rows.view(-1, 3, HEADS, SIZE).permute(1, 2, 0, 3)
    of_query, of_key = embedded.view(-1, 2, HEADS, SIZE).permute(1, 2, 0, 3)
    positions = (buckets + SPAN).clamp(0, 2 * SPAN - 1).expand(HEADS, -1, -1)
    opposite = (SPAN - buckets).clamp(0, 2 * SPAN - 1).expand(HEADS, -1, -1)
    scores = query @ key.mT + (query @ of_key.mT).gather(2, positions)
    scores = scores + (key @ of_query.mT).gather(2, opposite).mT
    scores = (scores * SCALING).masked_fill(torch.arange(len(rows)) >= unpadded, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1).reshape(-1, DIM)


@pytest.mark.parametrize("first_only", [False, True])
def test_scores_of_positions_and_their_gradients_are_those_of_the_definition(first_only: bool) -> None:
    """Texts of several widths, shorter and longer than the buckets reach, and of one token."""
    torch.manual_seed(0)
    longest, shapes = 11, [(2, 11, 11), (3, 5, 3), (1, 1, 1)]
    distance = torch.arange(longest)[:, None] - torch.arange(longest)
    # Near distances one by one, far ones two together; the farthest lie beyond the last position.
    buckets = distance.sign() * torch.minimum(distance.abs(), 3 + (distance.abs() + 3) // 2)
    rows = torch.randn(sum(texts * width for texts, width, _ in shapes), 3 * DIM, requires_grad=True)
    embedded = torch.randn(2 * SPAN, 2 * DIM, requires_grad=True)

    rectangles, wanted, start = [], [], 0
    for texts, width, unpadded in shapes:
        bias = torch.zeros(texts * HEADS, 1, width)
        bias[:, :, unpadded:] = torch.finfo(torch.float32).min
        rectangles.append(Rectangle(texts, width, 1 if first_only else width, bias))
        for _ in range(texts):
            some = by_definition(rows[start : start + width], embedded, buckets[:width, :width], unpadded)
            wanted.append(some[: rectangles[-1].queries])
            start += width
    expected = torch.cat(wanted)

    attention = Attention(rectangles, HEADS, SCALING, MaskStream(0), 0.0)
    positions = embedded.index_select(0, by_distance(buckets[None], SPAN))
    query, others = rows, None
    if first_only:
        firsts = [0, 11, 22, 27, 32, 37]
        query, others = rows[firsts, :DIM], rows[:, DIM:]
    found = AttentionFunction.apply(query, others, positions, attention)
    weights = torch.randn_like(expected)
    got, want = (torch.autograd.grad((x * weights).sum(), (rows, embedded)) for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
