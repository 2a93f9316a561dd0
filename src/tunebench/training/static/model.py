"""Static embeddings and a linear function of them, as one model of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tunebench.data.text import Text
from tunebench.data.tokens import Cut
from tunebench.tasks.base import Task
from tunebench.training.embeddings.pairs import encode_rows, features_of_rows
from tunebench.training.linear.heads import LinearHead, read_arrays, stored_head, write_arrays
from tunebench.training.static.table import StaticTable


@dataclass(frozen=True, eq=False)
class StaticText:
    """A linear classifier of static embeddings.

    Attributes:
        table: Gives the embeddings.
        head: The function of the embeddings.
    """

    table: StaticTable
    head: LinearHead

    #: Whole texts are read.
    max_length: ClassVar[int | None] = None
    cut: ClassVar[Cut | None] = None
    features_name: ClassVar[str] = "static"

    def use_bf16(self) -> bool:
        """Return False: nothing here computes in bf16."""
        return False

    def encode(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return the token ids of each text, or of both texts of each pair; int64."""
        return encode_rows(texts, self.table.tokens)

    def logits_of(self, rows: Sequence[np.ndarray], *, batch_tokens: int) -> np.ndarray:
        """Return the fp32 logits ``(texts, classes)`` of what :meth:`encode` gave."""
        return self.head.logits(features_of_rows(rows, self.table.embed))

    def export(self, folder: Path, weights: str) -> dict[str, Any]:
        """Write table, tokenizer and linear function into a folder; reading them takes nothing else."""
        self.table.tokenizer.save_pretrained(folder)
        write_arrays(folder / weights, {"vectors": self.table.vectors} | self.head.arrays)
        return {}

    @classmethod
    def read_export(
        cls, folder: Path, weights: str, facts: Mapping[str, Any], *, task: Task, device: str
    ) -> StaticText:
        """Read what :meth:`export` wrote; it computes on the CPU, whatever the device.

        Raises:
            StoreError: The weights are missing or damaged.
            ModelError: The tokenizer is.
        """
        from tunebench.models.tokenizer import load_tokenizer

        arrays = read_arrays(folder / weights, ("vectors", "coefficients", "intercepts"))
        table = StaticTable(arrays["vectors"], load_tokenizer(folder, rows=len(arrays["vectors"])))
        return cls(table, stored_head(arrays, task))
