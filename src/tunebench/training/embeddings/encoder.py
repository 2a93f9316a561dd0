"""A frozen encoder as a function from texts to vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunebench.data.tokenizer import special_tokens, whole_ids
from tunebench.data.tokens import make_cut
from tunebench.engine.batching import Collator, batches_by_length, rounded_up
from tunebench.engine.fast.attach import attach
from tunebench.engine.flops import Work, Workload, count
from tunebench.machine.devices import compute_type
from tunebench.machine.random_state import kept_random_state
from tunebench.models.architectures import architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.reference import Pooling
from tunebench.models.weights import SINGLE_LABEL
from tunebench.recipe import Precision

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

#: Windows in a batch whose shape is fixed.
FIXED_BATCH = 16


class Embedder:
    """Gives each text a vector: its pooled last hidden states.

    The encoder computes in fp32 until :meth:`compute_in` says otherwise; pooling is in fp32 always.

    A text with more than ``max_length`` tokens is cut into windows: as few as hold it, of equal length to within
    a token, one after the other, each between the special tokens. Its vector is the mean of theirs, each counted
    by its tokens.

    Methods may be called from several threads.

    Args:
        encoder: A Transformers encoder, without a head.
        tokenizer: Its tokenizer, which from then on is the embedder's own.
        pooling: ``mean`` over all tokens, or the ``first`` one.
        max_length: Most tokens that go through the encoder at once, special ones included.
        normalised: Give all vectors the length 1.
        windows: Read whole texts; otherwise the first ``max_length`` tokens of each.
        device: Where to compute.
    """

    def __init__(
        self,
        encoder: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: Pooling,
        max_length: int,
        normalised: bool = True,
        windows: bool = True,
        device: str = "cpu",
    ) -> None:
        self.encoder = encoder.eval().requires_grad_(False).to(device)
        self.precision: Precision = "fp32"
        self._autocast: torch.dtype | None = None
        self.tokenizer, self.pooling, self.max_length = tokenizer, pooling, max_length
        self.normalised, self.windows, self.device = normalised, windows, device
        self._before, self._after = special_tokens(tokenizer)
        #: Of texts read in part.
        self.cut = make_cut(tokenizer, max_length, "head", 0.0)
        config: Any = encoder.config
        self.width = int(config.hidden_size)
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._pad_id = int(pad_id)
        # Ends the tokenizer's own truncation: from now on no call changes it, so threads may share it.
        self.tokens(["a"])

    def compute_in(self, precision: Precision) -> None:
        """Compute the encoder's matrix products in this precision from now on.

        On a CPU, bf16 goes with the fast layers. Call it once, before any text is embedded.
        """
        dtype = compute_type(precision, self.device)
        if dtype == torch.float32:
            return
        self.precision = precision
        layers, first = architecture_of(self.encoder.config).of_encoder(), self.pooling == "first"
        _, self._autocast = attach(self.encoder, layers, dtype, seed=0, first_token_only=first)

    @property
    def parameters(self) -> int:
        """Number of the encoder's parameters."""
        return sum(parameter.numel() for parameter in self.encoder.parameters())

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text as they are read, int64: of whole texts all."""
        found = [np.asarray(row, dtype=np.int64) for row in whole_ids(self.tokenizer, texts)]
        return found if self.windows else [self.cut.of(row) for row in found]

    def windows_of(self, row: np.ndarray) -> list[np.ndarray]:
        """Return the windows of one text's token ids, special tokens included."""
        if len(row) <= self.max_length:
            return [row]
        before, after = row[: self._before], row[len(row) - self._after :]
        inner = row[self._before : len(row) - self._after]
        count = math.ceil(len(inner) / (self.max_length - len(before) - len(after)))
        return [np.concatenate([before, part, after]) for part in np.array_split(inner, count)]

    def vectors(self, rows: Sequence[np.ndarray], *, batch_tokens: int = 8192, fixed: bool = False) -> np.ndarray:
        """Return the vectors of token ids that :meth:`tokens` gave, fp32 ``(texts, width)``.

        Args:
            rows: Token ids of each text.
            batch_tokens: Tokens a batch, padding included.
            fixed: Make batches whose shape depends on nothing but a window's length. A text's vector is then
                bit-identical, whatever is computed with it.
        """
        windows = [self.windows_of(row) for row in rows]
        owner = np.repeat(np.arange(len(rows)), [len(parts) for parts in windows])
        flat = [part for parts in windows for part in parts]
        lengths = np.array([len(part) for part in flat], dtype=np.int64)
        states = np.empty((len(flat), self.width))
        for chosen, width in _batches(lengths, self.max_length, batch_tokens=batch_tokens, fixed=fixed):
            states[chosen] = self._pooled([flat[i] for i in chosen], width)
        total, tokens = np.zeros((len(rows), self.width)), np.zeros(len(rows))
        np.add.at(total, owner, states * lengths[:, None])
        np.add.at(tokens, owner, lengths)
        total /= np.maximum(tokens, 1)[:, None]
        if self.normalised:
            total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return total.astype(np.float32)

    def _pooled(self, rows: Sequence[np.ndarray], width: int | None) -> np.ndarray:
        batch = Collator(pad_id=self._pad_id, length=width).pad(rows)
        ids, mask = (batch[name].to(self.device) for name in ("input_ids", "attention_mask"))
        autocast = torch.autocast(self.device, dtype=self._autocast, enabled=self._autocast is not None)
        with torch.inference_mode(), autocast:
            states: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            if self.pooling == "first":
                pooled = states[:, 0]
            else:
                counted = mask.float().unsqueeze(-1)
                pooled = (states * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        return np.asarray(pooled.cpu().numpy(), dtype=np.float64)


def _batches(
    lengths: np.ndarray, max_length: int, *, batch_tokens: int, fixed: bool
) -> Iterator[tuple[np.ndarray, int | None]]:
    """Cut windows into batches.

    Yields:
        Positions, and the width to pad to; None for that of the longest. In batches of a fixed shape the last
        window fills up.
    """
    if not fixed:
        yield from ((chosen, None) for chosen in batches_by_length(lengths, batch_tokens=batch_tokens))
        return
    widths = fixed_widths(lengths, max_length)
    for width in np.unique(widths)[::-1].tolist():
        members = np.flatnonzero(widths == width)
        for start in range(0, len(members), FIXED_BATCH):
            batch = members[start : start + FIXED_BATCH]
            yield np.concatenate([batch, np.repeat(batch[-1:], FIXED_BATCH - len(batch))]), width


def fixed_widths(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """Return the widths to which windows are padded in batches of a fixed shape."""
    return np.array([min(rounded_up(max(1, n)), max_length) for n in lengths.tolist()], dtype=np.int64)


def load_encoder(
    folder: Path, label_names: Sequence[str], problem_type: str = SINGLE_LABEL
) -> tuple[Any, Workload]:
    """Return a model's encoder in fp32, without the pooler that some families put on it, and what it computes.

    The random generators are as before afterwards: a classifier is loaded, whose head is drawn and dropped.

    Raises:
        ModelError: The weights do not fit the configuration, or parts of the encoder are missing.
    """
    with kept_random_state():
        model = load_classifier(folder, label_names=label_names, problem_type=problem_type)
    architecture = architecture_of(model.config)
    workload = replace(count(model, architecture), head=Work())
    encoder: Any = model.get_submodule(architecture.encoder)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder, workload
