"""What happens around every step of a run: time, progress, checkpoints when they are due, and the order to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunebench.engine import process_group
from tunebench.errors import TunebenchError
from tunebench.machine.clock import Clock, ContentionMeter
from tunebench.store.best_files import BestFiles
from tunebench.store.live import Progress
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.scale import AS_IT_IS, Scale
from tunebench.training.attempt import Interrupted, never, unheard

if TYPE_CHECKING:
    from tunebench.engine.fast.attach import FastEncoder
    from tunebench.strategies.base import StepHook


class NonFiniteLossError(TunebenchError):
    """Training diverged: the loss is not a number or infinite."""


@dataclass
class Meters:
    """What a run has used so far; stored in its checkpoints."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    tokens: int = 0
    tokens_padded: int = 0
    train_flops: float = 0.0
    resumed: int = 0
    prefix_seconds: float = 0.0
    step_seconds: list[float] = field(default_factory=list)
    best_step: int | None = None
    best_epoch: float | None = None
    best_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The run that is trained: where it writes, what selects, and who follows it.

    Attributes:
        run_id: For progress.
        checkpoints: Where checkpoints lie.
        best: The files of the best weights.
        task: What is learned.
        scale: On which; see :mod:`tunebench.tasks.scale`.
        metric: Name of the metric that selects.
        patience: Evaluations without a better score after which training stops; 0 for never.
        report: Called with the progress.
        stop: Asked after every step; when true the run saves a checkpoint and is interrupted.
        prune: Given the score of every evaluation so far, says whether to give the run up; None never does.
        clock: Runs since this attempt at the run began.
        contention: Runs while steps are taken.
        last_step: Step after which training stops, although the schedule goes on; None for the schedule's end.
        checkpoint_seconds: At most this much work is lost by a kill.
    """

    run_id: str
    checkpoints: Path
    best: BestFiles
    task: Task = CLASSIFICATION
    scale: Scale = AS_IT_IS
    metric: str = CLASSIFICATION.default_metric
    patience: int = 0
    report: Callable[[Progress], None] = unheard
    stop: Callable[[], bool] = never
    prune: Callable[[list[float]], bool] | None = None
    clock: Clock = field(default_factory=Clock)
    contention: ContentionMeter = field(default_factory=ContentionMeter)
    last_step: int | None = None
    checkpoint_seconds: float = 300.0


class Loop(TrainerCallback):
    """Times the steps, reports, stops, and asks for checkpoints.

    Args:
        context: The run.
        meters: Where the seconds of every step are added; replaced when a checkpoint is loaded.
        hook: What the strategy does at every step.
        fast: The model's fast layers, if any.
    """

    def __init__(
        self, context: RunContext, *, meters: Meters, hook: StepHook | None, fast: FastEncoder | None
    ) -> None:
        self.context, self.meters, self.hook, self.fast = context, meters, hook, fast
        self.stopping = False
        self._mark = self._saved = time.monotonic()
        self._loss: float | None = None

    def pause(self) -> None:
        """Stop the clock of training steps, for evaluations and checkpoints."""
        self.context.contention.stop()

    def go_on(self) -> None:
        """Start it again."""
        self.context.contention.start()
        self._mark = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._saved = time.monotonic()
        if state.log_history:  # of a resumed run
            self._tell(state, tuple(state.log_history))
        self.go_on()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the strategy act while the gradients are there."""
        if self.hook is not None:
            self.hook.after_update(state.global_step + 1)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Account for a step, and decide about checkpoint and stop."""
        if self.fast is not None:
            self.fast.refresh()
        now = time.monotonic()
        self.meters.train_seconds += now - self._mark
        self.meters.step_seconds.append(round(now - self._mark, 5))
        self._mark = now
        self._tell(state)
        # The first process's clock decides for all.
        due = process_group.is_first() and now - self._saved > self.context.checkpoint_seconds
        stop, save = process_group.any_of(self.context.stop(), due)
        if self.context.last_step is not None and state.global_step >= self.context.last_step:
            control.should_training_stop = True
        elif stop and state.global_step < state.max_steps:
            self.stopping = control.should_save = True
        elif save:
            control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Pass the entry on, and end a run whose loss is not a finite number."""
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise NonFiniteLossError(
                f"The training loss is {loss} at step {state.global_step}: training diverged.",
                value=f"learning rate {(logs or {}).get('learning_rate')}",
                fix="a smaller learning rate, or warm-up",
            )
        if loss is not None:
            self._loss = float(loss)
        self._tell(state, tuple(state.log_history[-1:]))

    def _tell(self, state: TrainerState, logged: tuple[dict[str, Any], ...] = ()) -> None:
        best = self.meters.best_score
        step, total = state.global_step, state.max_steps
        self.context.report(Progress(self.context.run_id, "train", step, total, self._loss, best, logged))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remember when, and leave if asked to."""
        self._saved = time.monotonic()
        if self.stopping:
            raise Interrupted(f"stopped at step {state.global_step} of {state.max_steps}")
