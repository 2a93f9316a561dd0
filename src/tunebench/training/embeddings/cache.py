"""Embeddings on disk: each text goes through the encoder once, whatever run, size or seed asks for it.

They lie in the cache folder, by the model's fingerprint, pooling, ``max_length``, precision and the text's tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch

from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.frozen_cache import PrefixStore, text_key
from tunebench.errors import StoreError
from tunebench.files import default_cache_dir, read_json, write_json
from tunebench.training.embeddings.encoder import Embedder
from tunebench.training.linear.vectors import Embedded, Look

_LOG = logging.getLogger(__name__)
#: Part of the key; raised when what is written changes.
_FORMAT = 1
#: Tokens that are computed before they are written, roughly: what an interruption loses at most.
_SLICE = 100_000
#: Only the free space on the disk limits the cache.
_NO_LIMIT = 1 << 62
_SPEED = "pace.json"


class EmbeddingCache:
    """The embeddings of one model in one way.

    Args:
        embedder: Computes what is missing.
        fingerprint: Of the model.
        folder: Where all embeddings are kept; the cache folder by default.
    """

    def __init__(self, embedder: Embedder, fingerprint: str, *, folder: Path | None = None) -> None:
        self.embedder = embedder
        key = [_FORMAT, fingerprint, embedder.pooling, embedder.max_length]
        if embedder.precision != "fp32":
            key.append(embedder.precision)
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        place = (folder or default_cache_dir() / "embeddings") / name
        self._store = PrefixStore(
            place, width=embedder.width, dtype=torch.float32, rows_per_text=1, limit=_NO_LIMIT
        )

    def embed(self, texts: TokenizedTexts, look: Look = lambda done, total: None) -> Embedded:
        """Return the vectors of whole texts; what is missing is computed and kept.

        Texts that were there already count at the fastest speed at which texts were computed.
        Where the cache cannot be written, nothing is kept.

        Args:
            texts: Token ids of whole texts.
            look: Told of the progress; may raise, and then what was written stays.
        """
        tokens, begin = int(texts.lengths.sum()), time.monotonic()
        try:
            computed = self._fill(texts, look)
            if computed is not None:
                found = self._store.get([text_key(texts[i]) for i in range(len(texts))])
                if found is not None:
                    vectors = torch.cat(found).numpy()
                    return Embedded(vectors, computed, self._seconds(tokens, time.monotonic() - begin))
            reason = "too little free space"
        except OSError as error:
            reason = str(error)
        _LOG.warning("The cache of embeddings cannot be written (%s); going on without it.", reason)
        begin = time.monotonic()
        vectors = self.embedder.vectors([texts[i] for i in range(len(texts))], fixed=True)
        return Embedded(vectors, len(texts), time.monotonic() - begin)

    def _fill(self, texts: TokenizedTexts, look: Look) -> int | None:
        """Compute and write what is missing, and return how many texts that were; None where they do not fit."""

        def compute(rows: object) -> torch.Tensor:
            return torch.from_numpy(self.embedder.vectors(rows, fixed=True))  # type: ignore[arg-type]

        missing, done = self._store.missing(texts), 0
        look(0, len(missing))
        cuts = np.flatnonzero(np.diff(np.cumsum(texts.lengths[missing]) // _SLICE)) + 1
        for some in np.split(missing, cuts) if len(missing) else ():
            part = texts.take(some)
            begin = time.monotonic()
            # One batch: the embedder makes its own.
            lengths = self._store.fill(part, compute, batch_tokens=_NO_LIMIT)
            if lengths is None:
                return None
            self._keep_speed(int(lengths.sum()), time.monotonic() - begin)
            done += len(part)
            look(done, len(missing))
        return done

    def _keep_speed(self, tokens: int, seconds: float) -> None:
        """Keep the fastest speed so far: the others were slowed down by something else."""
        taken, before = seconds / max(1, tokens), self._seconds_per_token()
        if before is None or taken < before:
            write_json(self._store.folder / _SPEED, {"seconds_per_token": taken})

    def _seconds_per_token(self) -> float | None:
        """Return the seconds a token that computing took; None where none is known."""
        try:
            return float(read_json(self._store.folder / _SPEED)["seconds_per_token"])
        except (StoreError, KeyError, TypeError, ValueError):
            return None

    def _seconds(self, tokens: int, spent: float) -> float:
        fastest = self._seconds_per_token()
        return spent if fastest is None else max(spent, tokens * fastest)
