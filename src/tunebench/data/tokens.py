"""Tokenised texts: made once per tokenizer, kept whole on disk, mapped into memory, cut when read.

The cache has its own key (texts, tokenizer content): a tokenizer object changes when it is called, and
a cache keyed by the object misses (datasets#5985). One entry serves every maximum length and every
truncation, and the data audit, since a cut only drops ids.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from tunebench.data.pair_rows import PairCut, TokenizedPairs, TokenRows, pair_form
from tunebench.data.text import Text, by_side
from tunebench.data.tokenizer import special_tokens, undisturbed, whole_ids
from tunebench.data.types import texts_digest
from tunebench.errors import ModelError
from tunebench.files import is_regular

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)
#: Part of the key; raised when what is written changes.
_FORMAT = 2
#: Texts, and about how many characters, that are tokenised together: a token takes some hundred bytes meanwhile.
_BATCH, _BATCH_CHARACTERS = 1000, 1 << 18


@dataclass(frozen=True)
class Cut:
    """What is kept of a text with more than ``first + last`` ids: this many from either end.

    Special tokens stand at the ends, so keeping them means counting them in.
    """

    first: int
    last: int

    @property
    def length(self) -> int:
        """The most ids that are kept of a text."""
        return self.first + self.last

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return what is kept of one text's ids; of a short text all, not copied."""
        if len(ids) <= self.length:
            return ids
        return np.concatenate([ids[: self.first], ids[len(ids) - self.last :]])


class TokenizedTexts:
    """Token ids of many texts in one flat array.

    Args:
        ids: int32, all ids one after the other.
        offsets: int64 of shape ``(texts + 1,)``: text i is ``ids[offsets[i]:offsets[i + 1]]``.
        index: Which texts this view holds, in order; ``None`` for all.
        cut: How texts that are too long are shortened; ``None`` leaves all as they are.
    """

    def __init__(
        self, ids: np.ndarray, offsets: np.ndarray, index: np.ndarray | None = None, cut: Cut | None = None
    ) -> None:
        # As a plain array: slices of numpy's memmap class are several times slower to make.
        self._ids, self._offsets, self._cut = np.asarray(ids), offsets, cut
        self._index = np.arange(len(offsets) - 1) if index is None else np.asarray(index, dtype=np.int64)
        whole = np.diff(offsets)[self._index]
        #: int64 of shape ``(texts,)``: tokens of each text, special ones included.
        self.lengths: np.ndarray = whole if cut is None else np.minimum(whole, cut.length)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> np.ndarray:
        i = self._index[position]
        ids = self._ids[self._offsets[i] : self._offsets[i + 1]]
        return ids if self._cut is None else self._cut.of(ids)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and offsets of all texts this is a view of, uncut."""
        return self._ids, self._offsets

    def take(self, index: np.ndarray) -> TokenizedTexts:
        """Return a view of some texts, in the order of ``index``; no ids are copied."""
        return TokenizedTexts(self._ids, self._offsets, self._index[index], self._cut)

    def shortened(self, cut: Cut) -> TokenizedTexts:
        """Return a view of the same texts, cut; no ids are copied.

        Raises:
            ValueError: These are cut already.
        """
        if self._cut is not None:
            raise ValueError("texts that were cut cannot be cut again: what was dropped is not there")
        return TokenizedTexts(self._ids, self._offsets, self._index, cut)


#: What :func:`preload` was given.
_PRELOADED: dict[str, TokenizedTexts] = {}


def preload(entries: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Have texts tokenised from now on in this process, made elsewhere.

    Args:
        entries: By :func:`texts_key`: :attr:`TokenizedTexts.arrays` of whole texts. They replace earlier ones.
    """
    _PRELOADED.clear()
    _PRELOADED.update({key: TokenizedTexts(*arrays) for key, arrays in entries.items()})


