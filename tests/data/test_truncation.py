"""What is kept of a text that is too long: against tokenising it bare and cutting the ids by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tunebench.data.tokenizer import special_tokens, tokenizer_fingerprint
from tunebench.data.tokens import Cut, TokenizedTexts, tokenize
from tunebench.errors import ModelError
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer

CORPUS = ["the film was a story of two men", "great lovely superb moving fine", "ünï 😀 été \n\t  x"] * 3


def _wordpiece() -> Any:
    return load_tokenizer(model_folder("minilm"))


def _byte_level() -> Any:
    """RoBERTa's: byte-level BPE with <s> text </s>."""
    backend = ByteLevelBPETokenizer(add_prefix_space=False)
    backend.train_from_iterator(
        CORPUS, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def _sentencepiece_like() -> Any:
    """Metaspace pieces with a template of two tokens before the text and none behind it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<s>", "<task>", "<pad>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> <task> $A", special_tokens=[("<s>", 0), ("<task>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


#: Tokenizer, and the special tokens before and after a text.
TOKENIZERS: dict[str, tuple[Any, list[str], list[str]]] = {
    "wordpiece": (_wordpiece(), ["[CLS]"], ["[SEP]"]),
    "byte_level": (_byte_level(), ["<s>"], ["</s>"]),
    "prefix_only": (_sentencepiece_like(), ["<s>", "<task>"], []),
}

words = st.sampled_from([*" ".join(CORPUS).split(), "[SEP]", "</s>", "😀é", "\n", "zzzz"])
texts = st.lists(st.lists(words, max_size=30).map(" ".join), max_size=6)


def slow(name: str, text: str, max_length: int, truncation: str, share: float) -> list[int]:
    """Tokenise without special tokens, drop ids, put the special tokens around what is left."""
    tokenizer, before, after = TOKENIZERS[name]
    content = tokenizer(text, add_special_tokens=False)["input_ids"]
    room = max_length - len(before) - len(after)
    if len(content) > room:
        first = {"head": room, "tail": 0, "head_tail": round(share * room)}[truncation]
        content = [token for i, token in enumerate(content) if i < first or i >= len(content) - (room - first)]
    convert = tokenizer.convert_tokens_to_ids
    return [*convert(before), *content, *convert(after)]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(
    texts=texts,
    max_length=st.integers(4, 24),
    truncation=st.sampled_from(["head", "tail", "head_tail"]),
    share=st.floats(0.01, 0.99),
)
def test_a_cut_text_is_what_cutting_by_hand_gives(
    name: str, texts: list[str], max_length: int, truncation: Any, share: float
) -> None:
    tokenizer = TOKENIZERS[name][0]
    found = tokenize(
        texts,
        tokenizer=tokenizer,
        tokenizer_fingerprint="f",
        max_length=max_length,
        cache_dir=None,
        truncation=truncation,
        head_share=share,
    )
    rows = [found[i].tolist() for i in range(len(found))]
    assert rows == [slow(name, text, max_length, truncation, share) for text in texts]
    assert found.lengths.tolist() == [len(row) for row in rows]
    assert all(len(row) <= max_length for row in rows)
    for row, text in zip(rows, texts, strict=True):
        whole = tokenizer(text)["input_ids"]
        assert len(row) == min(len(whole), max_length)
        if len(whole) <= max_length:
            assert row == whole


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(("truncation", "side"), [("head", "right"), ("tail", "left")])
def test_the_tokenizers_own_truncation_agrees(name: str, truncation: Any, side: str) -> None:
    tokenizer = TOKENIZERS[name][0]
    text = " ".join(CORPUS)
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side
    try:
        theirs = tokenizer(text, truncation=True, max_length=9)["input_ids"]
    finally:
        tokenizer.truncation_side = before
    ours = tokenize(
        [text],
        tokenizer=tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        max_length=9,
        cache_dir=None,
        truncation=truncation,
    )
    assert ours[0].tolist() == theirs


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_are_counted(name: str) -> None:
    tokenizer, before, after = TOKENIZERS[name]
    assert special_tokens(tokenizer) == (len(before), len(after))


def test_a_tokenizer_with_special_tokens_inside_a_text_is_refused() -> None:
    tokenizer = _byte_level()

    class Odd:
        def __call__(self, text: str, *, add_special_tokens: bool, **_: Any) -> dict[str, list[int]]:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            return {"input_ids": [x for i in ids for x in (i, 2)] if add_special_tokens else ids}

    with pytest.raises(ModelError, match="special tokens elsewhere"):
        special_tokens(Odd())  # type: ignore[arg-type]


def test_no_room_beside_the_special_tokens_is_refused() -> None:
    tokenizer = TOKENIZERS["wordpiece"][0]
    with pytest.raises(ModelError, match="no room"):
        tokenize(["a"], tokenizer=tokenizer, tokenizer_fingerprint="f", max_length=2, cache_dir=None)


def test_cuts_follow_views_and_are_not_repeated() -> None:
    ids, offsets = np.arange(20, dtype=np.int32), np.array([0, 10, 12, 20])
    cut = TokenizedTexts(ids, offsets).shortened(Cut(2, 1))
    some = cut.take(np.array([2, 1, 0]))
    assert [row.tolist() for row in (some[0], some[1], some[2])] == [[12, 13, 19], [10, 11], [0, 1, 9]]
    assert some.lengths.tolist() == [3, 2, 3]
    with pytest.raises(ValueError, match="cannot be cut again"):
        some.shortened(Cut(1, 1))
