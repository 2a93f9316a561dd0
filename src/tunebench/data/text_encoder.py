"""Texts as rows of tokens for prediction, cut as training cut them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from tunebench.data.pair_rows import PairCut, PairForm, pair_form
from tunebench.data.text import Text, by_side
from tunebench.data.tokenizer import special_tokens, whole_ids
from tunebench.data.tokens import make_cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextEncoder:
    """Gives the tokens of texts and of pairs. Several threads may use it.

    Args:
        tokenizer: The tokenizer, which from then on is the encoder's own.
        max_length: Most tokens of a text, special ones included.
        truncation: Which end of a text that is too long is kept, or some of both; of pairs one end.
        head_share: Under ``head_tail``, the share of the tokens from the beginning.

    Attributes:
        cut: What is kept of a single text.

    Raises:
        ModelError: The tokenizer adds special tokens elsewhere than at the ends, or more than fit.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: Literal["head", "tail", "head_tail"] = "head",
        head_share: float = 0.25,
    ) -> None:
        self.tokenizer, self._max_length, self._tail = tokenizer, max_length, truncation == "tail"
        self.cut = make_cut(tokenizer, max_length, truncation, head_share)
        # Ends the tokenizer's own truncation: from now on no call changes it, so threads may share it.
        whole_ids(tokenizer, ["a"])

    @cached_property
    def _pairs(self) -> tuple[PairForm, PairCut]:
        form = pair_form(self.tokenizer, special_tokens(self.tokenizer))
        return form, PairCut(form.room(self._max_length), tail=self._tail)

    def rows(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return the tokens of each text, int64; see :mod:`tunebench.data.pair_rows`.

        Args:
            texts: All strings, or all pairs.

        Raises:
            ModelError: They are pairs, and the tokenizer does not make pairs.
        """
        sides = [
            [np.asarray(row, dtype=np.int64) for row in whole_ids(self.tokenizer, side)] if side else []
            for side in by_side(texts)
        ]
        if len(sides) == 1:
            return [self.cut.of(row) for row in sides[0]]
        form, cut = self._pairs
        return [form.row(first, second, cut) for first, second in zip(*sides, strict=True)]
