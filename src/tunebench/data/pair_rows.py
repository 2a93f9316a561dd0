"""Pairs of texts as rows of tokens: made of the tokens of either side, as a tokenizer makes them of both.

Where a model tells the sides of a pair apart (token types, or segments), a token is one integer: its id, and its
segment in the bits above. So a row holds all that a model reads, whoever stores it, sorts it or hashes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tunebench.data.tokenizer import undisturbed
from tunebench.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: A token is its id plus its segment times this; no vocabulary is larger (:data:`tunebench.models.bounds.NUMBER`).
SEGMENT = 1 << 24
#: What a tokenizer is tried on: of different lengths, so that its own tokens stand out.
_PROBES = (("a", "b c"), ("one two three", "d"), ("e f g h", "five six seven"))


class TokenRows(Protocol):
    """Tokenised texts, a row of integers each."""

    @property
    def lengths(self) -> np.ndarray:
        """int64 of shape ``(texts,)``: tokens of each text, special ones included."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> np.ndarray: ...

    def take(self, index: np.ndarray, /) -> TokenRows:
        """Return a view of some texts, in the order of ``index``."""


def split_segments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of tokens, and their segments."""
    return rows & (SEGMENT - 1), rows >> SEGMENT.bit_length() - 1


def with_segments(ids: np.ndarray, segments: np.ndarray | None) -> np.ndarray:
    """Return tokens of ids and segments; the inverse of :func:`split_segments`."""
    return ids if segments is None else ids + segments * SEGMENT


@dataclass(frozen=True)
class PairForm:
    """How a tokenizer puts the two texts of a pair into one row.

    Attributes:
        single: Special tokens before and after a text by itself.
        before: Special tokens before the first text, their segments included.
        between: The same between the texts.
        after: The same after the second text.
        segments: The segment of the tokens of the first text, and that of the second one's.
    """

    single: tuple[int, int]
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: tuple[int, int]

    @property
    def special(self) -> int:
        """Special tokens of a row."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def marks_sides(self) -> bool:
        """Whether the tokens of the two texts are in different segments."""
        return self.segments[0] != self.segments[1]

    def room(self, max_length: int) -> int:
        """Return how many tokens of the two texts fit.

        Raises:
            ModelError: Not even one token of each.
        """
        room = max_length - self.special
        if room < 2:
            raise ModelError(
                "The maximum length leaves no room for a pair besides the special tokens.",
                value=max_length,
                allowed=f"at least {self.special + 2}",
                fix="raise max_length",
            )
        return room

    def row(self, first: np.ndarray, second: np.ndarray, cut: PairCut | None) -> np.ndarray:
        """Return the row of a pair.

        Args:
            first: Ids of the first text by itself, with its special tokens.
            second: Those of the second one.
            cut: How a pair that is too long is shortened.
        """
        before, after = self.single
        bare = [side[before : len(side) - after] for side in (first, second)]
        if cut is not None:
            kept = cut.kept(*(np.array(len(side)) for side in bare))
            bare = [cut.of(side, int(count)) for side, count in zip(bare, kept, strict=True)]
        one, two = (side + segment * SEGMENT for side, segment in zip(bare, self.segments, strict=True))
        parts = (self.before, one, self.between, two, self.after)
        return np.concatenate([np.asarray(part, dtype=first.dtype) for part in parts])


@dataclass(frozen=True)
class PairCut:
    """What is kept of a pair that is too long: of the longer text less, until both are equally long.

    It is the ``longest_first`` of tokenizers.

    Attributes:
        room: Tokens of both texts that are kept.
        tail: Keep the end of each text; otherwise its beginning.
    """

    room: int
    tail: bool

    def kept(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many tokens are kept of texts with so many."""
        half, more = self.room // 2, self.room - self.room // 2
        # Of two texts that are both cut, the longer one has the odd token.
        of_first = np.where(first > second, more, half)
        shortened = np.where(
            second <= self.room - of_first,
            self.room - second,
            np.where(first <= of_first, first, of_first),
        )
        one = np.where(first + second <= self.room, first, shortened)
        return one, np.minimum(second, self.room - one)

    def of(self, ids: np.ndarray, count: int) -> np.ndarray:
        """Return so many of a text's ids."""
        return ids[len(ids) - count :] if self.tail else ids[:count]


class TokenizedPairs:
    """Token rows of many pairs, made when they are read.

    Args:
        first: Whole first texts, tokenised by themselves.
        second: Whole second texts.
        form: How the tokenizer makes pairs.
        cut: How pairs that are too long are shortened; None leaves all as they are.
    """

    def __init__(self, first: TokenRows, second: TokenRows, form: PairForm, cut: PairCut | None = None) -> None:
        self.first, self.second, self.form, self._cut = first, second, form, cut
        bare = [side.lengths - sum(form.single) for side in (first, second)]
        kept = bare if cut is None else cut.kept(bare[0], bare[1])
        #: int64 of shape ``(pairs,)``: tokens of each pair, special ones included.
        self.lengths: np.ndarray = kept[0] + kept[1] + form.special

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, position: int) -> np.ndarray:
        return self.form.row(self.first[position], self.second[position], self._cut)

    def take(self, index: np.ndarray) -> TokenizedPairs:
        """Return a view of some pairs, in the order of ``index``; no ids are copied."""
        return TokenizedPairs(self.first.take(index), self.second.take(index), self.form, self._cut)

    def shortened(self, cut: PairCut) -> TokenizedPairs:
        """Return a view of the same pairs, cut; no ids are copied."""
        return TokenizedPairs(self.first, self.second, self.form, cut)


def pair_form(tokenizer: PreTrainedTokenizerBase, single: tuple[int, int]) -> PairForm:
    """Find out how a tokenizer makes pairs.

    Args:
        tokenizer: The tokenizer; it is left as it is.
        single: Special tokens that it puts before and after a text by itself.

    Raises:
        ModelError: It changes the tokens of the texts, or its own differ from pair to pair.
    """
    with undisturbed(tokenizer):
        found = {next(_forms(tokenizer, *probe, single), None) for probe in _PROBES}
    (form,) = found if len(found) == 1 else (None,)
    if form is None or not (form.between or form.marks_sides):
        raise ModelError(
            "Pairs of texts cannot be read: the tokenizer puts nothing between the two that tells them apart.",
            value=type(tokenizer).__name__,
            fix="take another model, or make one text of the two columns: data.join: '{NAME} {NAME}'",
        )
    return form


def _forms(
    tokenizer: PreTrainedTokenizerBase, first: str, second: str, single: tuple[int, int]
) -> Iterator[PairForm]:
    """Yield the forms in which a pair can have been put together."""
    options: dict[str, Any] = {"truncation": False, "padding": False, "verbose": False}
    whole = tokenizer(first, second, **options)
    one, two = (tokenizer(side, add_special_tokens=False, **options)["input_ids"] for side in (first, second))
    ids = whole["input_ids"]
    segments = whole.get("token_type_ids") or [0] * len(ids)
    row = with_segments(np.array(ids), np.array(segments)).tolist()
    spare = len(ids) - len(one) - len(two)
    for start in range(spare + 1):
        for middle in range(spare + 1 - start):
            a, b = start + len(one), start + len(one) + middle
            c = b + len(two)
            kinds = set(segments[start:a]), set(segments[b:c])
            if ids[start:a] == one and ids[b:c] == two and all(len(kind) == 1 for kind in kinds):
                yield PairForm(
                    single,
                    before=tuple(row[:start]),
                    between=tuple(row[a:b]),
                    after=tuple(row[c:]),
                    segments=(*kinds[0], *kinds[1]),
                )
