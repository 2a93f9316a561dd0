"""The batches of a step: their order, each process's part of them, what they weigh, and what they use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tunebench.engine import process_group
from tunebench.engine.batching import GROUPED, Collator, EpochSampler, SharedBatches, counted
from tunebench.engine.flops import Workload
from tunebench.training.encoder.checkpointing import ResumableTrainer


class BatchedTrainer(ResumableTrainer):
    """A Trainer whose batches, alone or shared between processes, are those that one process would have.

    Attributes:
        collator: Pads a batch.
        workload: Counts the operations of a step.
    """

    #: Whatever the model accepts: a loss is the mean of its batch.
    loss_is_scaled_for_ga = False
    collator: Collator
    workload: Workload
    #: Texts of the step in this process, those of its present batch, and which batch that is.
    _step_texts = _batch_texts = _batch = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Draw the order from seed and epoch alone where asked; else the Trainer's own."""
        if not self.engine.own_order:
            return super()._get_train_sampler(train_dataset)
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        together = GROUPED if self.engine.by_length else 1
        lengths = dataset.texts.lengths
        return EpochSampler(lengths, batch_size=self._batch_size, seed=self.engine.seed, grouped=together)

    @property
    def _batch_size(self) -> int:
        """Texts a step, over all processes and all batches of the step."""
        batches = process_group.size() * int(self.args.gradient_accumulation_steps)
        return int(self.args.train_batch_size) * batches

    @property
    def _shared_batch(self) -> int:
        """Texts a batch, over all processes."""
        return int(self.args.train_batch_size) * process_group.size()

    def _counted(self) -> tuple[int, int]:
        """Return how many texts of the batch count in this process, and how many its step has in all processes."""
        if process_group.size() == 1:
            return self._batch_texts, self._step_texts
        return counted(
            self.state.global_step,
            texts=len(self.train_dataset),
            batch_size=self._shared_batch,
            batches=int(self.args.gradient_accumulation_steps),
            number=self._batch,
        )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Remember how many texts the step has whose batches these are."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._step_texts, self._batch = sum(len(batch["labels"]) for batch in batches), 0
        return batches, items

    def get_train_dataloader(self) -> Any:
        """Share batches with the other processes, if there are any.

        Accelerate's own sharding gives each process other texts than one process's batches hold, and fills
        up the last ones.
        """
        if process_group.size() == 1:
            return super().get_train_dataloader()
        dataset: Any = self.train_dataset
        # Not our own: the order that the Trainer's data loader gives one process.
        sampler = (
            self._get_train_sampler()
            if self.engine.own_order
            else SeedableRandomSampler(dataset, data_seed=self.engine.seed)
        )
        batches = SharedBatches(sampler, texts=len(dataset), batch_size=self._shared_batch)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Weight a part of a step's texts, so that the mean over the parts is the mean over the texts.

        A part is what one process computes, or one of several batches whose gradients add up.
        """
        loss = super().compute_loss(*args, **kwargs)
        alone = process_group.size() == 1 and self.args.gradient_accumulation_steps == 1
        if alone or not self.model.training:
            return loss
        # The means that follow, over the step's batches and over the processes, weigh all parts alike.
        mine, whole = self._counted()
        share = mine * process_group.size() * self.current_gradient_accumulation_steps / whole
        return (loss[0] * share, loss[1]) if isinstance(loss, tuple) else loss * share

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Take the step, with masks tied to it, and count what it used."""
        masks = self.engine.fast or self.engine.shared
        if masks is not None and not self._batch:
            # The other batches of the step go on in the same stream of masks.
            masks.start_step(self.state.global_step)
        texts, length = inputs["input_ids"].shape
        self._batch_texts = texts
        if self.args.gradient_accumulation_steps > 1:
            # A model that is told of the step's items would divide by them itself.
            num_items_in_batch = None
        tokens = int(inputs["attention_mask"].sum())
        if process_group.size() > 1:
            # Tied to the step, so that a resumed run draws the masks that it would have drawn.
            place = [self.state.global_step, process_group.rank(), *([self._batch] if self._batch else [])]
            key = np.random.SeedSequence([self.engine.seed, *place])
            torch.manual_seed(int(key.generate_state(1)[0]))
            tokens = tokens if self._counted()[0] else 0
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._batch += 1
        shapes = [(texts, length)] if self.engine.fast is None else self.engine.fast.packing.shapes(texts, length)
        padded = sum(some * width for some, width in shapes)
        flops = sum(self.workload.step(texts=some, length=width) for some, width in shapes)
        used = process_group.total([tokens, padded, flops])
        self.meters.tokens += int(used[0])
        self.meters.tokens_padded += int(used[1])
        self.meters.train_flops += used[2]
        return loss
