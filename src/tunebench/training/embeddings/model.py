"""Embeddings of an encoder and a linear function of them, as one model of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tunebench.data.text import Text
from tunebench.data.tokens import Cut
from tunebench.tasks.base import Task
from tunebench.training.embeddings.encoder import Embedder, load_encoder
from tunebench.training.embeddings.pairs import encode_rows, features_of_rows
from tunebench.training.linear.heads import LinearHead, read_arrays, stored_head, write_arrays

_FACTS = ("pooling", "max_length", "normalised", "windows")


@dataclass(frozen=True, eq=False)
class EmbeddedText:
    """A linear classifier of embeddings.

    Attributes:
        embedder: Gives the embeddings.
        head: The function of the embeddings.
    """

    embedder: Embedder
    head: LinearHead

    features_name: ClassVar[str] = "embeddings"

    @property
    def max_length(self) -> int | None:
        """Most tokens that are read of a text; None where whole texts are."""
        return None if self.embedder.windows else self.embedder.max_length

    @property
    def cut(self) -> Cut | None:
        """Which tokens of a longer text are read; None where whole texts are."""
        return None if self.embedder.windows else self.embedder.cut

    def use_bf16(self) -> bool:
        """Compute the encoder's products in bf16 from now on."""
        self.embedder.compute_in("bf16")
        return True

    def encode(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return the token ids that are read of each text, or of both texts of each pair; int64."""
        return encode_rows(texts, self.embedder.tokens)

    def logits_of(self, rows: Sequence[np.ndarray], *, batch_tokens: int) -> np.ndarray:
        """Return the fp32 logits ``(texts, classes)`` of what :meth:`encode` gave."""
        vectors = partial(self.embedder.vectors, batch_tokens=batch_tokens)
        return self.head.logits(features_of_rows(rows, vectors))

    def export(self, folder: Path, weights: str) -> dict[str, Any]:
        """Write encoder, tokenizer and regression into a folder, and return what else it takes to read them."""
        embedder: Any = self.embedder
        embedder.encoder.save_pretrained(folder)
        embedder.tokenizer.model_max_length = embedder.max_length
        embedder.tokenizer.save_pretrained(folder)
        write_arrays(folder / weights, self.head.arrays)
        return {name: getattr(embedder, name) for name in _FACTS}

    @classmethod
    def read_export(
        cls, folder: Path, weights: str, facts: Mapping[str, Any], *, task: Task, device: str
    ) -> EmbeddedText:
        """Read what :meth:`export` wrote.

        Raises:
            StoreError: The weights are missing or damaged.
            ModelError: The encoder or its tokenizer is.
        """
        from tunebench.models.tokenizer import load_tokenizer

        head = stored_head(read_arrays(folder / weights, ("coefficients", "intercepts")), task)
        encoder, _ = load_encoder(folder, ("0", "1"))
        options = {name: facts[name] for name in _FACTS}
        return cls(Embedder(encoder, load_tokenizer(folder), device=device, **options), head)
