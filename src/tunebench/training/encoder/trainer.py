"""The Hugging Face Trainer, with our batches, evaluation, checkpoints and accounting.

What a run learns from is the Trainer's own loop; overridden is only what costs time without changing
the result (fast engine), or what would need pickle or lose a run (both engines).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import process_group
from tunebench.engine.batching import GROUPED, Collator, EpochSampler, SharedBatches, TokenDataset, counted
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.learning_rates import Multiplier, Multipliers
from tunebench.store.live import Phase, Progress
from tunebench.training.attempt import Interrupted, Pruned
from tunebench.training.encoder.callbacks import Loop, Meters, RunContext
from tunebench.training.encoder.checkpointing import ResumableTrainer
from tunebench.training.encoder.setup import EngineSetup

#: How the names end of what the Trainer logs of time.
_BY_THE_CLOCK = ("_runtime", "_per_second", "_model_preparation_time")

if TYPE_CHECKING:
    from tunebench.engine.losses import WeightedLoss
    from tunebench.store.partial_logits import PartialLogits
    from tunebench.strategies.base import StepHook


class StudyTrainer(ResumableTrainer):
    """A Trainer for one run.

    Args:
        model: The prepared model.
        args: Training arguments.
        train_dataset: Texts to learn from.
        eval_dataset: Texts that select, or ``None``.
        collator: Pads a batch.
        engine: How it computes.
        context: The run: its folder, its metric, and who follows it.
        loss: What is lowered; None is the model's own loss.
        multiplier: Learning-rate multiplier of each parameter; None trains all alike.
        hook: What the strategy does at every step; its state goes into checkpoints.
    """

    #: Whatever the model accepts: a loss is the mean of its batch.
    loss_is_scaled_for_ga = False
    control: Any
    optimizer: Any

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        train_dataset: TokenDataset,
        eval_dataset: TokenDataset | None,
        collator: Collator,
        engine: EngineSetup,
        context: RunContext,
        loss: WeightedLoss | None = None,
        multiplier: Multiplier | None = None,
        hook: StepHook | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=collator,
            compute_loss_func=None if loss is None else loss.of_outputs,
            compute_metrics=None if engine.own else self._selection_metrics,
        )
        from transformers import PrinterCallback, ProgressCallback

        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.meters = Meters()
        self._named = None
        self._step_texts, self._batch_texts, self._batch = 0, 0, 0
        self.engine, self.context, self.collator, self.hook = engine, context, collator, hook
        self.workload = engine.workload
        self._metric = context.task.metrics[context.metric]
        self._multipliers = Multipliers(model, multiplier)
        self._loop = Loop(context, meters=self.meters, hook=hook, fast=engine.fast)
        self.add_callback(self._loop)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; afterwards the word embeddings have all their rows again."""
        try:
            return super().train(*args, **kwargs)
        finally:
            if self.engine.rows is not None:
                self.engine.rows.restore()

    # Optimiser ---------------------------------------------------------------------------------

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Group parameters by their learning-rate multiplier; without any, take the Trainer's own optimiser."""
        if self.optimizer is not None or not self._multipliers.differ:
            return super().create_optimizer(*args, **kwargs)
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        groups = self._multipliers.groups(
            learning_rate=self.args.learning_rate,
            weight_decay=self.args.weight_decay,
            decayed=set(self.get_decay_parameter_names(self.model)),
        )
        self.optimizer = kind(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let groups that begin later wait."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        self._multipliers.hold_back(scheduler, steps=num_training_steps)
        return scheduler

    # Batches -----------------------------------------------------------------------------------

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

    # Evaluation --------------------------------------------------------------------------------

    def logits(self, dataset: TokenDataset) -> np.ndarray:
        """Return float32 logits ``(texts, classes)`` in the data's order, the engine's way.

        During training they are on the scale that the head is trained on.
        """
        return self._logits(dataset, self._teller("evaluate", len(dataset)))

    def test_logits(self, dataset: TokenDataset, known: PartialLogits | None) -> np.ndarray:
        """Return the logits of the test part.

        Args:
            dataset: The part.
            known: Takes the logits as they are computed; those it has are not computed again. None where the part
                is scored in one piece.

        Raises:
            Interrupted: ``context.stop`` turned true; what was scored is kept.
        """
        tell = self._teller("test", len(dataset))
        if known is None:
            return self._logits(dataset, tell)

        def keep(done: int) -> None:
            tell(done)
            stop = done < len(dataset) and self.context.stop()
            known.save(only_if_due=not stop)
            if stop:
                raise Interrupted(f"stopped after {done:,} of {len(dataset):,} test texts")

        return self._logits(dataset, keep, into=known.rows)

    def _teller(self, phase: Phase, total: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            self.context.report(Progress(self.context.run_id, phase, done, total, None, None))

        return tell

    def _logits(
        self, dataset: TokenDataset, on_batch: Callable[[int], None], into: np.ndarray | None = None
    ) -> np.ndarray:
        if not self.engine.own:
            return np.asarray(self.predict(dataset).predictions, dtype=np.float32)
        with self._whole():
            return predict_logits(
                self.model,
                dataset.texts,
                collator=self.collator,
                device=self.args.device.type,
                fast=self.engine.fast,
                autocast=self.engine.autocast,
                on_batch=on_batch,
                into=into,
            )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log all but what the Trainer measures with the system's clock, which may be set while a run trains.

        A clock that was set back makes its durations and rates negative. The run's own are in :attr:`meters`.
        """
        super().log({key: value for key, value in logs.items() if not key.endswith(_BY_THE_CLOCK)}, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the selection split, keep the best weights, log ``eval_*``."""
        start = time.monotonic()
        self._loop.pause()
        dataset: Any = self.eval_dataset
        if self.engine.own:
            found = self._scores(dataset.labels, self.logits(dataset))
            metrics = {f"eval_{k}": v for k, v in found.items()}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        else:
            metrics = super().evaluate(*args, **kwargs)
        key = f"eval_{self._metric.name}"
        score = metrics[key]
        if self._metric.better(score, self.meters.best_score):
            self.meters.best_score = float(score)
            self.meters.best_step, self.meters.best_epoch = self.state.global_step, self.state.epoch
            if process_group.is_first():
                with self._whole():
                    checkpoints.save_weights(self.context.best.at(self.state.global_step), self.model, checked=True)
                self.context.best.keep(self.state.global_step, self._named)
        self.meters.eval_seconds += time.monotonic() - start
        self._loop.go_on()
        if self.context.prune is not None and self.state.global_step < self.state.max_steps:
            so_far = [entry[key] for entry in self.state.log_history if key in entry]
            if process_group.any_of(self.context.prune(so_far))[0]:
                raise Pruned(f"stopped early at step {self.state.global_step} of {self.state.max_steps}")
        if self.context.patience and self._since_best(key) >= self.context.patience:
            self.control.should_training_stop = True
            # Resumed from a checkpoint of this step, the run would not evaluate again, and take one more step.
            self.control.should_save = False
        return metrics

    def _scores(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        return self.context.task.selection_metrics(labels, logits, self._metric.name, self.context.scale)

    def _since_best(self, key: str) -> int:
        """Return how many evaluations came after the best one; those that give no score do not count."""
        steps = [entry["step"] for entry in self.state.log_history if np.isfinite(entry.get(key, np.nan))]
        return sum(self.meters.best_step is None or step > self.meters.best_step for step in steps)

    def _selection_metrics(self, prediction: Any) -> dict[str, float]:
        """Return what the Trainer's own evaluation logs; its loss is computed by the Trainer."""
        labels, logits = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
        found = self._scores(self.context.scale.back(labels), logits)
        return {name: value for name, value in found.items() if name != "loss"}