def texts_key(texts: Sequence[str], fingerprint: str) -> str:
    """Return 32 hex digits by which tokenised texts are known.

    Args:
        texts: The texts.
        fingerprint: Of the tokenizer.
    """
    key = hashlib.sha256(texts_digest(texts))
    # "None" is the maximum length that entries used to be cut at; whole ones stay valid.
    key.update(f"{fingerprint}|None|{_FORMAT}".encode())
    return key.hexdigest()[:32]


def tokenize(
    texts: Sequence[Text],
    *,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_fingerprint: str,
    max_length: int | None,
    cache_dir: Path | None,
    truncation: Literal["head", "tail", "head_tail"] = "head",
    head_share: float = 0.25,
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenRows:
    """Tokenise texts, keeping at most ``max_length`` tokens of each, special ones included.

    Args:
        texts: The texts. Of pairs either side is tokenised, and kept, as texts of its own.
        tokenizer: The model's tokenizer; it is left as it is.
        tokenizer_fingerprint: From :func:`tokenizer_fingerprint`.
        max_length: Longest result; ``None`` cuts nothing, as the audit needs it.
        cache_dir: Where to keep the result; ``None`` keeps nothing. Several processes may share it: the
            first one works, the others wait and read. Where it cannot be written, nothing is kept.
        truncation: Which end of a text that is too long is kept, or some of both; of both texts of a pair one end,
            and of the longer text less.
        head_share: Under ``head_tail``, the share of the kept tokens (special ones not counted) that
            comes from the beginning, rounded to whole tokens.
        on_progress: Called with texts done and texts in all.

    Returns:
        Ids, memory-mapped where they are kept. A damaged entry is made anew.

    Raises:
        ModelError: The tokenizer adds special tokens elsewhere than at the ends and between two texts, or more
            than fit.
    """
    whole = [
        whole_tokens(side, tokenizer, tokenizer_fingerprint, cache_dir, on_progress) for side in by_side(texts)
    ]
    if len(whole) == 2:
        form = pair_form(tokenizer, special_tokens(tokenizer))
        cut = None if max_length is None else PairCut(form.room(max_length), tail=truncation == "tail")
        return TokenizedPairs(whole[0], whole[1], form, cut)
    if max_length is None:
        return whole[0]
    return whole[0].shortened(make_cut(tokenizer, max_length, truncation, head_share))


def make_cut(
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    truncation: Literal["head", "tail", "head_tail"],
    head_share: float,
) -> Cut:
    """Return how a tokenizer's texts are shortened; for the arguments and errors see :func:`tokenize`."""
    before, after = special_tokens(tokenizer)
    room = max_length - before - after
    if room < 1:
        raise ModelError(
            "The maximum length leaves no room besides the special tokens.",
            value=max_length,
            allowed=f"at least {before + after + 1}",
            fix="raise max_length",
        )
    first = {"head": room, "tail": 0, "head_tail": round(head_share * room)}[truncation]
    return Cut(before + first, room - first + after)


def whole_tokens(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    fingerprint: str,
    cache_dir: Path | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenizedTexts:
    """Tokenise single texts, uncut; for the arguments see :func:`tokenize`."""
    if cache_dir is None and not _PRELOADED:
        return TokenizedTexts(*_run(texts, tokenizer, on_progress))
    key = texts_key(texts, fingerprint)
    if key in _PRELOADED:
        return _PRELOADED[key]
    if cache_dir is None:
        return TokenizedTexts(*_run(texts, tokenizer, on_progress))
    folder = cache_dir / "tokens" / key
    cached = _read(folder, len(texts))
    return cached or _fill(folder, texts, tokenizer, on_progress)


def _fill(
    folder: Path,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    on_progress: Callable[[int, int], None] | None,
) -> TokenizedTexts:
    """Make an entry under a lock, unless another process has meanwhile; its ids are never in memory as a whole."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            cached = _read(folder, len(texts))
            if cached is not None:
                return cached
            # Closed also where writing fails: the tokenizer is as it was before the texts are tokenised again.
            with closing(_tokenized(texts, tokenizer, on_progress)) as tokenized:
                _write(folder, tokenized)
            return TokenizedTexts(*_arrays(folder))
    except OSError as error:
        _LOG.warning("The token cache cannot be written (%s). The study continues without it.", error)
        return TokenizedTexts(*_run(texts, tokenizer, on_progress))


def _run(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    ids: list[np.ndarray] = []
    lengths: list[int] = [0]
    for some_ids, some_lengths in _tokenized(texts, tokenizer, on_progress):
        ids.append(some_ids)
        lengths += some_lengths
    return _joined(ids), np.cumsum(lengths, dtype=np.int64)


def _tokenized(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    on_progress: Callable[[int, int], None] | None,
) -> Generator[tuple[np.ndarray, list[int]], None, None]:
    """Yield the ids of some texts after the other in one flat array, and how many each text has."""
    with undisturbed(tokenizer):
        for start, end in _batches(texts):
            rows = whole_ids(tokenizer, texts[start:end])
            lengths = [len(row) for row in rows]
            # One flat array a batch: lists of Python integers would take ten times the room.
            yield np.fromiter(itertools.chain.from_iterable(rows), np.int32, sum(lengths)), lengths
            if on_progress is not None:
                on_progress(end, len(texts))


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where batches start and end; many short texts, or few long ones."""
    start = characters = 0
    for place, text in enumerate(texts):
        characters += len(text)
        if place + 1 - start == _BATCH or characters >= _BATCH_CHARACTERS or place + 1 == len(texts):
            yield start, place + 1
            start, characters = place + 1, 0


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Join arrays of int32, and give up each as soon as it is copied: all of them twice would be the peak."""
    whole = np.empty(sum(map(len, parts)), dtype=np.int32)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def _write(folder: Path, tokenized: Iterable[tuple[np.ndarray, list[int]]]) -> None:
    """Write beside the place, then move there; called under the entry's lock."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    digest, lengths = hashlib.sha256(), [0]
    try:
        with (temporary / "ids.npy").open("wb") as file:
            _write_header(file, 0)
            for some_ids, some_lengths in tokenized:
                file.write(some_ids.data)
                digest.update(some_ids.data)
                lengths += some_lengths
            offsets = np.cumsum(lengths, dtype=np.int64)
            file.seek(0)
            _write_header(file, int(offsets[-1]))
        np.save(temporary / "offsets.npy", offsets, allow_pickle=False)
        digest.update(offsets.data)
        (temporary / "sha256").write_text(digest.hexdigest())
        # Only a damaged entry can be in the way.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_header(file: BinaryIO, count: int) -> None:
    """Write how a file of int32 begins; NumPy leaves room in it for any count, so that it can be written again."""
    header = {"descr": np.dtype(np.int32).str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)


def _arrays(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, of which nothing is read yet, and offsets of an entry."""
    ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
    return ids, np.load(folder / "offsets.npy", allow_pickle=False)


def _read(folder: Path, texts: int) -> TokenizedTexts | None:
    """Return an entry, or ``None`` where it is missing or not what was written."""
    if not all(is_regular(folder / name) for name in ("offsets.npy", "ids.npy", "sha256")):
        return None
    try:
        ids, offsets = _arrays(folder)
        expected = (folder / "sha256").read_text()
    except Exception:
        # NumPy's reader of a damaged header raises errors without a common base, Python's tokenizer's among them.
        return None
    sound = offsets.shape == (texts + 1,) and offsets.dtype == np.int64 and ids.dtype == np.int32
    return TokenizedTexts(ids, offsets) if sound and _checksum(ids, offsets) == expected else None


def _checksum(ids: np.ndarray, offsets: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(ids).data)
    digest.update(np.ascontiguousarray(offsets).data)
    return digest.hexdigest()
