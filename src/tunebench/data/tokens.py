"""Tokenised texts: made once per tokenizer and length, kept on disk, mapped into memory.

The cache has its own key (texts, tokenizer files, length): fingerprints of a tokenizer object change
when it is called, and a cache keyed by them misses (datasets#5985).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.data.types import texts_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FORMAT = 1
_BATCH = 1000


class TokenizedTexts:
    """Token ids of many texts in one flat array.

    Args:
        ids: int32, all ids one after the other.
        offsets: int64 of shape ``(texts + 1,)``: text i is ``ids[offsets[i]:offsets[i + 1]]``.
        index: Which texts this view holds, in order; None for all.
    """

    def __init__(self, ids: np.ndarray, offsets: np.ndarray, index: np.ndarray | None = None) -> None:
        self._ids, self._offsets = ids, offsets
        self._index = np.arange(len(offsets) - 1) if index is None else np.asarray(index)
        #: Tokens of each text, special ones included.
        self.lengths: np.ndarray = np.diff(offsets)[self._index]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> np.ndarray:
        i = self._index[position]
        return self._ids[self._offsets[i] : self._offsets[i + 1]]

    def take(self, index: np.ndarray) -> TokenizedTexts:
        """Return a view of some texts, in the order of ``index``."""
        return TokenizedTexts(self._ids, self._offsets, self._index[index])


def default_cache_dir() -> Path:
    """Return where tokenised texts are kept: ``TUNEBENCH_CACHE``, or the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("TUNEBENCH_CACHE") or Path(root) / "tunebench")


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash what decides the ids; truncation and padding, which calls change, are left out."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state: Any = json.loads(backend.to_str())
        state["truncation"] = state["padding"] = None
    else:
        state = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    special = sorted((k, str(v)) for k, v in tokenizer.special_tokens_map.items())
    return hashlib.sha256(json.dumps([state, special], sort_keys=True).encode()).hexdigest()[:32]


def tokenize(
    texts: list[str],
    *,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_fingerprint: str,
    max_length: int,
    cache_dir: Path | None,
) -> TokenizedTexts:
    """Tokenise texts, keeping the first ``max_length`` tokens, special ones included.

    Args:
        texts: The texts.
        tokenizer: The model's tokenizer.
        tokenizer_fingerprint: From :func:`tokenizer_fingerprint`.
        max_length: Longest result.
        cache_dir: Where to keep the result; None keeps nothing.

    Returns:
        Ids, memory-mapped where they are kept. A damaged cache is made anew.
    """
    if cache_dir is None:
        return TokenizedTexts(*_run(texts, tokenizer, max_length))
    key = hashlib.sha256(texts_digest(texts))
    key.update(f"|{tokenizer_fingerprint}|{max_length}|{_FORMAT}".encode())
    folder = cache_dir / "tokens" / key.hexdigest()[:32]
    cached = _read(folder, len(texts))
    if cached is None:
        ids, offsets = _run(texts, tokenizer, max_length)
        _write(folder, ids, offsets)
        cached = _read(folder, len(texts)) or TokenizedTexts(ids, offsets)
    return cached


def _run(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    rows: list[list[int]] = []
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer(texts[start : start + _BATCH], truncation=True, max_length=max_length)
        rows += batch["input_ids"]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(offsets[-1]))
    return ids, offsets


def _write(folder: Path, ids: np.ndarray, offsets: np.ndarray) -> None:
    """Write beside the place and move there; whoever comes second finds it done."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    np.save(temporary / "ids.npy", ids, allow_pickle=False)
    np.save(temporary / "offsets.npy", offsets, allow_pickle=False)
    try:
        os.replace(temporary, folder)
    except OSError:
        if _read(folder, len(offsets) - 1) is None:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
    shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path, texts: int) -> TokenizedTexts | None:
    try:
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    sound = (
        offsets.shape == (texts + 1,)
        and offsets.dtype == np.int64
        and ids.dtype == np.int32
        and offsets[0] == 0
        and offsets[-1] == len(ids)
        and bool((np.diff(offsets) >= 0).all())
    )
    return TokenizedTexts(ids, offsets) if sound else None
