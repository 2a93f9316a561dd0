"""What is measured while a run trains, and the one place where its record is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.files import stored_file
from tunebench.machine import devices, environment, memory
from tunebench.machine.clock import Clock, ContentionMeter, median
from tunebench.recipe import Engine
from tunebench.store.live import Progress
from tunebench.store.record import Cost, Environment, Parameters, RunRecord, Selected, TestAccess, Timing, now
from tunebench.study.spec import RunSpec
from tunebench.tasks.base import Task
from tunebench.tasks.registry import TASKS
from tunebench.tasks.temperature import tempered, tuned_temperature
from tunebench.tasks.thresholds import tuned_threshold, tuned_thresholds
from tunebench.training.attempt import Attempt
from tunebench.training.backend import Predicted
from tunebench.training.parts import describe_parts

#: Steps left out of ``seconds_per_step``: the first ones pay for caches and page faults.
WARMUP_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a backend knows of a training that has ended.

    Attributes:
        parameters: Of the trained model.
        selected: Which weights were kept, and why.
        weights: Files that hold them; empty for a run that was given up.
        train_seconds: Training steps only.
        eval_seconds: Evaluations during training.
        tokens: Real tokens trained on.
        tokens_padded: The same with padding.
        train_flops: Operations.
        log_history: In the form of the Trainer's.
        pruned: Whether the search gave the run up.
        trainer_total_flos: The Trainer's count of operations, where there is a Trainer.
        step_seconds: Of every step; empty where the backend has none.
        earlier_wall: Wall seconds of earlier attempts.
        earlier_cpu: Their CPU seconds.
        resumed: How many there were.
        prefix_seconds: See :class:`~tunebench.store.record.Timing`.
        packages: Whose versions the record names, beside those of every run.
        settings: What else the record says of the machine and the engine.
        world_size: Processes that trained together.
        temperature: What the logits of the test part are divided by already; None for nothing.
        validated: Labels and logits of the validation texts, of the weights that are kept; None where there are
            none, or nobody asks.
    """

    parameters: Parameters
    selected: Selected
    weights: Sequence[Path]
    train_seconds: float
    eval_seconds: float
    tokens: int
    tokens_padded: int
    train_flops: float
    log_history: list[dict[str, Any]]
    pruned: bool = False
    trainer_total_flos: float | None = None
    step_seconds: list[float] = field(default_factory=list)
    earlier_wall: float = 0.0
    earlier_cpu: float = 0.0
    resumed: int = 0
    prefix_seconds: float | None = None
    packages: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    world_size: int = 1
    validated: tuple[np.ndarray, np.ndarray] | None = None
    temperature: float | None = None


def asks_validation(spec: RunSpec) -> bool:
    """Tell whether something is chosen on predictions of validation texts after training."""
    return spec.thresholds == "tuned" or spec.calibration == "temperature"


def selection_task(spec: RunSpec) -> Task:
    """Return the task as a run's selection split is scored: at tuned thresholds where several labels have them."""
    task = TASKS[spec.task]
    return replace(task, tunes_thresholds=task.thresholded and spec.thresholds == "tuned")


def temperature_of(spec: RunSpec, validated: tuple[np.ndarray, np.ndarray] | None) -> float | None:
    """Return the temperature of a run; None where none is asked for, or nothing can choose it.

    Args:
        spec: The run.
        validated: Labels and logits of validation texts.
    """
    if spec.calibration != "temperature" or validated is None:
        return None
    return tuned_temperature(TASKS[spec.task], *validated)


def thresholds_of(
    spec: RunSpec, labels: np.ndarray, logits: np.ndarray, temperature: float | None
) -> tuple[float, ...]:
    """Return the thresholds of a run: one a label, or that of the second of two classes.

    Args:
        spec: The run.
        labels: Of validation texts.
        logits: Of the same texts, as they were trained.
        temperature: What they are divided by.
    """
    task, scaled = TASKS[spec.task], tempered(logits, temperature)
    if task.thresholded:
        return tuned_thresholds(labels, scaled)
    return tuned_threshold(task, labels, scaled, spec.metric)


