"""The Hugging Face Trainer, with our batches, evaluation, checkpoints and accounting.

What a run learns from is the Trainer's own loop; overridden is only what costs time without changing
the result (fast engine), or what would need pickle or lose a run (both engines).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import process_group
from tunebench.engine.batching import GROUPED, Collator, EpochSampler, SharedBatches, TokenDataset, counted
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.learning_rates import Pace, Paces
from tunebench.machine.clock import Clock, ContentionMeter
from tunebench.store.live import Progress
from tunebench.tasks.metrics import selection_metrics
from tunebench.training.attempt import Pruned
from tunebench.training.encoder.callbacks import Loop, Meters

if TYPE_CHECKING:
    from tunebench.engine.fast.attach import FastEncoder
    from tunebench.engine.flops import Workload
    from tunebench.strategies.base import StepHook


class StudyTrainer(Trainer):
    """A Trainer for one run.

    Args:
        model: The prepared model.
        args: Training arguments.
        train_dataset: Texts to learn from.
        eval_dataset: Texts that select, or ``None``.
        collator: Pads a batch.
        folder: Where checkpoints lie.
        best_path: Where the best weights go.
        seed: The run's seed.
        fast: The model's fast layers, if any.
        workload: The model's operations.
        own: Take our own order of texts and our own evaluator, not the Trainer's.
        by_length: In that order, group batches by length.
        autocast: Compute type of our evaluator's matrix products without fast layers.
        run_id: For progress.
        report: Called with the progress.
        stop: Asked after every step; when true the run saves a checkpoint and is interrupted.
        prune: Given the macro F1 of every evaluation so far, says whether to give the run up; None never does.
        pace: Says the pace of each parameter; None trains all alike.
        hook: What the strategy does at every step; its state goes into checkpoints.
        clock: Runs since this attempt at the run began; one that begins here by default.
        checkpoint_seconds: At most this much work is lost by a kill.
    """

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
        folder: Path,
        best_path: Path,
        seed: int,
        fast: FastEncoder | None,
        workload: Workload,
        own: bool,
        autocast: torch.dtype | None,
        run_id: str,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
        prune: Callable[[list[float]], bool] | None = None,
        pace: Pace | None = None,
        hook: StepHook | None = None,
        clock: Clock | None = None,
        by_length: bool = False,
        checkpoint_seconds: float = 300.0,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=collator,
            compute_metrics=None if own else _trainer_metrics,
        )
        from transformers import PrinterCallback, ProgressCallback

        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.meters = Meters()
        self.fast, self.workload, self.collator = fast, workload, collator
        self.run_folder, self.best_path = folder, best_path
        self._seed, self._own, self._by_length, self._autocast = seed, own, by_length, autocast
        self.run_id, self.report, self._prune = run_id, report, prune
        self._paces = Paces(model, pace)
        self.hook = hook
        self._clock = Clock() if clock is None else clock
        self.contention = ContentionMeter(process_group.pids())
        self._loop = Loop(
            run_id=run_id,
            report=report,
            stop=stop,
            meters=self.meters,
            contention=self.contention,
            hook=hook,
            fast=fast,
            checkpoint_seconds=checkpoint_seconds,
        )
        self.add_callback(self._loop)

    # Optimiser ---------------------------------------------------------------------------------

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Group parameters by their pace; where all have the same it is the Trainer's own optimiser."""
        if self.optimizer is not None or not self._paces.differ:
            return super().create_optimizer(*args, **kwargs)
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        groups = self._paces.groups(
            learning_rate=self.args.learning_rate,
            weight_decay=self.args.weight_decay,
            decayed=set(self.get_decay_parameter_names(self.model)),
        )
        self.optimizer = kind(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let groups that begin later wait."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        self._paces.hold_back(scheduler, steps=num_training_steps)
        return scheduler

    # Batches -----------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Draw the order from seed and epoch alone where asked; else the Trainer's own."""
        if not self._own:
            return super()._get_train_sampler(train_dataset)
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        together = GROUPED if self._by_length else 1
        lengths = dataset.texts.lengths
        return EpochSampler(lengths, batch_size=self._batch_size, seed=self._seed, grouped=together)

    @property
    def _batch_size(self) -> int:
        """Texts a step, over all processes."""
        return int(self.args.train_batch_size) * process_group.size()

    def get_train_dataloader(self) -> Any:
        """Share batches with the other processes, if there are any.

        Accelerate's own sharding gives each process other texts than one process's batches hold, and fills
        up the last ones.
        """
        if process_group.size() == 1:
            return super().get_train_dataloader()
        dataset: Any = self.train_dataset
        # Not our own: the order that the Trainer's data loader gives one process.
        sampler = self._get_train_sampler() if self._own else SeedableRandomSampler(dataset, data_seed=self._seed)
        batches = SharedBatches(sampler, texts=len(dataset), batch_size=self._batch_size)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Weight this process's part, so that the mean over processes is the mean over the batch's texts."""
        loss = super().compute_loss(*args, **kwargs)
        if process_group.size() == 1 or not self.model.training:
            return loss
        mine, whole = counted(self.state.global_step, texts=len(self.train_dataset), batch_size=self._batch_size)
        weight = mine * process_group.size() / whole
        return (loss[0] * weight, loss[1]) if isinstance(loss, tuple) else loss * weight

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Take the step, with masks tied to it, and count what it used."""
        if self.fast is not None:
            self.fast.start_step(self.state.global_step)
        texts, length = inputs["input_ids"].shape
        tokens = int(inputs["attention_mask"].sum())
        if process_group.size() > 1:
            # Tied to the step, so that a resumed run draws the masks that it would have drawn.
            key = np.random.SeedSequence([self._seed, self.state.global_step, process_group.rank()])
            torch.manual_seed(int(key.generate_state(1)[0]))
            mine, _ = counted(self.state.global_step, texts=len(self.train_dataset), batch_size=self._batch_size)
            tokens = tokens if mine else 0
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        shapes = [(texts, length)] if self.fast is None else self.fast.packing.shapes(texts, length)
        padded = sum(some * width for some, width in shapes)
        flops = sum(self.workload.step(texts=some, length=width) for some, width in shapes)
        used = process_group.total([tokens, padded, flops])
        self.meters.tokens += int(used[0])
        self.meters.tokens_padded += int(used[1])
        self.meters.train_flops += used[2]
        return loss

    # Evaluation --------------------------------------------------------------------------------

    def logits(self, dataset: TokenDataset, phase: str = "evaluate") -> np.ndarray:
        """Return float32 logits ``(texts, classes)`` in the data's order, the engine's way."""
        total = len(dataset)

        def tell(done: int) -> None:
            self.report(Progress(self.run_id, phase, done, total, None, None))  # type: ignore[arg-type]

        if not self._own:
            return np.asarray(self.predict(dataset).predictions, dtype=np.float32)
        return predict_logits(
            self.model,
            dataset.texts,
            collator=self.collator,
            device=self.args.device.type,
            fast=self.fast,
            autocast=self._autocast,
            on_batch=tell,
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the selection split, keep the best weights, log ``eval_*``."""
        start = time.monotonic()
        self._loop.pause()
        dataset: Any = self.eval_dataset
        if self._own:
            logits = self.logits(dataset)
            metrics = {f"eval_{k}": v for k, v in selection_metrics(dataset.labels, logits).items()}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        else:
            metrics = super().evaluate(*args, **kwargs)
        score = metrics["eval_macro_f1"]
        if self.meters.best_score is None or score > self.meters.best_score:
            self.meters.best_score = float(score)
            self.meters.best_step, self.meters.best_epoch = self.state.global_step, self.state.epoch
            if process_group.is_first():
                checkpoints.save_weights(self.best_path, self.model, checked=True)
        self.meters.eval_seconds += time.monotonic() - start
        self._loop.go_on()
        if self._prune is not None and self.state.global_step < self.state.max_steps:
            so_far = [entry["eval_macro_f1"] for entry in self.state.log_history if "eval_macro_f1" in entry]
            if process_group.any_of(self._prune(so_far))[0]:
                raise Pruned(f"stopped early at step {self.state.global_step} of {self.state.max_steps}")
        return metrics

    # Checkpoints -------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._loop.pause()
        self.store_flos()
        # The meters hold earlier attempts; this one's time is added to what is stored, and once more at the end.
        wall = self.meters.wall_seconds + self._clock.wall
        cpu = self.meters.cpu_seconds + process_group.total([self._clock.cpu])[0]
        if not process_group.is_first():
            self._loop.go_on()
            return
        temporary = self.run_folder.parent / ".trainer_state.json"
        self.state.save_to_json(str(temporary))
        checkpoints.save_checkpoint(
            self.run_folder,
            step=self.state.global_step,
            model=self.model,
            optimizer=_inner(self.optimizer),
            scheduler=self.lr_scheduler,
            state={
                **asdict(self.meters),
                "wall_seconds": wall,
                "cpu_seconds": cpu,
                "loss_sum": float(self._total_loss_scalar),
            },
            trainer_state=temporary.read_text(encoding="utf-8"),
            hook=None if self.hook is None else self.hook.state(),
        )
        temporary.unlink()
        self._loop.go_on()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        checkpoints.load_weights(checkpoint / "weights.safetensors", self.model)
        stored = checkpoints.read_state(checkpoint)
        stored.pop("loss_sum")
        before, self.meters = self.meters, Meters(**stored)
        self._loop.meters = self.meters
        # What was done again before the first step, since a part of it was lost.
        self.meters.prefix_seconds += before.prefix_seconds
        self.meters.train_flops += before.train_flops
        self.meters.resumed += 1
        remembered = checkpoints.read_hook(checkpoint)
        if self.hook is not None and remembered is not None:
            self.hook.restore(remembered)
        if self.fast is not None:
            self.fast.refresh(everything=True)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_optimizer(
                Path(checkpoint),
                model=self.model,
                optimizer=_inner(self.optimizer),
                scheduler=self.lr_scheduler,
            )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_random_state(Path(checkpoint))


def _trainer_metrics(prediction: Any) -> dict[str, float]:
    found = selection_metrics(np.asarray(prediction.label_ids), np.asarray(prediction.predictions))
    return {name: found[name] for name in ("macro_f1", "accuracy")}


def _inner(wrapped: Any) -> Any:
    """Return the optimiser that Accelerate wrapped."""
    return getattr(wrapped, "optimizer", wrapped)
