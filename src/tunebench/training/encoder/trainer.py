"""The Hugging Face Trainer, with our optimiser groups and evaluation.

Its batches are in :mod:`tunebench.training.encoder.steps`, its checkpoints in
:mod:`tunebench.training.encoder.checkpointing`.

What a run learns from is the Trainer's own loop; overridden is only what costs time without changing
the result (fast engine), or what would need pickle or lose a run (both engines).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from transformers import TrainingArguments

from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import process_group
from tunebench.engine.batching import Collator, TokenDataset
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.learning_rates import Multiplier, Multipliers
from tunebench.store.live import Phase, Progress
from tunebench.training.attempt import Interrupted, Pruned
from tunebench.training.encoder.callbacks import Loop, Meters, RunContext
from tunebench.training.encoder.setup import EngineSetup
from tunebench.training.encoder.steps import BatchedTrainer

#: How the names end of what the Trainer logs of time.
_BY_THE_CLOCK = ("_runtime", "_per_second", "_model_preparation_time")

if TYPE_CHECKING:
    from tunebench.engine.losses import WeightedLoss
    from tunebench.store.partial_logits import PartialLogits
    from tunebench.strategies.base import StepHook


class StudyTrainer(BatchedTrainer):
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