class RunMeasurements:
    """Clock, memory and machine of one attempt, from its beginning to its record.

    Making one sets threads and memory policy for the run, gives back what the run before it left, and reports
    that the run prepares.

    Args:
        attempt: The attempt.
        engine: Whose memory policy is wanted; ``reference`` is that of a plain script.
        device: Where the run computes.
        pids: The processes that train together; None is this one alone.
        total: Sums figures over those processes.
        writes: Whether this is the process that writes.
    """

    def __init__(
        self,
        attempt: Attempt,
        *,
        engine: Engine,
        device: str,
        pids: Sequence[int] | None = None,
        total: Callable[[list[float]], Sequence[float]] = list,
        writes: bool = True,
    ) -> None:
        self._attempt, self._total, self.device, self._writes = attempt, total, device, writes
        self.started, self.clock, self.contention = now(), Clock(), ContentionMeter(pids)
        self.threads = devices.set_threads(devices.threads_of(attempt.execution))
        self.kept_memory = memory.set_memory(attempt.execution, engine=engine, device=device)
        memory.release_memory()
        memory.reset_peak_memory()
        attempt.report(Progress(attempt.spec.run_id, "prepare", 0, 0, None, None))

    def finish(self, trained: Trained, *, dataset: TextDataset, parts: Parts, test: Predicted | None) -> RunRecord:
        """Return the record.

        Args:
            trained: What the backend knows.
            dataset: The run's texts.
            parts: Its parts.
            test: Logits, labels and seconds of the test part; None while it stays locked.
        """
        attempt, spec = self._attempt, self._attempt.spec
        cpu_seconds, peak_memory = self._total([self.clock.cpu, float(memory.peak_memory_bytes(self.device))])
        files = [*trained.weights, *([] if test is None else [attempt.folder.predictions])]
        names, scores = dataset.label_names, None
        thresholds = None
        if spec.thresholds == "tuned" and trained.validated is not None:
            thresholds = thresholds_of(spec, *trained.validated, trained.temperature)
        elif spec.thresholds == "tuned" and not trained.pruned and self._writes:
            attempt.folder.note("thresholds stay at 0.5: there are no predictions of validation texts")
        if spec.calibration != "none" and trained.temperature is None and not trained.pruned and self._writes:
            attempt.folder.note("probabilities are not scaled: there are no predictions of validation texts")
        if test is not None:
            scores = TASKS[spec.task].at(thresholds).score(test[1], test[0], names, spec.metric)
        return RunRecord(
            run_id=spec.run_id,
            status="pruned" if trained.pruned else "complete",
            spec=spec,
            started=self.started,
            finished=now(),
            environment=Environment(
                versions=environment.versions(*trained.packages),
                machine={**environment.describe(), **trained.settings},
                device=self.device,
                threads=self.threads,
                world_size=trained.world_size,
            ),
            parameters=trained.parameters,
            examples=describe_parts(dataset, parts),
            scores=scores,
            thresholds=thresholds,
            temperature=trained.temperature,
            selected=trained.selected,
            timing=self._timing(trained, cpu_seconds, None if test is None else test[2]),
            cost=Cost(
                tokens=trained.tokens,
                tokens_padded=trained.tokens_padded,
                train_flops=trained.train_flops,
                trainer_total_flos=trained.trainer_total_flos,
                peak_memory_bytes=int(peak_memory),
                artifact_bytes=sum(path.stat().st_size for path in trained.weights) if trained.weights else None,
            ),
            log_history=trained.log_history,
            files={path.name: stored_file(path) for path in files},
            test_access=[] if test is None else [TestAccess(time=now(), why="at the end of training")],
        )

    def _timing(self, trained: Trained, cpu_seconds: float, test_seconds: float | None) -> Timing:
        return Timing(
            train_seconds=trained.train_seconds,
            eval_seconds=trained.eval_seconds,
            test_seconds=test_seconds,
            wall_seconds=trained.earlier_wall + self.clock.wall,
            cpu_seconds=trained.earlier_cpu + cpu_seconds,
            seconds_per_step=median(trained.step_seconds[WARMUP_STEPS:]),
            warmup_steps=min(WARMUP_STEPS, len(trained.step_seconds)),
            step_seconds=trained.step_seconds,
            workers=self._attempt.execution.at_a_time,
            contended=self.contention.contended,
            resumed=trained.resumed,
            prefix_seconds=trained.prefix_seconds,
        )
