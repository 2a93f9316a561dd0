"""Batches: which texts go together, and how they are padded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tunebench.data.pair_rows import split_segments
from tunebench.engine import process_group

if TYPE_CHECKING:
    from tunebench.data.pair_rows import TokenRows

#: Batches whose texts are sorted together where they are grouped by length.
GROUPED = 50


class TokenDataset(Dataset[dict[str, object]]):
    """Tokenised texts with labels, as the Trainer wants them.

    Args:
        texts: The tokenised texts.
        labels: A row a text.
        targets: What the loss is given of each text; by default its label.
    """

    def __init__(self, texts: TokenRows, labels: np.ndarray, targets: np.ndarray | None = None) -> None:
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts but {len(labels)} labels")
        self.texts, self.labels = texts, labels
        self._targets = labels if targets is None else targets

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"input_ids": self.texts[index], "labels": self._targets[index]}


def rounded_up(width: int) -> int:
    """Return the next larger width of the eight in each octave."""
    octave = 1 << (width.bit_length() - 1)
    every = max(1, octave // 8)
    return -(-width // every) * every


class Collator:
    """Pads a list of examples to a rectangle.

    Args:
        pad_id: Token id of padding.
        length: Fixed length, or ``None`` for the longest text of the batch.
        round_up_to: Round the longest text up to one of eight widths an octave, but not above this. Steps then
            ask for memory in few sizes, and reuse what earlier steps left. Without rounding a process held a
            third more memory, and its steps were no faster.
    """

    def __init__(self, *, pad_id: int, length: int | None = None, round_up_to: int | None = None) -> None:
        self.pad_id, self.length, self.round_up_to = pad_id, length, round_up_to

    @classmethod
    def of_engine(cls, engine: str, *, pad_id: int, max_length: int) -> Collator:
        """Pad as an engine does: ``reference`` to ``max_length``, ``fast`` little more than needed."""
        if engine == "reference":
            return cls(pad_id=pad_id, length=max_length)
        return cls(pad_id=pad_id, round_up_to=max_length)

    def __call__(self, examples: Sequence[dict[str, object]]) -> dict[str, Tensor]:
        """Return what :meth:`pad` does, and ``labels`` of shape (B, ...)."""
        batch = self.pad([np.asarray(example["input_ids"]) for example in examples])
        batch["labels"] = torch.from_numpy(np.stack([np.asarray(example["labels"]) for example in examples]))
        return batch

    def width(self, longest: int) -> int:
        """Return the tokens that a batch is padded to whose longest text has so many."""
        if self.length is not None:
            return self.length
        if self.round_up_to is None:
            return longest
        return max(longest, min(rounded_up(longest), self.round_up_to))

    def pad(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Pad rows of tokens on the right.

        Args:
            rows: Tokens of each text; see :mod:`tunebench.data.pair_rows`.

        Returns:
            ``input_ids`` and ``attention_mask`` of shape (B, S); and ``token_type_ids`` where a token is in another
            segment than the first.
        """
        width = self.width(max(len(row) for row in rows))
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        ids, segments = split_segments(ids)
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return batch | {"token_type_ids": torch.from_numpy(segments)} if segments.any() else batch


class Batches:
    """Texts in batches of one size and one fixed mixed order, the same each time they are gone through.

    Args:
        texts: The tokenised texts.
        collator: Pads a batch.
        size: Texts a batch.
    """

    def __init__(self, texts: TokenRows, collator: Collator, size: int) -> None:
        self.texts, self.collator, self.size = texts, collator, size

    def __len__(self) -> int:
        return -(-len(self.texts) // self.size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # Mixed: data sets often come sorted by class.
        order = np.random.default_rng(0).permutation(len(self.texts))
        for start in range(0, len(order), self.size):
            yield self.collator.pad([self.texts[int(i)] for i in order[start : start + self.size]])


def longest_of_batches(lengths: np.ndarray, size: int) -> list[int]:
    """Return the tokens of the longest text of each batch of about ``size``, texts taken in the order they come."""
    return [int(batch.max()) for batch in np.array_split(lengths, math.ceil(len(lengths) / size))]


def batches_by_length(lengths: np.ndarray, *, batch_tokens: int) -> Iterator[np.ndarray]:
    """Cut texts into batches of similar length, the longest first.

    Args:
        lengths: Tokens of each text.
        batch_tokens: Tokens a batch, padding included; a longer text is a batch of its own.

    Yields:
        Positions; every one exactly once.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    done = 0
    while done < len(order):
        width = max(1, int(lengths[order[done]]))
        chunk = order[done : done + max(1, batch_tokens // width)]
        yield chunk
        done += len(chunk)


class EpochSampler(Sampler[int]):
    """Random order that is a pure function of seed and epoch; on request neighbours have similar lengths.

    A permutation is cut into groups of so many batches; each group is sorted by length and cut into
    batches, and all batches are shuffled. Texts of equal length (on long reviews nearly half are
    truncated to the same) stay in random order. Groups of one batch leave its texts to chance.

    Args:
        lengths: Tokens of each text.
        batch_size: Texts a batch.
        seed: The run's seed.
        grouped: Batches whose texts are sorted together.
    """

    def __init__(self, lengths: np.ndarray, *, batch_size: int, seed: int, grouped: int = 1) -> None:
        self.lengths, self.batch_size, self.seed, self.grouped = np.asarray(lengths), batch_size, seed, grouped
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(len(self.lengths))
        size = self.batch_size * self.grouped
        batches: list[np.ndarray] = []
        for start in range(0, len(order), size):
            group = order[start : start + size]
            group = group[np.argsort(self.lengths[group], kind="stable")]
            batches += [group[i : i + self.batch_size] for i in range(0, len(group), self.batch_size)]
        # A short batch must stay last, or every batch after it would be cut elsewhere.
        short = [batch for batch in batches if len(batch) < self.batch_size]
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        for i in generator.permutation(len(whole)):
            yield from whole[i].tolist()
        for batch in short:
            yield from batch.tolist()


class SharedBatches(Sampler[list[int]]):
    """This process's part of every batch; together the processes see the batches that one alone would.

    Where the last batch of an epoch has fewer texts than there are processes, those without a text get the
    first one; it must not count (see :func:`counted`).

    Args:
        sampler: Gives the texts in the order of one process, the same in all.
        texts: How many there are.
        batch_size: Texts a batch, over all processes.
    """

    def __init__(self, sampler: Sampler[int], *, texts: int, batch_size: int) -> None:
        self.sampler, self.texts, self.batch_size = sampler, texts, batch_size

    @property
    def batch_sampler(self) -> SharedBatches:
        """Itself: the Trainer tells the epoch to what a data loader's batch sampler wraps."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return -(-self.texts // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch[process_group.part_of(len(batch))]
                batch = []
        if batch:
            yield batch[process_group.part_of(len(batch))] or batch[:1]


def counted(step: int, *, texts: int, batch_size: int, batches: int = 1, number: int = 0) -> tuple[int, int]:
    """Return how many texts of a batch count in this process, and how many its step has in all.

    Args:
        step: Optimisation steps done before.
        texts: Texts an epoch.
        batch_size: Texts a batch, over all processes.
        batches: Batches a step; the last step of an epoch may have fewer.
        number: Which batch of the step, from 0.
    """
    a_step = batch_size * batches
    steps = -(-texts // a_step)
    whole = a_step if step % steps < steps - 1 else texts - (steps - 1) * a_step
    part = process_group.part_of(min(batch_size, whole - number * batch_size))
    return part.stop - part.start, whole
