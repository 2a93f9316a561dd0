"""Static embeddings: one vector a token, distilled from an encoder, and the mean of them for a text."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunebench.data.tokenizer import special_tokens, whole_ids
from tunebench.errors import StoreError
from tunebench.files import default_cache_dir
from tunebench.training.embeddings.encoder import Embedder
from tunebench.training.linear.heads import read_arrays, write_arrays
from tunebench.training.linear.vectors import Look

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)
#: Part of the key; raised when what is written changes.
_FORMAT = 1
#: Tokens that go through the encoder between two looks.
_SLICE = 2048
#: Weight of frequent tokens: a token with this share of all tokens counts half (Arora et al. 2017).
_SIF = 1e-4
#: Tokens that no text has.
_UNUSED = re.compile(r"\[unused\d+\]")


class StaticTable:
    """The vectors of a vocabulary.

    Methods may be called from several threads.

    Args:
        vectors: fp16 ``(vocabulary, width)``; 0 for tokens that no text has.
        tokenizer: Gives the tokens; from then on the table's own.
    """

    def __init__(self, vectors: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> None:
        self.vectors, self.tokenizer = vectors, tokenizer
        self._before, self._after = special_tokens(tokenizer)
        # Ends the tokenizer's own truncation: from now on no call changes it, so threads may share it.
        self.tokens(["a"])

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of whole texts, without special tokens; int64."""
        rows = (np.asarray(row, dtype=np.int64) for row in whole_ids(self.tokenizer, texts))
        return [row[self._before : len(row) - self._after] for row in rows]

    def embed(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return the means of the vectors of :meth:`tokens`, scaled to length 1; fp32 ``(texts, width)``."""
        from scipy.sparse import csr_matrix

        columns = np.concatenate(rows) if len(rows) else np.empty(0, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        used, places = np.unique(columns, return_inverse=True)
        # The length is 1 at the end, so the sum is as good as the mean.
        counts = csr_matrix((np.ones(len(columns)), places, offsets), shape=(len(rows), len(used)))
        total = counts @ self.vectors[used].astype(np.float64)
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return np.asarray(total, dtype=np.float32)


def table_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many rows a table has, so that it has one for any token of the vocabulary."""
    return 1 + max(int(token) for token in tokenizer.get_vocab().values())


def token_rows(tokenizer: PreTrainedTokenizerBase) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the ids of the tokens that texts have, ascending, and each between the special tokens of a text."""
    special = set(tokenizer.all_special_ids)
    known = tokenizer.get_vocab().items()
    ids = np.array(sorted(i for token, i in known if i not in special and not _UNUSED.fullmatch(token)))
    (empty,), (before, _) = whole_ids(tokenizer, [""]), special_tokens(tokenizer)
    return ids, [np.array([*empty[:before], i, *empty[before:]], dtype=np.int64) for i in ids.tolist()]


def distilled(embedder: Embedder, look: Look) -> np.ndarray:
    """Return a vector for each token of an encoder's vocabulary.

    Each token goes through the encoder between the special tokens, and its states are pooled. The mean over the
    vocabulary is taken off. Vocabularies are ordered by frequency, roughly: by Zipf's law a token's share of all
    tokens falls with its rank, and its vector is weighed by a / (a + share) (smooth inverse frequency, Arora et al.
    2017).

    Args:
        embedder: The encoder, with vectors as they are.
        look: Told of the progress; may raise.

    Returns:
        fp16 ``(vocabulary, width)``; 0 for special and unused tokens.
    """
    ids, rows = token_rows(embedder.tokenizer)
    found = np.empty((len(ids), embedder.width), dtype=np.float64)
    look(0, len(ids))
    for start in range(0, len(ids), _SLICE):
        part = slice(start, start + _SLICE)
        found[part] = embedder.vectors(rows[part])
        look(min(start + _SLICE, len(ids)), len(ids))
    share = 1 / np.arange(2, len(ids) + 2)
    share /= share.sum()
    table = np.zeros((table_rows(embedder.tokenizer), embedder.width), dtype=np.float16)
    table[ids] = (found - found.mean(axis=0)) * (_SIF / (_SIF + share))[:, None]
    return table


@dataclass(frozen=True, eq=False)
class Distilled:
    """A table, and what distilling it took when it was done.

    Attributes:
        vectors: From :func:`distilled`.
        seconds: The time.
        flops: The operations.
    """

    vectors: np.ndarray
    seconds: float
    flops: float


class TableCache:
    """The table of one model in one way, distilled once and kept in the cache folder.

    Args:
        fingerprint: Of the model.
        tokens: Fingerprint of its tokenizer.
        pooling: Of each token.
        folder: Where all tables are kept; by default in the cache folder.
    """

    def __init__(self, fingerprint: str, tokens: str, pooling: str, *, folder: Path | None = None) -> None:
        key = hashlib.sha256(json.dumps([_FORMAT, fingerprint, tokens, pooling]).encode()).hexdigest()[:32]
        self.path = (folder or default_cache_dir() / "static") / f"{key}.safetensors"

    def read(self) -> Distilled | None:
        """Return the table; None where it is not there, or damaged."""
        try:
            found = read_arrays(self.path, ("vectors", "costs"))
        except StoreError:
            return None
        return Distilled(found["vectors"], *found["costs"].tolist())

    def write(self, table: Distilled) -> None:
        """Keep a table; where the cache cannot be written, say so."""
        costs = np.array([table.seconds, table.flops])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(self.path, {"vectors": table.vectors, "costs": costs})
        except OSError as error:
            _LOG.warning("The cache of static embeddings cannot be written (%s); going on without it.", error)
