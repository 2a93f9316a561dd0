"""A cache on disk of the frozen layers' outputs, computed once per text.

A text is known by its token ids, so runs that share a prefix share its states whatever their subset,
length limit or truncation. States lie in shards that are written once, by rename, and mapped into
memory afterwards; no shard is ever changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunebench.data.pair_rows import TokenRows
from tunebench.files import is_regular

#: Free space on the disk that stays untouched.
_RESERVE = 200 * 2**20
#: Bytes of states in a shard, roughly: what an interruption loses at most.
_SHARD = 256 * 2**20
#: numpy has no bfloat16; its bits are kept as integers.
_STORED = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.int16}

#: Computes states of a batch of texts, given as rows of ids: a tensor ``(rows of all texts, width)`` in
#: the order of the texts, without padding.
Compute = Callable[[Sequence[np.ndarray]], Tensor]


def text_key(ids: np.ndarray) -> bytes:
    """Return 16 bytes that stand for a text's token ids."""
    return hashlib.blake2b(np.ascontiguousarray(ids, dtype=np.int32).data, digest_size=16).digest()


class PrefixStore:
    """The states of one prefix.

    Args:
        folder: Where its shards lie; the folders beside it belong to other prefixes.
        width: Size of a hidden state.
        dtype: Its type, as the engine computes it.
        rows_per_text: States a text; ``None`` for one a token.
        limit: Bytes that all prefixes beside this one may take together.
    """

    def __init__(
        self, folder: Path, *, width: int, dtype: torch.dtype, rows_per_text: int | None, limit: int
    ) -> None:
        self.folder, self.limit = folder, limit
        self.width, self.dtype, self.rows_per_text = width, dtype, rows_per_text
        self._places: dict[bytes, tuple[np.ndarray, int, int]] = {}
        self._read: set[str] = set()

    def __len__(self) -> int:
        return len(self._places)

    def bytes_of(self, lengths: np.ndarray) -> int:
        """Return the bytes that texts of these lengths take, in tokens."""
        rows = len(lengths) * self.rows_per_text if self.rows_per_text else int(np.sum(lengths))
        return rows * self.width * self.dtype.itemsize

    def get(self, keys: Iterable[bytes]) -> list[Tensor] | None:
        """Return the states of texts, each ``(rows, width)``; ``None`` unless all of them are here."""
        found = []
        for key in keys:
            place = self._places.get(key)
            if place is None:
                return None
            states, start, stop = place
            # A copy: a mapped array cannot be written, and torch has no read-only tensors.
            part = torch.from_numpy(states[start:stop].copy())
            found.append(part.view(self.dtype) if self.dtype == torch.bfloat16 else part)
        return found

    def missing(self, texts: TokenRows) -> np.ndarray:
        """Return positions of texts whose states are not here, one of each, the longest first."""
        self._refresh()
        found: dict[bytes, int] = {}
        for i in np.argsort(-texts.lengths, kind="stable"):
            key = text_key(texts[i])
            if key not in self._places:
                found.setdefault(key, int(i))
        return np.array(list(found.values()), dtype=np.int64)

    def fill(
        self,
        texts: TokenRows,
        compute: Compute,
        *,
        batch_tokens: int = 8192,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray | None:
        """Compute and write what is missing; of several processes one works and the others wait.

        Args:
            texts: The texts.
            compute: Gives the states of a batch.
            batch_tokens: Tokens a batch, padding included.
            on_batch: Called with texts done and in all; may raise, and then whole shards stay.

        Returns:
            Lengths of the texts that were computed here; ``None`` when they would not fit, and then
            nothing was computed.

        Raises:
            OSError: The folder cannot be written.
        """
        from filelock import FileLock

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            wanted = self.missing(texts)
            lengths = texts.lengths[wanted]
            need = self.bytes_of(lengths)
            free = shutil.disk_usage(self.folder.parent).free - _RESERVE
            if len(wanted) and need > min(free, self.limit - _size(self.folder.parent)):
                return None
            done = 0
            for part in _in_shards(wanted, texts.lengths, self.bytes_of):
                done = self._write_shard(part, texts, compute, batch_tokens, on_batch, done, len(wanted))
            self._refresh()
        return np.asarray(lengths)

    def _write_shard(
        self,
        rows: np.ndarray,
        texts: TokenRows,
        compute: Compute,
        batch_tokens: int,
        on_batch: Callable[[int, int], None],
        done: int,
        total: int,
    ) -> int:
        counts = np.full(len(rows), self.rows_per_text) if self.rows_per_text else texts.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        temporary = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        try:
            shape = (int(offsets[-1]), self.width)
            states = np.lib.format.open_memmap(
                temporary / "states.npy", mode="w+", dtype=_STORED[self.dtype], shape=shape
            )
            start = 0
            while start < len(rows):
                stop = start + max(1, batch_tokens // max(1, int(texts.lengths[rows[start]])))
                batch = [texts[i] for i in rows[start:stop]]
                found = compute(batch).detach().to("cpu", self.dtype)
                plain = found.view(torch.int16) if self.dtype == torch.bfloat16 else found
                states[offsets[start] : offsets[min(stop, len(rows))]] = plain.numpy()
                start = min(stop, len(rows))
                on_batch(done + start, total)
            checksum = _checksum(states)
            states.flush()
            del states
            keys = np.frombuffer(b"".join(text_key(texts[i]) for i in rows), dtype=np.uint8).reshape(-1, 16)
            np.save(temporary / "keys.npy", keys, allow_pickle=False)
            np.save(temporary / "offsets.npy", offsets, allow_pickle=False)
            marks = {"states": checksum, "keys": _checksum(keys), "offsets": _checksum(offsets)}
            (temporary / "checksums.json").write_text(json.dumps(marks), encoding="utf-8")
            self.folder.mkdir(exist_ok=True)
            os.replace(temporary, self.folder / f"shard-{keys[0].tobytes().hex()}")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return done + len(rows)

    def _refresh(self) -> None:
        """Map shards that were not there the last time; damaged ones are removed."""
        for path in sorted(self.folder.glob("shard-*")):
            if path.name in self._read:
                continue
            try:
                self._map(path)
            except Exception:  # NumPy's reader of a damaged header raises errors without a common base
                shutil.rmtree(path, ignore_errors=True)
            else:
                self._read.add(path.name)

    def _map(self, path: Path) -> None:
        if not all(is_regular(path / name) for name in ("keys.npy", "offsets.npy", "states.npy", "checksums.json")):
            raise ValueError("a shard is no regular file")
        keys, offsets = (np.load(path / f"{name}.npy", allow_pickle=False) for name in ("keys", "offsets"))
        states: Any = np.load(path / "states.npy", mmap_mode="r", allow_pickle=False)
        marks = json.loads((path / "checksums.json").read_text(encoding="utf-8"))
        arrays = {"states": states, "keys": keys, "offsets": offsets}
        if any(_checksum(array) != marks[name] for name, array in arrays.items()):
            raise ValueError("a shard is not what was written")
        if states.shape != (int(offsets[-1]), self.width) or states.dtype != _STORED[self.dtype]:
            raise ValueError("a shard holds something else")
        plain = np.asarray(states)
        for key, start, stop in zip(keys, offsets[:-1], offsets[1:], strict=True):
            self._places[key.tobytes()] = (plain, int(start), int(stop))


def _in_shards(rows: np.ndarray, lengths: np.ndarray, size: Callable[[np.ndarray], int]) -> Iterable[np.ndarray]:
    """Cut rows into runs of about :data:`_SHARD` bytes."""
    start = 0
    while start < len(rows):
        stop, taken = start, 0
        while stop < len(rows) and (stop == start or taken < _SHARD):
            taken += size(lengths[rows[stop : stop + 1]])
            stop += 1
        yield rows[start:stop]
        start = stop


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; one that vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
