"""Checkpoints of a run on the Hugging Face Trainer, without pickle: what is resumed ends as if undisturbed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import Trainer

from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import process_group
from tunebench.training.encoder.callbacks import Loop, Meters, RunContext
from tunebench.training.encoder.setup import EngineSetup

if TYPE_CHECKING:
    from tunebench.strategies.base import StepHook


class ResumableTrainer(Trainer):
    """A Trainer that writes and reads our own checkpoints (:mod:`tunebench.engine.checkpoint`).

    Attributes:
        engine: How the run computes.
        context: The run: its folder, its metric, and who follows it.
        hook: What the strategy does at every step; its state goes into checkpoints.
        meters: What was measured so far, over all attempts.
    """

    optimizer: Any
    engine: EngineSetup
    context: RunContext
    hook: StepHook | None
    meters: Meters
    #: Step of the best weights that the checkpoint on disk goes with.
    _named: int | None
    _loop: Loop

    def _whole(self) -> AbstractContextManager[None]:
        """Let the model have all rows of its word embeddings for a while."""
        return nullcontext() if self.engine.rows is None else self.engine.rows.whole()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._loop.pause()
        self.store_flos()
        # The meters hold the time of earlier attempts, and the record adds this one's at the end. So it is added to
        # what is stored, and not to the meters.
        wall = self.meters.wall_seconds + self.context.clock.wall
        cpu = self.meters.cpu_seconds + process_group.total([self.context.clock.cpu])[0]
        if not process_group.is_first():
            self._loop.go_on()
            return
        temporary = self.context.checkpoints.parent / ".trainer_state.json"
        self.state.save_to_json(str(temporary))
        checkpoints.save_checkpoint(
            self.context.checkpoints,
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
            rows=self.engine.rows,
            scaler=None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
        )
        temporary.unlink()
        self._named = self.meters.best_step
        self.context.best.keep(self._named)
        self._loop.go_on()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        with self._whole():
            checkpoints.load_weights(checkpoint / "weights.safetensors", self.model)
        stored = checkpoints.read_state(checkpoint)
        stored.pop("loss_sum")
        before, self.meters = self.meters, Meters(**stored)
        self._named = self.meters.best_step
        self._loop.meters = self.meters
        # What this attempt computed before the first step, as a part of what earlier ones had kept was lost.
        self.meters.prefix_seconds += before.prefix_seconds
        self.meters.train_flops += before.train_flops
        self.meters.resumed += 1
        remembered = checkpoints.read_hook(checkpoint)
        if self.hook is not None and remembered is not None:
            self.hook.restore(remembered)
        if self.engine.fast is not None:
            self.engine.fast.refresh(everything=True)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_optimizer(
                Path(checkpoint),
                model=self.model,
                optimizer=_inner(self.optimizer),
                scheduler=self.lr_scheduler,
                rows=self.engine.rows,
            )

    def _load_scaler(self, checkpoint: str | None) -> None:
        stored = None if checkpoint is None else checkpoints.read_scaler(Path(checkpoint))
        if stored is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(stored)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_random_state(Path(checkpoint))


def _inner(wrapped: Any) -> Any:
    """Return the optimiser that Accelerate wrapped."""
    return getattr(wrapped, "optimizer", wrapped)
