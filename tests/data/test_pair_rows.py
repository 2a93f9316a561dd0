"""Pairs as rows of tokens: against the tokenizer's own call with both texts, cut by its own longest_first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.test_truncation import CORPUS, TOKENIZERS
from tunebench.data.pair_rows import PairCut, split_segments, with_segments
from tunebench.data.text import Pair
from tunebench.data.text_encoder import TextEncoder
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.errors import ModelError

words = st.sampled_from([*" ".join(CORPUS).split(), "[SEP]", "</s>", "😀é", "\n", "zzzz"])
sides = st.lists(words, max_size=12).map(" ".join)
pairs = st.lists(st.builds(Pair, sides, sides), min_size=1, max_size=4)
KINDS = [name for name in TOKENIZERS if name != "prefix_only"]


def _own(tokenizer: Any, pair: Pair, max_length: int, side: str) -> tuple[list[int], list[int]]:
    """Return ids and segments of the tokenizer's own call."""
    tokenizer.truncation_side = side
    # A batch: called with a single empty second text, tokenizers take the first one as a text by itself.
    found = tokenizer([pair.first], [pair.second], truncation="longest_first", max_length=max_length)
    (ids,) = found["input_ids"]
    return ids, found["token_type_ids"][0] if "token_type_ids" in found else [0] * len(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(texts=pairs, max_length=st.integers(6, 30), end=st.sampled_from(["head", "tail"]))
def test_rows_are_what_the_tokenizer_makes_of_both_texts(
    kind: str, texts: list[Pair], max_length: int, end: Any
) -> None:
    tokenizer = TOKENIZERS[kind][0]
    found = tokenize(
        texts,
        tokenizer=tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        max_length=max_length,
        cache_dir=None,
        truncation=end,
    )
    encoder = TextEncoder(tokenizer, max_length=max_length, truncation=end)
    for i, row in enumerate(encoder.rows(texts)):
        expected = _own(tokenizer, texts[i], max_length, "left" if end == "tail" else "right")
        assert tuple(part.tolist() for part in split_segments(row)) == expected
        assert found[i].tolist() == row.tolist() and found.lengths[i] == len(row)


@given(st.integers(2, 12), st.integers(0, 20), st.integers(0, 20))
def test_longest_first_takes_from_the_longer_text_until_both_are_equal(room: int, first: int, second: int) -> None:
    kept = [int(n) for n in PairCut(room, tail=False).kept(np.array(first), np.array(second))]
    longer, shorter = max(first, second), min(first, second)
    while longer + shorter > room:
        # One of the longer text; of two equal ones of either, which is told apart below.
        longer, shorter = max(longer - 1, shorter), min(longer - 1, shorter)
    assert sorted(kept) == [shorter, longer]
    assert kept[0] <= first and kept[1] <= second and (first <= second or kept[0] >= kept[1])


@given(st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 3))))
def test_segments_and_ids_come_apart_as_they_went_together(tokens: list[tuple[int, int]]) -> None:
    ids, segments = (np.array([token[i] for token in tokens], dtype=np.int32) for i in (0, 1))
    found = split_segments(with_segments(ids, segments))
    assert [part.tolist() for part in found] == [ids.tolist(), segments.tolist()]


def test_sides_are_cached_as_texts_of_their_own(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["wordpiece"][0]
    options: dict[str, Any] = {
        "tokenizer": tokenizer,
        "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
        "cache_dir": tmp_path,
    }
    tokenize([Pair("a b", "c"), Pair("a b", "d e")], max_length=None, **options)
    before = sorted((tmp_path / "tokens").glob("*/ids.npy"))
    tokenize(["a b", "a b"], max_length=8, **options)
    assert sorted((tmp_path / "tokens").glob("*/ids.npy")) == before and len(before) == 2


def test_tokenizer_that_does_not_tell_the_texts_apart_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing between the two"):
        TextEncoder(TOKENIZERS["prefix_only"][0], max_length=10).rows([Pair("a", "b")])


def test_length_without_room_for_both_texts_is_refused() -> None:
    with pytest.raises(ModelError, match="no room for a pair") as caught:
        TextEncoder(TOKENIZERS["wordpiece"][0], max_length=4).rows([Pair("a", "b")])
    assert "at least 5" in str(caught.value)
