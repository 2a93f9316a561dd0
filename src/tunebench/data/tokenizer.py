"""What is asked of a tokenizer: who it is, the ids of whole texts, and the special tokens around them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Arguments that a tokenizer was made with, and that have no effect on its ids.
_NO_CONTENT = ("name_or_path", "model_max_length", "tokenizer_class", "backend", "added_tokens_decoder")


@contextmanager
def undisturbed(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Give a tokenizer its truncation and padding back at the end of the block: calling it changes them.

    Copying it instead would copy its whole vocabulary.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # tokenizers in Python keep nothing of a call
        yield
        return
    truncation, padding = backend.truncation, backend.padding
    try:
        yield
    finally:
        if truncation is None:
            backend.no_truncation()
        else:
            backend.enable_truncation(**truncation)
        if padding is None:
            backend.no_padding()
        else:
            backend.enable_padding(**padding)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return 32 hex digits of sha256 over what decides the ids.

    Truncation and padding, which every call sets, and the maximum length are left out: the same
    files give the same fingerprint whatever was done with the object.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state: Any = json.loads(backend.to_str())
        state["truncation"] = state["padding"] = None
    else:
        options = {
            key: value
            for key, value in tokenizer.init_kwargs.items()
            if key not in _NO_CONTENT
            and not key.endswith("_file")
            and isinstance(value, (str, int, float, bool, type(None)))
        }
        added = {str(token): i for token, i in tokenizer.get_added_vocab().items()}
        state = [type(tokenizer).__name__, tokenizer.get_vocab(), added, options]
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    # Not in the backend's JSON: whether "[SEP]" in a text is a special token or seven characters.
    literal = bool(getattr(tokenizer, "split_special_tokens", False))
    content = json.dumps([state, special, literal], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def whole_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of whole texts, special tokens included; ends the tokenizer's own truncation."""
    found: list[list[int]] = tokenizer(
        list(texts),
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    return found


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return how many special tokens a tokenizer puts before and after a single text.

    Raises:
        ModelError: It puts them elsewhere, or not the same number every time.
    """
    found = set()
    with undisturbed(tokenizer):
        for probe in ("a", "b c", "one two three four five"):
            ids, bare = (
                tokenizer(probe, add_special_tokens=added, truncation=False, padding=False, verbose=False)[
                    "input_ids"
                ]
                for added in (True, False)
            )
            starts = range(len(ids) - len(bare) + 1)
            found.add(next(((i, len(ids) - len(bare) - i) for i in starts if ids[i : i + len(bare)] == bare), None))
    if len(found) != 1 or None in found:
        raise ModelError(
            "Texts cannot be cut: the tokenizer puts special tokens elsewhere than before and after a text.",
            value=type(tokenizer).__name__,
        )
    (both,) = found
    assert both is not None
    return both
